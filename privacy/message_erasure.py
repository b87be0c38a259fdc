"""The SQL that erases messages' words, replies and media."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from models import LoggedMessage

_NO_WORDS: dict[str, object] = {"body": "", "reply": "", "media": [], "answers": {}, "context": {}}


def erase_words(connection: Connection, which: sa.ColumnElement[bool], now: datetime) -> int:
    """Erase the words of the messages that match `which`; return how many had words.

    SIDs and facts without words stay, so that repeats are recognised and turns keep their order.
    """
    erased = connection.execute(
        sa.update(LoggedMessage)
        .where(which, LoggedMessage.erased_at.is_(None))
        .values(**_NO_WORDS, erased_at=now)
    )
    return erased.rowcount


def find_old(connection: Connection, before: datetime, limit: int) -> dict[str, str]:
    """Find conversations with words and without a message since `before`; return their contacts.

    The result is by conversation id, from the `limit` oldest messages.
    """
    query = (
        sa.select(LoggedMessage.conversation_id, LoggedMessage.contact_number)
        .where(
            LoggedMessage.erased_at.is_(None),
            LoggedMessage.received_at < before,
            ~has_newer(before),
        )
        .order_by(LoggedMessage.received_at)
        .limit(limit)
    )
    return {row.conversation_id: row.contact_number for row in connection.execute(query)}


def has_newer(before: datetime) -> sa.Exists:
    """Return the condition that a message's conversation has one received since `before`."""
    newer = aliased(LoggedMessage)
    return sa.exists().where(
        newer.conversation_id == LoggedMessage.conversation_id, newer.received_at >= before
    )


def erase_all_of(connection: Connection, contact: str, name: str, now: datetime) -> int:
    """Erase the words of a contact's messages and replace the contact by the pseudonym `name`.

    Their turns follow those that the pseudonym already has. Returns how many messages there were.
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
