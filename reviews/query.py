"""Read reviews: filter, search, page by page, and changes since a time."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.text import fold
from db.engine import Database
from models import Review


@dataclass(frozen=True, slots=True)
class Filter:
    """Which reviews to read; None does not filter.

    `product`, `status` and `contact` must be equal. `words` must be part of the product, the name
    or the review, in any case. `since` (included) and `until` (excluded) are aware times.
    """

    product: str | None = None
    status: str | None = None
    contact: str | None = None
    words: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        """Return a hash of 8 characters, which cursors carry; "" if nothing is filtered."""
        if self == Filter():
            return ""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]

    def narrow(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """Add this filter's conditions to a query on reviews."""
        for column, value in (
            (Review.product_name, self.product),
            (Review.status, self.status),
            (Review.contact_number, self.contact),
        ):
            if value is not None:
                query = query.where(column == value)
        if self.words is not None:
            query = query.where(Review.search_text.contains(fold(self.words), autoescape=True))
        if self.since is not None:
            query = query.where(Review.created_at >= self.since)
        if self.until is not None:
            query = query.where(Review.created_at < self.until)
        return query


EVERYTHING = Filter()


class ReviewRow(NamedTuple):
    """A review as it is read: every column but `search_text`, which serves the search alone.

    A tuple, because a list may have a million of them.
    """

    id: int
    contact_number: str
    user_name: str
    product_name: str
    product_review: str
    status: str
    created_at: datetime
    conversation_id: str
    message_sid: str | None
    error_code: int | None
    updated_at: datetime


_COLUMNS = [Review.__table__.columns[name] for name in ReviewRow._fields]


def _read(connection: Connection, query: sa.Select[Any]) -> list[ReviewRow]:
    """Run a query that selects _COLUMNS."""
    return [ReviewRow._make(row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list, newest first: right after the review with this time and id.

    `filter` is the list's, as `str(Filter)`: the cursor of one list is not valid in another.
    """

    created_at: datetime
    id: int
    filter: str = ""

    def __str__(self) -> str:
        place = f"{self.created_at:%Y%m%dT%H%M%S.%f}-{self.id}"
        return f"{place}-{self.filter}" if self.filter else place

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote. Raises ValueError for anything else."""
        form = r"([0-9]{8}T[0-9]{6}\.[0-9]{6})-([0-9]{1,18})(?:-([0-9a-f]{8}))?"
        found = re.fullmatch(form, text)
        if not found:
            raise ValueError("not a cursor: take it from the Link header of the page before")
        time, number, filter_ = found.groups()
        return cls(datetime.strptime(f"{time}Z", "%Y%m%dT%H%M%S.%f%z"), int(number), filter_ or "")

    @classmethod
    def after(cls, row: ReviewRow, chosen: Filter = EVERYTHING) -> Self:
        """Return the cursor behind a review of a filtered list."""
        return cls(row.created_at.astimezone(UTC), row.id, str(chosen))


def page(
    database: Database, after: Cursor | None, size: int, chosen: Filter = EVERYTHING
) -> Sequence[ReviewRow]:
    """Read at most `size` reviews after a cursor (None: from the start), newest first."""
    query = sa.select(*_COLUMNS).order_by(Review.created_at.desc(), Review.id.desc()).limit(size)
    if after is not None:
        place = sa.tuple_(Review.created_at, Review.id)
        query = query.where(place < sa.tuple_(after.created_at, after.id))
    with database.read() as connection:
        return _read(connection, chosen.narrow(query))


def pages(
    database: Database,
    after: Cursor | None = None,
    size: int = 500,
    chosen: Filter = EVERYTHING,
) -> Iterator[Sequence[ReviewRow]]:
    """Read the whole list, one page of `size` and one transaction at a time."""
    while rows := page(database, after, size, chosen):
        yield rows
        after = Cursor.after(rows[-1])


def find(database: Database, review_id: int) -> ReviewRow | None:
    """Read one review; None if there is none (any more)."""
    with database.read() as connection:
        rows = _read(connection, sa.select(*_COLUMNS).where(Review.id == review_id))
    return rows[0] if rows else None


MAX_CHANGES = 100
"""How many new reviews `changes_since` returns at most."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a list: new reviews, the latest first, changed ones, ids of erased ones."""

    arrived: Sequence[ReviewRow]
    changed: Sequence[ReviewRow]
    gone: set[int]


def changes_since(
    database: Database, since: datetime, shown: Sequence[int], chosen: Filter = EVERYTHING
) -> Changes:
    """Read what has changed in a list since a time. `shown` are the ids that the reader shows.

    New are the reviews that arrived since, at most MAX_CHANGES, the latest. If the filter has a
    status, those of the last day that have got it since are new, too. The filter applies to new
    reviews only: a shown one that no longer matches must be updated all the same. Each query uses
    an index that status updates need not be written to.
    """
    is_of_last_day = Review.created_at >= since - timedelta(days=1)
    has_changed = Review.updated_at >= since
    if chosen.status is None:
        has_arrived, arrived_at = Review.created_at >= since, Review.created_at
    else:
        has_arrived, arrived_at = is_of_last_day & has_changed, Review.updated_at
    arrived = sa.select(*_COLUMNS).where(has_arrived)
    arrived = arrived.order_by(arrived_at.desc(), Review.id.desc()).limit(MAX_CHANGES)
    changed = sa.select(*_COLUMNS).where(has_changed, Review.id.in_(shown))
    with database.read() as connection:
        left = connection.scalars(sa.select(Review.id).where(Review.id.in_(shown)))
        gone = {*shown}.difference(left)
        return Changes(
            arrived=_read(connection, chosen.narrow(arrived)),
            changed=_read(connection, changed),
            gone=gone,
        )
