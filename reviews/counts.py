"""Count reviews by product, day and delivery status."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.engine import Database
from models import Review
from reviews.query import EVERYTHING, Filter

MAX_PRODUCTS = 1000
"""Products in the statistics. There is no other limit to them, as customers type the names."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers of reviews.

    `by_product` has at most MAX_PRODUCTS, the most frequent first; `by_day` has ISO dates in UTC,
    the oldest first.
    """

    total: int
    by_product: list[tuple[str, int]]
    by_day: list[tuple[str, int]]
    by_status: dict[str, int]


def count(database: Database, chosen: Filter = EVERYTHING) -> Statistics:
    """Count the reviews of a filter. All numbers are from one snapshot, so they agree."""
    with database.snapshot() as connection:
        by_status = count_by(connection, Review.status, chosen)
        by_day = count_by_day(connection, database, chosen)
        by_product = count_by(connection, Review.product_name, chosen, MAX_PRODUCTS)
    return Statistics(
        total=sum(count for _, count in by_status),
        by_product=by_product,
        by_day=by_day,
        by_status=dict(sorted(by_status)),
    )


def count_by(
    connection: Connection, value: Any, chosen: Filter, limit: int | None = None
) -> list[tuple[str, int]]:
    """Count reviews by the values of a column, the most frequent first."""
    number = sa.func.count()
    query = sa.select(value, number).select_from(Review).group_by(value)
    query = query.order_by(number.desc(), value).limit(limit)
    return [(name, count) for name, count in connection.execute(chosen.narrow(query))]


def count_by_day(
    connection: Connection, database: Database, chosen: Filter
) -> list[tuple[str, int]]:
    """Count reviews by the day, in UTC and as an ISO date, the oldest first."""
    day: sa.ColumnElement[Any]
    if database.is_sqlite:  # it stores times as text, in UTC
        day = sa.func.substr(Review.created_at, 1, 10, type_=sa.Text)
    else:
        day = sa.cast(sa.func.timezone("UTC", Review.created_at), sa.Date)
    return sorted((str(day), number) for day, number in count_by(connection, day, chosen))
