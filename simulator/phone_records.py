"""The rows of one contact and its state, for the phone to show."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from conversation.model import State
from conversation.state_machine import is_under_way
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage, Review
from storage import batch

_MESSAGES = (
    sa.select(
        LoggedMessage.message_sid,
        LoggedMessage.turn,
        LoggedMessage.body,
        LoggedMessage.outcome,
        LoggedMessage.state,
        LoggedMessage.answers,
        LoggedMessage.reply,
        LoggedMessage.media,
        LoggedMessage.conversation_id,
        LoggedMessage.position,
        LoggedMessage.received_at,
        LoggedMessage.erased_at,
    )
    .where(LoggedMessage.contact_number == sa.bindparam("contact"))
    .order_by(LoggedMessage.turn)
)

_REVIEWS = (
    sa.select(
        Review.id,
        Review.product_name,
        Review.user_name,
        Review.product_review,
        Review.status,
        Review.conversation_id,
        Review.created_at,
    )
    .where(Review.contact_number == sa.bindparam("contact"))
    .order_by(Review.id)
)

_TABLES: dict[str, sa.Executable] = {"messages": _MESSAGES, "reviews": _REVIEWS}


@dataclass(frozen=True, slots=True)
class Records:
    """The state in which the next message finds a contact, and the contact's rows by table."""

    state: str
    tables: dict[str, list[dict[str, object]]]


def read_records(database: Database, contact: str, idle_after: timedelta) -> Records:
    """Read what is recorded of a contact, and the state in which the next message will find them.

    Raises one of db.errors.TRANSIENT_ERRORS.
    """
    with database.snapshot() as connection:
        end = batch.read(connection, contacts=[contact]).ends.get(contact)
        is_open = end is not None and is_under_way(end, utc_now(), idle_after)
        tables: dict[str, list[dict[str, object]]] = {}
        for name, query in _TABLES.items():
            rows = connection.execute(query, {"contact": contact}).mappings()
            tables[name] = [dict(row) for row in rows]
    return Records(end.state if end is not None and is_open else State.START, tables)
