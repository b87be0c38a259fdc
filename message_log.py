"""All SQL about the log of messages: the facts of every turn, and the transcript."""

import hmac
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.orm import aliased

from conversation import LogEnd, Message, Outcome, State, Turn
from database import Database, utc_now
from models import LoggedMessage

FORGOTTEN = "forgotten-"
"""How a pseudonym begins."""

Taken = tuple[Message, Turn, datetime]
"""A message, the turn that it led to, and the clock as it was read for it."""


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """What was answered to a message that is in the log."""

    contact: str
    text: str
    reply: str
    conversation_id: str
    is_finished: bool
    is_erased: bool


# Put together once, since they run with every batch.
_BY_SID = sa.select(
    LoggedMessage.message_sid,
    LoggedMessage.contact_number,
    LoggedMessage.body,
    LoggedMessage.reply,
    LoggedMessage.conversation_id,
    LoggedMessage.outcome,
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
            is_finished=row.outcome == Outcome.FINISHED,
            is_erased=row.erased_at is not None,
        )
        for row in rows
    }


def append(connection: Connection, taken: Sequence[Taken]) -> None:
    """Log messages with the facts of their turns.

    Raises IntegrityError where a SID, a contact's turn or a place in a conversation is taken.
    """
    if taken:
        connection.execute(_INSERT, [_row(*entry) for entry in taken])


def _row(message: Message, turn: Turn, received_at: datetime) -> dict[str, Any]:
    return {
        "message_sid": message.sid,
        "contact_number": message.contact,
        "turn": turn.number,
        "conversation_id": turn.conversation_id,
        "position": turn.position,
        "body": message.text,
        "media": [{"url": url, "type": kind} for url, kind in message.media],
        "reply": turn.reply,
        "outcome": str(turn.outcome),
        "state": str(turn.state),
        "answers": dict(turn.answers),
        "received_at": received_at,
    }


def _of_last(*columns: Any) -> dict[str, sa.Select[Any]]:
    """Select columns of each contact's last message; by database, as each has its own way.

    Put together once. The contacts are one parameter, a JSON array.
    """
    contacts = sa.bindparam("contacts", type_=sa.Text)
    queries = {}
    for database, rows in (
        ("sqlite", sa.func.json_each(contacts)),
        ("postgresql", sa.func.json_array_elements_text(sa.cast(contacts, sa.JSON))),
    ):
        contact = rows.table_valued("value")
        any_ = aliased(LoggedMessage)
        last_turn = (
            sa.select(sa.func.max(any_.turn))
            .where(any_.contact_number == contact.c.value)
            .scalar_subquery()
        )
        queries[database] = sa.select(*columns).select_from(
            contact.join(
                LoggedMessage,
                (LoggedMessage.contact_number == contact.c.value)
                & (LoggedMessage.turn == last_turn),
            )
        )
    return queries


_LAST_SIDS = _of_last(
    LoggedMessage.contact_number, LoggedMessage.message_sid, LoggedMessage.erased_at
)
_ENDS = _of_last(
    LoggedMessage.contact_number,
    LoggedMessage.message_sid,
    LoggedMessage.turn,
    LoggedMessage.conversation_id,
    LoggedMessage.position,
    LoggedMessage.state,
    LoggedMessage.answers,
    LoggedMessage.received_at,
    LoggedMessage.erased_at,
)


def find_ends(connection: Connection, contacts: Collection[str]) -> dict[str, LogEnd]:
    """Find where contacts stand; those without a message are missing from the result."""
    return {
        row.contact_number: LogEnd(
            message_sid=row.message_sid,
            turn=row.turn,
            conversation_id=row.conversation_id,
            position=row.position,
            state=row.state,
            answers=row.answers,
            received_at=row.received_at,
            is_erased=row.erased_at is not None,
        )
        for row in _find_of_last(connection, _ENDS, contacts)
    }


def find_last_sids(connection: Connection, contacts: Collection[str]) -> dict[str, str]:
    """Find the SIDs of contacts' last messages, without words; erased ones are left out."""
    rows = _find_of_last(connection, _LAST_SIDS, contacts)
    return {row.contact_number: row.message_sid for row in rows if row.erased_at is None}


def _find_of_last(
    connection: Connection, queries: Mapping[str, sa.Select[Any]], contacts: Collection[str]
) -> Sequence[Row[Any]]:
    if not contacts:
        return []
    query = queries[connection.dialect.name]
    return connection.execute(query, {"contacts": json.dumps([*contacts])}).all()


_NO_WORDS: dict[str, Any] = {"body": "", "reply": "", "media": [], "answers": {}, "context": {}}


def erase_words(connection: Connection, which: sa.ColumnElement[bool], now: datetime) -> int:
    """Take the words out of messages; return of how many.

    SIDs and facts without words stay, so that repeats are known and turns keep their order.
    """
    erased = connection.execute(
        sa.update(LoggedMessage)
        .where(which, LoggedMessage.erased_at.is_(None))
        .values(**_NO_WORDS, erased_at=now)
    )
    return erased.rowcount


def find_old(connection: Connection, before: datetime, most: int) -> dict[str, str]:
    """Find conversations with words, of which no message is newer, and their contacts.

    Looks at `most` messages.
    """
    query = (
        sa.select(LoggedMessage.conversation_id, LoggedMessage.contact_number)
        .where(
            LoggedMessage.erased_at.is_(None),
            LoggedMessage.received_at < before,
            ~is_newer(before),
        )
        .order_by(LoggedMessage.received_at)
        .limit(most)
    )
    return {row.conversation_id: row.contact_number for row in connection.execute(query)}


def is_newer(before: datetime) -> sa.Exists:
    """Say of a logged message whether its conversation has one that was received since then."""
    newer = aliased(LoggedMessage)
    return sa.exists().where(
        newer.conversation_id == LoggedMessage.conversation_id, newer.received_at >= before
    )


def forget(connection: Connection, contact: str, name: str, now: datetime) -> int:
    """Give a contact's messages the pseudonym `name`, and take their words out.

    Their turns go on after those that the pseudonym already has. Returns how many there were.
    The contact must be locked.
    """
    last_turn = sa.select(sa.func.max(LoggedMessage.turn))
    turns = connection.scalar(last_turn.where(LoggedMessage.contact_number == name)) or 0
    return connection.execute(
        sa.update(LoggedMessage)
        .where(LoggedMessage.contact_number == contact)
        .values(
            **_NO_WORDS,
            contact_number=name,
            turn=LoggedMessage.turn + turns,
            erased_at=sa.func.coalesce(LoggedMessage.erased_at, now),
        )
    ).rowcount


def pseudonym(contact: str, key: str) -> str:
    """Name a forgotten contact: still told from others, by nobody without `key` told who it was."""
    digest = hmac.digest(key.encode(), contact.encode(), "sha256")
    return f"{FORGOTTEN}{digest.hex()}"


def prove_writable(connection: Connection) -> None:
    """Write a message and take it back: what a commit of this needs, a real message needs too."""
    sid = f"proof-{uuid.uuid4().hex}"
    turn = Turn(1, sid, 1, Outcome.OPENED, State.START, {}, "")
    append(connection, [(Message(sid, sid, ""), turn, utc_now())])
    connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == sid))


def read_transcript(database: Database, conversation_id: str) -> Sequence[Row[Any]]:
    """Read a conversation's messages in order, with what was answered."""
    query = (
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id == conversation_id)
        .order_by(LoggedMessage.position)
    )
    with database.read() as connection:
        return connection.execute(query).all()
