"""All SQL about reviews: save them, list them, follow their delivery."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from conversation import FinishedReview
from database import Database
from models import Review

PENDING = "pending"
"""The delivery status of a review whose confirmation Twilio has not told us anything about."""


def save(
    connection: Connection,
    finished: Sequence[tuple[str, str, FinishedReview, datetime]],
) -> None:
    """Save reviews, each with its conversation's id, its contact and the time it was finished.

    Raises IntegrityError where a conversation has made its review already.
    """
    if finished:
        connection.execute(sa.insert(Review), [_row(*review) for review in finished])


def _row(
    conversation_id: str, contact: str, review: FinishedReview, finished_at: datetime
) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "contact_number": contact,
        "user_name": review.user_name,
        "product_name": review.product_name,
        "product_review": review.product_review,
        "status": PENDING,
        "created_at": finished_at,
        "updated_at": finished_at,
    }


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list, newest first: just after the review with this time and id."""

    created_at: datetime
    id: int

    def __str__(self) -> str:
        return f"{self.created_at:%Y%m%dT%H%M%S.%f}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote; raises ValueError for anything else."""
        if not re.fullmatch(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}-[0-9]{1,18}", text):
            raise ValueError("not a cursor: take it from the Link header of the page before")
        time, _, number = text.partition("-")
        return cls(datetime.strptime(f"{time}Z", "%Y%m%dT%H%M%S.%f%z"), int(number))

    @classmethod
    def after(cls, row: Row[Any]) -> Self:
        return cls(row.created_at.astimezone(UTC), row.id)


def page(database: Database, after: Cursor | None, size: int) -> Sequence[Row[Any]]:
    """Read at most `size` reviews, newest first, in one short transaction."""
    query = sa.select(Review).order_by(Review.created_at.desc(), Review.id.desc()).limit(size)
    if after is not None:
        place = sa.tuple_(Review.created_at, Review.id)
        query = query.where(place < sa.tuple_(after.created_at, after.id))
    with database.read() as connection:
        return connection.execute(query).all()


def pages(
    database: Database, after: Cursor | None = None, size: int = 500
) -> Iterator[Sequence[Row[Any]]]:
    """Read the whole list page by page: memory stays flat, and no transaction outlives a page."""
    while rows := page(database, after, size):
        yield rows
        after = Cursor.after(rows[-1])


def find_confirmed(
    connection: Connection, conversation_id: str | None, message_sid: str | None
) -> int | None:
    """Find the review a status callback speaks of, by its conversation, else by our message."""
    for column, value in (
        (Review.conversation_id, conversation_id),
        (Review.message_sid, message_sid),
    ):
        if value is not None:
            found: int | None = connection.scalar(
                sa.select(Review.id).where(column == value).limit(1)
            )
            if found is not None:
                return found
    return None


def find_newest_pending(connection: Connection, contact: str | None) -> int | None:
    """Find the newest review without a delivery status, of one contact or of anybody."""
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
    """Give a review its delivery status if that ranks above the one it has; say whether it did.

    `lower` are Twilio's statuses that rank below. Our message's SID, learnt here first, is kept.
    """
    raised = connection.execute(
        sa.update(Review)
        .where(Review.id == review_id, Review.status.in_([PENDING, *lower]))
        .values(
            status=status,
            error_code=error_code,
            message_sid=sa.func.coalesce(Review.message_sid, message_sid),
            updated_at=now,
        )
    )
    return raised.rowcount > 0
