"""All SQL about the log of messages: the transcript, and the truth to rebuild the rest from."""

import hmac
import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.orm import aliased

from conversation import RULES_VERSION, Conversation, Message, Turn, take_turn
from database import Database, utc_now
from models import LoggedMessage

END = "end-"
"""How the SID begins of what takes the next place in a forgotten conversation."""

FORGOTTEN = "forgotten-"
"""How a pseudonym begins."""


A_MOMENT = timedelta(microseconds=1)
"""By how much at least a contact's times rise, whatever clocks say: latest is by them."""


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
            append(connection, [(message, turn, max(now, last.received_at + A_MOMENT))])
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


def _of_latest(column: Any) -> dict[str, sa.Select[Any]]:
    """Select a column of each contact's last message; by database, as each has its own way.

    Put together once. The contacts are one parameter, a JSON array.
    """
    contacts = sa.bindparam("contacts", type_=sa.Text)
    queries = {}
    for database, rows in (
        ("sqlite", sa.func.json_each(contacts)),
        ("postgresql", sa.func.json_array_elements_text(sa.cast(contacts, sa.JSON))),
    ):
        contact = rows.table_valued("value")
        latest = (
            sa.select(column)
            .where(LoggedMessage.contact_number == contact.c.value)
            .order_by(LoggedMessage.received_at.desc())
            .limit(1)
            .scalar_subquery()
        )
        queries[database] = sa.select(contact.c.value, latest).select_from(contact)
    return queries


_SIDS_OF_LATEST = _of_latest(LoggedMessage.message_sid)
_LAST_TIMES = _of_latest(LoggedMessage.received_at)
_LATEST = sa.select(
    LoggedMessage.contact_number,
    LoggedMessage.conversation_id,
    LoggedMessage.position,
    LoggedMessage.finished,
    LoggedMessage.received_at,
    LoggedMessage.erased_at,
).where(LoggedMessage.message_sid.in_(sa.bindparam("sids", expanding=True)))


def find_latest(connection: Connection, contacts: Collection[str]) -> dict[str, Any]:
    """Find the last message of each contact that has one, without its words."""
    # Two statements: PostgreSQL would read the whole table for one that has both.
    sids = [*_find_of_latest(connection, _SIDS_OF_LATEST, contacts).values()]
    if not sids:
        return {}
    return {row.contact_number: row for row in connection.execute(_LATEST, {"sids": sids})}


def find_last_times(connection: Connection, contacts: Collection[str]) -> dict[str, datetime]:
    """Find when the last message of each contact that has one was received."""
    return _find_of_latest(connection, _LAST_TIMES, contacts)


def _find_of_latest(
    connection: Connection, queries: dict[str, sa.Select[Any]], contacts: Collection[str]
) -> dict[str, Any]:
    if not contacts:
        return {}
    query = queries[connection.dialect.name]
    rows = connection.execute(query, {"contacts": json.dumps([*contacts])})
    return {contact: value for contact, value in rows if value is not None}


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
