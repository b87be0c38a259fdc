"""A database that an earlier program made, with the seven columns alone, becomes ours."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import listing
from checker import check
from database import Database, normalise_url, open_database, utc_now
from models import Review
from schema import CannotStart
from tests.test_models import insert, new_url

__all__ = ["new_url"]

SEED = sa.Table(
    "reviews",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, index=True),
    sa.Column("contact_number", sa.String, index=True),
    sa.Column("user_name", sa.String),
    sa.Column("product_name", sa.String),
    sa.Column("product_review", sa.Text),
    sa.Column("status", sa.String, default="pending"),
    sa.Column("created_at", sa.DateTime, server_default=sa.func.now()),
)
"""What a program without this one's guarantees may have made."""

OLD_TIME = datetime(2025, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001 - it kept times without a zone
OLD_ROWS: list[dict[str, Any]] = [
    {"id": 3, "contact_number": "whatsapp:+15551234567", "user_name": "Ana", "product_name": "Lamp"}
    | {"product_review": "Fine 👍", "status": "delivered", "created_at": OLD_TIME},
    {"id": 5, "contact_number": "+15557654321", "user_name": None, "product_name": ""}
    | {"product_review": "whatsapp:", "status": "pending", "created_at": OLD_TIME},
    {"id": 8, "contact_number": "WhatsApp:US.1349", "user_name": "", "product_name": None}
    | {"product_review": None, "status": None, "created_at": None},
    {"id": 9, "contact_number": None, "user_name": "Bo", "product_name": "Cup"}
    | {"product_review": "Small", "status": "pending", "created_at": OLD_TIME},
]


@pytest.fixture
def adopted(new_url: str) -> Iterator[Database]:
    """A database that an earlier program made and filled, opened by this one."""
    engine = sa.create_engine(normalise_url(new_url))
    SEED.create(engine)
    with engine.begin() as connection:
        connection.execute(SEED.insert(), OLD_ROWS)
    engine.dispose()
    database = open_database(new_url)
    yield database
    database.close()


def test_an_earlier_programs_reviews_are_adopted(adopted: Database) -> None:
    with adopted.read() as connection:
        rows = {row.id: row for row in connection.execute(sa.select(Review))}
    assert [*rows] == [row["id"] for row in OLD_ROWS]
    assert [row.conversation_id for row in rows.values()] == [f"legacy-{id}" for id in rows]
    assert [row.contact_number for row in rows.values()] == [
        *("+15551234567", "+15557654321", "US.1349", "")
    ]
    assert [row.status for row in rows.values()] == ["delivered", "pending", "pending", "pending"]
    assert (rows[5].user_name, rows[8].product_name, rows[8].product_review) == ("", "", "")
    assert (rows[3].product_review, rows[5].product_review) == ("Fine 👍", "whatsapp:")
    assert rows[3].created_at == OLD_TIME.replace(tzinfo=UTC)
    assert abs(utc_now() - rows[8].created_at) < timedelta(minutes=5)


def test_new_reviews_follow_those_that_were_adopted(adopted: Database) -> None:
    assert [insert(adopted), insert(adopted)] == [10, 11]


def test_the_checker_is_content_with_adopted_reviews(adopted: Database) -> None:
    assert check(adopted).problems == []


def test_an_adopted_review_is_listed_once_by_every_way_of_listing(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    SEED.create(engine)
    with engine.begin() as connection:  # the database's own clock filled created_at in
        connection.execute(sa.text("INSERT INTO reviews (id) VALUES (1), (2), (3)"))
    engine.dispose()
    database = open_database(new_url)
    pages = listing.pages(database, size=1)
    listed = [row.id for _ in range(5) for row in next(pages, [])]
    database.close()
    assert listed == [3, 2, 1]


def test_an_empty_table_of_an_earlier_program_is_adopted(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    SEED.create(engine)
    engine.dispose()
    database = open_database(new_url)
    assert insert(database) == 1
    database.close()


def test_a_table_with_columns_that_we_would_lose_is_refused_and_left_alone(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    with engine.begin() as connection:
        SEED.create(connection)
        connection.execute(SEED.insert(), OLD_ROWS)
        connection.execute(sa.text("ALTER TABLE reviews ADD COLUMN stars INTEGER"))
    database = open_database(new_url)
    with pytest.raises(CannotStart, match=r"\(stars\)\. Rename that table"):
        database.migrate()
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["reviews"]
        assert len(connection.execute(sa.text("SELECT stars FROM reviews")).all()) == len(OLD_ROWS)
    database.close()
    engine.dispose()
