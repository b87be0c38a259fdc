"""The owner's figures: how many reviews, how many this week, and where customers drop off.

Counting all reviews is quick. What reads rows is limited in days and in number of rows.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute

from conversation.model import Outcome
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage, Review
from reviews import counts
from reviews.query import Filter

DAYS = 30
"""Days of the figures but the totals, today included."""

MAX_MESSAGES = 20_000
"""Conversations are read from at most this many of the latest messages."""

MAX_REVIEWS = 10_000
"""Products are counted in at most this many of the latest reviews."""

PRODUCTS = 6
"""How many products are returned."""

UNDER_WAY = timedelta(hours=1)
"""A customer who wrote within this time has not dropped off yet."""


@dataclass(frozen=True, slots=True)
class Conversations:
    """Conversations that began at or after `since` and are not erased.

    `stopped` counts those that ended before the product, the name and the review. `median_seconds`
    is the time from first to last message of the finished ones; None if there are none.
    """

    since: datetime
    finished: int
    under_way: int
    stopped: tuple[int, int, int]
    median_seconds: float | None

    @property
    def started(self) -> int:
        return self.finished + self.under_way + sum(self.stopped)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one moment.

    `week` is the last seven days, `week_before` the seven before. `by_day` has each of the last
    DAYS in UTC, the oldest first; `products` the most frequent since `products_since`.
    """

    total: int
    week: int
    week_before: int
    by_day: list[tuple[date, int]]
    products: list[tuple[str, int]]
    products_since: datetime
    conversations: Conversations


def read(database: Database, now: datetime | None = None) -> Figures:
    """Read the figures at `now` (default: the current time) in one snapshot."""
    now = now or utc_now()
    first_day = now.date() - timedelta(days=DAYS - 1)
    start = datetime.combine(first_day, time(), UTC)
    week, two_weeks = now - timedelta(days=7), now - timedelta(days=14)
    with database.snapshot() as connection:
        days = dict(counts.count_by_day(connection, database, Filter(since=start)))
        products_since = _not_before(connection, Review.created_at, start, MAX_REVIEWS)
        return Figures(
            total=_count(connection),
            week=_count(connection, Review.created_at >= week),
            week_before=_count(connection, Review.created_at.between(two_weeks, week)),
            by_day=[
                (day, days.get(day.isoformat(), 0))
                for day in (first_day + timedelta(days=n) for n in range(DAYS))
            ],
            products=counts.count_by(
                connection, Review.product_name, Filter(since=products_since), PRODUCTS
            ),
            products_since=products_since,
            conversations=_read_conversations(connection, start, now),
        )


def _count(connection: Connection, *which: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(Review).where(*which)
    return connection.scalar(query) or 0


def _not_before(
    connection: Connection,
    column: InstrumentedAttribute[datetime],
    start: datetime,
    limit: int,
    *which: sa.ColumnElement[bool],
) -> datetime:
    """Return `start`, or a later time if more than `limit` rows lie after it."""
    query = sa.select(column).where(*which).order_by(column.desc()).offset(limit).limit(1)
    found: datetime | None = connection.scalar(query)
    return max(start, found) if found is not None else start


_MOVED_ON = (Outcome.OPENED, Outcome.ANSWERED)
"""Outcomes that move a conversation to its next question."""


def _read_conversations(connection: Connection, start: datetime, now: datetime) -> Conversations:
    unerased = LoggedMessage.erased_at.is_(None)  # the condition of the index ix_messages_unerased
    since = _not_before(connection, LoggedMessage.received_at, start, MAX_MESSAGES, unerased)
    moved = sa.case((LoggedMessage.outcome.in_(_MOVED_ON), 1), else_=0)
    is_finished = sa.case((LoggedMessage.outcome == Outcome.FINISHED, 1), else_=0)
    query = (
        sa.select(
            sa.func.sum(moved),
            sa.func.max(is_finished),
            sa.func.min(LoggedMessage.received_at),
            sa.func.max(LoggedMessage.received_at),
        )
        .where(LoggedMessage.received_at >= since, unerased)
        # Grouped by an expression, or SQLite would scan the whole log in the order of an index.
        .group_by(LoggedMessage.conversation_id.concat(""))
        .having(sa.func.min(LoggedMessage.position) == 1)
    )
    seconds: list[float] = []
    under_way, stopped = 0, [0, 0, 0]
    for steps, finished, first, last in connection.execute(query):
        if finished:
            seconds.append((last - first).total_seconds())
        elif last >= now - UNDER_WAY:
            under_way += 1
        else:
            stopped[min(max(int(steps), 1), 3) - 1] += 1
    return Conversations(
        since=since,
        finished=len(seconds),
        under_way=under_way,
        stopped=(stopped[0], stopped[1], stopped[2]),
        median_seconds=median(seconds) if seconds else None,
    )
