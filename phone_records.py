"""What is recorded of one contact, for the phone to show: all the rows, and where they stand."""

from typing import Any

import sqlalchemy as sa

from conversation import State
from models import LoggedMessage, Review, UnfinishedConversation
from stores import Store

_MESSAGES = (
    sa.select(
        LoggedMessage.message_sid,
        LoggedMessage.position,
        LoggedMessage.body,
        LoggedMessage.media,
        LoggedMessage.reply,
        LoggedMessage.finished,
        LoggedMessage.conversation_id,
        LoggedMessage.received_at,
        LoggedMessage.erased_at,
    )
    .where(LoggedMessage.contact_number == sa.bindparam("contact"))
    .order_by(LoggedMessage.received_at, LoggedMessage.position)
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
_CONVERSATIONS = sa.select(
    UnfinishedConversation.conversation_id,
    UnfinishedConversation.state,
    UnfinishedConversation.product_name,
    UnfinishedConversation.user_name,
    UnfinishedConversation.position,
).where(UnfinishedConversation.contact_number == sa.bindparam("contact"))
_TABLES: dict[str, sa.Executable] = {
    "messages": _MESSAGES,
    "reviews": _REVIEWS,
    "conversations": _CONVERSATIONS,
}


def read_records(store: Store, contact: str) -> dict[str, Any]:
    """Read what is recorded of a contact, and the state in which the next message will find them.

    The store alone knows where they stand. Holding them gives that and the rows of one moment;
    the state is None where another worker holds them.
    """
    with store.hold([contact], lambda: None) as held:
        state = None
        if contact in held.conversations:
            conversation = held.conversations[contact]
            state = conversation.state if conversation else State.START
        tables = {}
        for name, query in _TABLES.items():
            rows = held.connection.execute(query, {"contact": contact}).mappings()
            tables[name] = [dict(row) for row in rows]
    return {"state": state, "tables": tables}
