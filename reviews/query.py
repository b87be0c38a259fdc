"""Reviews to read: filtered, searched, page by page and counted."""

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
    """Which reviews are meant; None leaves a question open. Times are aware.

    `product`, `status` and `contact` are exact, `words` is part of product, name or review in any
    case, `since` is included and `until` is not.
    """

    product: str | None = None
    status: str | None = None
    contact: str | None = None
    words: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        """Tell this filter from others in a few characters; "" where nothing is filtered."""
        if self == Filter():
            return ""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]

    def narrow(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """Add to a query of reviews what it must fulfil."""
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
    """A place in the list, newest first: just after the review with this time and id.

    `filter` is the list's, as `str(Filter)`: a place in one list means nothing in another.
    """

    created_at: datetime
    id: int
    filter: str = ""

    def __str__(self) -> str:
        place = f"{self.created_at:%Y%m%dT%H%M%S.%f}-{self.id}"
        return f"{place}-{self.filter}" if self.filter else place

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote; raises ValueError for anything else."""
        form = r"([0-9]{8}T[0-9]{6}\.[0-9]{6})-([0-9]{1,18})(?:-([0-9a-f]{8}))?"
        found = re.fullmatch(form, text)
        if not found:
            raise ValueError("not a cursor: take it from the Link header of the page before")
        time, number, filter_ = found.groups()
        return cls(datetime.strptime(f"{time}Z", "%Y%m%dT%H%M%S.%f%z"), int(number), filter_ or "")

    @classmethod
    def after(cls, row: ReviewRow, chosen: Filter = EVERYTHING) -> Self:
        return cls(row.created_at.astimezone(UTC), row.id, str(chosen))


def page(
    database: Database, after: Cursor | None, size: int, chosen: Filter = EVERYTHING
) -> Sequence[ReviewRow]:
    """Read at most `size` reviews, newest first, in one short transaction."""
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
    """Read the whole list page by page: memory stays flat, and no transaction outlives a page."""
    while rows := page(database, after, size, chosen):
        yield rows
        after = Cursor.after(rows[-1])


def find(database: Database, review_id: int) -> ReviewRow | None:
    """Read one review; None where there is none (any more)."""
    with database.read() as connection:
        rows = _read(connection, sa.select(*_COLUMNS).where(Review.id == review_id))
    return rows[0] if rows else None


MAX_CHANGES = 100


@dataclass(frozen=True, slots=True)
class Changes:
    """Reviews that came into a list, the latest first, others that changed, ids of the erased."""

    arrived: Sequence[ReviewRow]
    changed: Sequence[ReviewRow]
    gone: set[int]


def changes_since(
    database: Database, since: datetime, shown: Sequence[int], chosen: Filter = EVERYTHING
) -> Changes:
    """Read what came into a list since then, and what has become of the reviews with these ids.

    Of more than MAX_CHANGES arrivals the latest. Into the list of a status come also those of the
    last day that have been given it. The filter is for what arrives: what is shown already may fit
    it no longer, and is not to go on telling an old status. Each part has its index, and none that
    every status would have to be written to.
    """
    of_the_last_day = Review.created_at >= since - timedelta(days=1)
    has_changed = Review.updated_at >= since
    if chosen.status is None:
        has_arrived, arrived_at = Review.created_at >= since, Review.created_at
    else:
        has_arrived, arrived_at = of_the_last_day & has_changed, Review.updated_at
    arrived = sa.select(*_COLUMNS).where(has_arrived)
    arrived = arrived.order_by(arrived_at.desc(), Review.id.desc()).limit(MAX_CHANGES)
    changed = sa.select(*_COLUMNS).where(has_changed, Review.id.in_(shown))
    with database.read() as connection:
        left = connection.scalars(sa.select(Review.id).where(Review.id.in_(shown)))
        gone = {*shown} - {*left}
        return Changes(
            arrived=_read(connection, chosen.narrow(arrived)),
            changed=_read(connection, changed),
            gone=gone,
        )
