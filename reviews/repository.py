"""Write reviews: save, erase, and raise their delivery status. reviews.query reads them."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from conversation.model import Message, Turn
from core.logs import logger
from core.text import search_text
from db.engine import Database
from models import Review
from storage.batch import Value

PENDING = "pending"
"""The delivery status before Twilio has reported one."""


def row_of(message: Message, turn: Turn, received_at: datetime) -> dict[str, Value]:
    """Make the row of the review that a turn finished, for storage.batch.write."""
    product, name, review = (turn.answers[each] for each in ("product", "name", "review"))
    return {
        "conversation_id": turn.conversation_id,
        "contact_number": message.contact,
        "user_name": name,
        "product_name": product,
        "product_review": review,
        "status": PENDING,
        "created_at": received_at,
        "updated_at": received_at,
        "search_text": search_text(product, name, review),
    }


# A literal in the SQL, or the databases would not use the partial index.
_UNFILLED = (
    sa.select(Review.id, Review.product_name, Review.user_name, Review.product_review)
    .where(sa.text("search_text = ''"))
    .order_by(Review.id)
)


def fill_search_text(database: Database, step: int = 100) -> None:
    """Fill in the search text of rows that another program wrote, so that a search finds them.

    It fills `step` reviews in one transaction, for which messages wait on SQLite. Several processes
    may do it at once. Raises one of db.errors.TRANSIENT_ERRORS.
    """
    with database.read() as connection:
        is_done = connection.execute(_UNFILLED.limit(1)).first() is None
    filled = 0
    while not is_done:
        with database.write() as connection:
            rows = connection.execute(_UNFILLED.limit(step).with_for_update(skip_locked=True)).all()
            for row in rows:
                text = search_text(row.product_name, row.user_name, row.product_review)
                change = sa.update(Review).where(Review.id == row.id)
                connection.execute(change.values(search_text=text))
        filled += len(rows)
        is_done = not rows
    if filled:
        logger.info("search_text filled in reviews=%d", filled)


def erase(connection: Connection, review_id: int) -> bool:
    """Delete a review, but not the words of its messages; return whether there was one."""
    return connection.execute(sa.delete(Review).where(Review.id == review_id)).rowcount > 0


def erase_all_of(connection: Connection, contact: str) -> int:
    """Delete a contact's reviews; return how many there were. The contact must be locked."""
    return connection.execute(sa.delete(Review).where(Review.contact_number == contact)).rowcount


# Built once, because they run with every status callback.
_BY_CONVERSATION = sa.select(Review.id).where(Review.conversation_id == sa.bindparam("value"))

_BY_MESSAGE = sa.select(Review.id).where(Review.message_sid == sa.bindparam("value")).limit(1)

_RAISE = (
    sa.update(Review)
    .where(
        Review.id == sa.bindparam("review_id"),
        Review.status.in_(sa.bindparam("lower", expanding=True)),
    )
    .values(
        status=sa.bindparam("higher"),
        error_code=sa.bindparam("code"),
        message_sid=sa.func.coalesce(Review.message_sid, sa.bindparam("sid", type_=sa.Text)),
        updated_at=sa.bindparam("now"),
    )
)


def find_confirmed(
    connection: Connection, conversation_id: str | None, message_sid: str | None
) -> int | None:
    """Return the id of the review that a message confirmed; None if there is none.

    It is found by the conversation, otherwise by the SID of our message.
    """
    for query, value in ((_BY_CONVERSATION, conversation_id), (_BY_MESSAGE, message_sid)):
        if value is not None:
            found: int | None = connection.scalar(query, {"value": value})
            if found is not None:
                return found
    return None


def find_newest_pending(connection: Connection, contact: str | None) -> int | None:
    """Return the id of the newest review without a delivery status, of a contact or of anybody."""
    query = sa.select(Review.id).where(Review.status == PENDING)
    if contact is not None:
        query = query.where(Review.contact_number == contact)
    found: int | None = connection.scalar(
        query.order_by(Review.created_at.desc(), Review.id.desc()).limit(1)
    )
    return found


def raise_status(
    connection: Connection,
    review_id: int,
    status: str,
    *,
    lower: Collection[str],
    message_sid: str | None,
    error_code: int | None,
    now: datetime,
) -> bool:
    """Set a review's delivery status if it ranks above the present one; return whether it did.

    `lower` are the statuses of Twilio that rank below `status`. The first `message_sid` is stored
    as the SID of our message, which a TwiML reply does not return.
    """
    raised = connection.execute(
        _RAISE,
        {
            "review_id": review_id,
            "lower": [PENDING, *lower],
            "higher": status,
            "code": error_code,
            "sid": message_sid,
            "now": now,
        },
    )
    return raised.rowcount > 0
