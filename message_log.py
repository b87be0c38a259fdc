"""All SQL about the log of messages: the transcript, and the truth to rebuild the rest from."""

import hmac
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.orm import aliased

from conversation import RULES_VERSION, Conversation, Message, State, Turn, replay, take_turn
from database import Database, utc_now
from models import LoggedMessage

END = "end-"
"""How the SID begins of what takes the next place in a forgotten conversation."""

FORGOTTEN = "forgotten-"
"""How a pseudonym begins."""

MOST_SKEW = timedelta(seconds=1)
"""How far the clocks of workers may be apart: messages within that have no certain order."""


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """What was answered to a message that is in the log."""

    contact: str
    text: str
    reply: str
    conversation_id: str
    finished: bool
    erased: bool


# Put together once, since they run with every batch.
_BY_SID = sa.select(
    LoggedMessage.message_sid,
    LoggedMessage.contact_number,
    LoggedMessage.body,
    LoggedMessage.reply,
    LoggedMessage.conversation_id,
    LoggedMessage.finished,
    LoggedMessage.erased_at,
).where(LoggedMessage.message_sid.in_(sa.bindparam("sids", expanding=True)))
_INSERT = sa.insert(LoggedMessage)


def find_replies(connection: Connection, sids: Collection[str]) -> dict[str, LoggedReply]:
    """Look messages up by SID; those that were never taken are missing from the result."""
    rows = connection.execute(_BY_SID, {"sids": [*sids]})
    return {
        row.message_sid: LoggedReply(
            contact=row.contact_number,
            text=row.body,
            reply=row.reply,
            conversation_id=row.conversation_id,
            finished=row.finished,
            erased=row.erased_at is not None,
        )
        for row in rows
    }


def append(connection: Connection, taken: Sequence[tuple[Message, Turn, datetime]]) -> None:
    """Log messages with the turns they led to and the times at which they were taken.

    Raises IntegrityError where a SID or a place in a conversation is taken already.
    """
    if taken:
        connection.execute(_INSERT, [_row(*entry) for entry in taken])


def _row(message: Message, turn: Turn, received_at: datetime) -> dict[str, Any]:
    return {
        "message_sid": message.sid,
        "contact_number": message.contact,
        "conversation_id": turn.conversation.id,
        "position": turn.conversation.position,
        "body": message.text,
        "media": [{"url": url, "type": kind} for url, kind in message.media],
        "reply": turn.reply,
        "finished": turn.review is not None,
        "rules": RULES_VERSION,
        "received_at": received_at,
    }


def erase_words(connection: Connection, which: sa.ColumnElement[bool], now: datetime) -> int:
    """Take the words out of messages; return of how many. SIDs stay, so that repeats are known."""
    erased = connection.execute(
        sa.update(LoggedMessage)
        .where(which, LoggedMessage.erased_at.is_(None))
        .values(body="", reply="", media=[], erased_at=now)
    )
    return erased.rowcount


def find_old(connection: Connection, before: datetime, most: int) -> set[str]:
    """Find conversations with words, of which no message is newer; look at `most` messages."""
    newer = aliased(LoggedMessage)
    query = (
        sa.select(LoggedMessage.conversation_id)
        .where(
            LoggedMessage.erased_at.is_(None),
            LoggedMessage.received_at < before,
            ~sa.exists().where(
                newer.conversation_id == LoggedMessage.conversation_id,
                newer.received_at >= before,
            ),
        )
        .order_by(LoggedMessage.received_at)
        .limit(most)
    )
    return set(connection.scalars(query))


def forget(connection: Connection, contact: str, name: str, now: datetime) -> int:
    """Take words and number out of a contact's messages; return of how many. `name` stays.

    The place at which an unfinished conversation would go on is taken: a store that still
    remembers it collides there, and asks the log. Raises IntegrityError where it went on just now.
    """
    forgotten = connection.execute(
        sa.update(LoggedMessage)
        .where(LoggedMessage.contact_number == contact)
        .values(
            contact_number=name,
            body="",
            reply="",
            media=[],
            erased_at=sa.func.coalesce(LoggedMessage.erased_at, now),
        )
    ).rowcount
    rows = connection.execute(
        sa.select(LoggedMessage)
        .where(LoggedMessage.contact_number == name)
        .order_by(LoggedMessage.position)
    )
    for last in {row.conversation_id: row for row in rows}.values():
        if not last.finished and not last.message_sid.startswith(END):
            message = Message(f"{END}{uuid.uuid4().hex}", name, "")
            turn = Turn(Conversation(last.conversation_id, position=last.position + 1), "")
            append(connection, [(message, turn, now)])
            erase_words(connection, LoggedMessage.message_sid == message.sid, now)
    return forgotten


def pseudonym(contact: str, key: str) -> str:
    """Name a forgotten contact: still told from others, by nobody without `key` told who it was."""
    digest = hmac.digest(key.encode(), contact.encode(), "sha256")
    return f"{FORGOTTEN}{digest.hex()}"


def prove_writable(connection: Connection) -> None:
    """Write a message and take it back: what a commit of this needs, a real message needs too."""
    message = Message(f"proof-{uuid.uuid4().hex}", "", "")
    append(connection, [(message, take_turn(None, message), utc_now())])
    connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == message.sid))


def rebuild_conversations(
    connection: Connection, contacts: Collection[str], idle_since: datetime
) -> dict[str, Conversation | None]:
    """Replay each contact's latest conversation; None where it is over, idle or was never begun."""
    found: dict[str, Conversation | None] = dict.fromkeys(contacts)
    going_on = {
        row.conversation_id: row.contact_number
        for row in _find_latest(connection, contacts)
        if not row.finished and row.erased_at is None and row.received_at >= idle_since
    }
    if going_on:
        rows = connection.execute(
            sa.select(LoggedMessage)
            .where(LoggedMessage.conversation_id.in_(going_on))
            .order_by(LoggedMessage.conversation_id, LoggedMessage.position)
        )
        for conversation_id, messages in groupby(rows, attrgetter("conversation_id")):
            end = replay(map(as_message, messages))[-1].conversation
            found[going_on[conversation_id]] = None if end.state is State.START else end
    return found


def find_ends(
    connection: Connection, conversations: Mapping[str, Conversation]
) -> dict[str, Conversation]:
    """Pick those contacts' conversations that end in the log where they think they do.

    Another store may have gone on with one meanwhile, or with a later one of the same contact.
    """
    ends = {(c.id, c.position) for c in conversations.values()}
    if not ends:
        return {}
    next_places = {(id_, position + 1) for id_, position in ends}
    rows = connection.execute(
        sa.select(
            LoggedMessage.conversation_id, LoggedMessage.position, LoggedMessage.received_at
        ).where(
            sa.tuple_(LoggedMessage.conversation_id, LoggedMessage.position).in_(
                [*ends, *next_places]
            ),
        )
    )
    logged = {(row.conversation_id, row.position): row.received_at for row in rows}
    latest = {
        row.contact_number: row.received_at
        for row in _find_latest(connection, conversations.keys())
    }
    return {
        contact: conversation
        for contact, conversation in conversations.items()
        if (end := logged.get((conversation.id, conversation.position))) is not None
        and (conversation.id, conversation.position + 1) not in logged
        and contact in latest
        and end > latest[contact] - MOST_SKEW
    }


def _latest_of(contacts: sa.TableValuedAlias) -> sa.Select[Any]:
    latest = (
        sa.select(LoggedMessage.message_sid)
        .where(LoggedMessage.contact_number == contacts.c.value)
        .order_by(LoggedMessage.received_at.desc(), LoggedMessage.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.select(LoggedMessage).where(
        LoggedMessage.message_sid.in_(sa.select(latest).select_from(contacts))
    )


# Put together once, as the contacts are one parameter, a JSON array, in each database's own way.
_CONTACTS = sa.bindparam("contacts", type_=sa.Text)
_LATEST = {
    "sqlite": _latest_of(sa.func.json_each(_CONTACTS).table_valued("value")),
    "postgresql": _latest_of(
        sa.func.json_array_elements_text(sa.cast(_CONTACTS, sa.JSON)).table_valued("value")
    ),
}


def _find_latest(connection: Connection, contacts: Collection[str]) -> Sequence[Row[Any]]:
    """Read the last message of each contact that has one."""
    if not contacts:
        return []
    query = _LATEST[connection.dialect.name]
    return connection.execute(query, {"contacts": json.dumps([*contacts])}).all()


def read_transcript(database: Database, conversation_id: str) -> Sequence[Row[Any]]:
    """Read a conversation's messages in order, with what was answered."""
    query = (
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id == conversation_id)
        .order_by(LoggedMessage.position)
    )
    with database.read() as connection:
        return connection.execute(query).all()


def as_message(row: Any) -> Message:
    """Turn a row of the log back into the message it was."""
    return Message(row.message_sid, row.contact_number, row.body)
