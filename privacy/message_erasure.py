"""All SQL that erases the words of messages."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from models import LoggedMessage

_NO_WORDS: dict[str, Any] = {"body": "", "reply": "", "media": [], "answers": {}, "context": {}}


def erase_words(connection: Connection, which: sa.ColumnElement[bool], now: datetime) -> int:
    """Erase the words of messages; return how many had some.

    SIDs and facts without words stay, so that repeats are known and turns keep their order.
    """
    erased = connection.execute(
        sa.update(LoggedMessage)
        .where(which, LoggedMessage.erased_at.is_(None))
        .values(**_NO_WORDS, erased_at=now)
    )
    return erased.rowcount


def find_old(connection: Connection, before: datetime, most: int) -> dict[str, str]:
    """Find conversations with words that have no message since `before`; return their contacts.

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
