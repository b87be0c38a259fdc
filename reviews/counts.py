"""Counts of reviews, by product, day and delivery status."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.engine import Database
from models import Review
from reviews.query import EVERYTHING, Filter

MAX_PRODUCTS = 1000
"""How many products the statistics tell of: they are what customers typed, so without end."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """How many reviews there are, in all and by what; days are UTC's, oldest first."""

    total: int
    by_product: list[tuple[str, int]]
    by_day: list[tuple[str, int]]
    by_status: dict[str, int]


def count(database: Database, chosen: Filter = EVERYTHING) -> Statistics:
    """Count reviews in one snapshot: the numbers agree with each other while more arrive."""
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
    connection: Connection, value: Any, chosen: Filter, most: int | None = None
) -> list[tuple[str, int]]:
    """Count reviews by a column, the most frequent value first."""
    how_many = sa.func.count()
    query = sa.select(value, how_many).select_from(Review).group_by(value)
    query = query.order_by(how_many.desc(), value).limit(most)
    return [(name, number) for name, number in connection.execute(chosen.narrow(query))]


def count_by_day(
    connection: Connection, database: Database, chosen: Filter
) -> list[tuple[str, int]]:
    """Count reviews by the day in UTC on which they were finished, the oldest first."""
    day: sa.ColumnElement[Any]
    if database.is_sqlite:  # which keeps times as text, in UTC
        day = sa.func.substr(Review.created_at, 1, 10, type_=sa.Text)
    else:
        day = sa.cast(sa.func.timezone("UTC", Review.created_at), sa.Date)
    return sorted((str(day), number) for day, number in count_by(connection, day, chosen))
