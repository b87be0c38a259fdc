"""A database that an earlier program made, with the seven columns alone, becomes ours."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.check import check
from core.clock import utc_now
from db.engine import Database, normalise_url, open_database
from db.errors import StartupError
from models import Review
from reviews import query
from tests.db.test_schema import insert, new_url

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


def test_check_data_finds_no_problem_in_adopted_reviews(adopted: Database) -> None:
    assert check(adopted).problems == []


def test_an_adopted_review_is_listed_once_by_every_way_of_listing(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    SEED.create(engine)
    with engine.begin() as connection:  # the database's own clock filled created_at in
        connection.execute(sa.text("INSERT INTO reviews (id) VALUES (1), (2), (3)"))
    engine.dispose()
    database = open_database(new_url)
    pages = query.pages(database, size=1)
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
    with pytest.raises(StartupError, match=r"\(stars\)\. Rename that table"):
        database.migrate()
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["reviews"]
        assert len(connection.execute(sa.text("SELECT stars FROM reviews")).all()) == len(OLD_ROWS)
    database.close()
    engine.dispose()


def refused(url: str, *statements: str) -> str:
    """Adopt an earlier program's table after these statements; return why it is refused."""
    engine = sa.create_engine(normalise_url(url))
    with engine.begin() as connection:
        SEED.create(connection)
        connection.execute(SEED.insert(), OLD_ROWS)
        for statement in statements:
            connection.exec_driver_sql(statement)
    before = objects(engine)
    with closing(open_database(url)) as database:
        with pytest.raises(StartupError) as caught:
            database.migrate()
    assert objects(engine) == before
    engine.dispose()
    return str(caught.value)


def objects(engine: sa.Engine) -> list[Any]:
    """List what a database has, and the rows of `reviews`."""
    catalog = "SELECT type, name, sql FROM sqlite_master"
    if engine.dialect.name == "postgresql":
        catalog = "SELECT relkind, relname, '' FROM pg_class WHERE relname !~ '^pg_'"
    with engine.connect() as connection:
        found = sorted(map(tuple, connection.exec_driver_sql(catalog)))
        rows = connection.exec_driver_sql("SELECT id, user_name FROM reviews ORDER BY id")
        return [*found, *map(tuple, rows)]


ODD_TIMES = [
    ("''", "an empty text"),
    ("1735787045", "a number"),
    ("'01/02/2025 3:04 PM'", "a text that is no ISO 8601 time"),
    ("'Thu, 02 Jan 2025 03:04:05 +0000'", "a text that is no ISO 8601 time"),
    ("'0001-01-01 00:00:00+05:00'", "a text that is no ISO 8601 time"),
    ("x'ff'", "bytes"),
]


@pytest.mark.parametrize(("value", "kind"), ODD_TIMES)
def test_an_odd_time_is_named_by_id_column_and_kind(tmp_path: Path, value: str, kind: str) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    reason = refused(url, f"UPDATE reviews SET created_at = {value} WHERE id = 5")
    assert f"can't be read: id 5, created_at: {kind}. A time is read as in 2025-" in reason
    assert value.strip("'") not in reason or value == "''"


@pytest.mark.parametrize("value", ["infinity", "0044-03-15 12:00:00 BC"])
def test_a_time_that_only_postgresql_has_is_named(empty_postgres_url: str, value: str) -> None:
    change = f"UPDATE reviews SET created_at = '{value}' WHERE id = 3"
    assert "can't be read: id 3, created_at: a text" in refused(empty_postgres_url, change)


def test_of_many_odd_values_some_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    reason = refused(url, "UPDATE reviews SET created_at = '', user_name = x'00'")
    assert "id 3, user_name: bytes; id 3, created_at: an empty text; id 5, " in reason
    assert "; and 3 more. " in reason


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE VIEW best AS SELECT * FROM reviews", "view best"),
        ("CREATE INDEX by_name ON reviews (user_name)", "index by_name"),
        (
            "CREATE UNIQUE INDEX ix_reviews_status ON reviews (status, id)",
            "index ix_reviews_status",
        ),
        ("CREATE INDEX lower_name ON reviews (lower(user_name))", "index lower_name"),
        (
            "CREATE TABLE stars (review INTEGER REFERENCES reviews (id))",
            "foreign key of the table stars",
        ),
    ],
)
def test_what_the_owner_made_on_the_table_is_named_and_kept(
    new_url: str, statement: str, named: str
) -> None:
    assert f"objects that would be lost: {named}. Save their definitions" in refused(
        new_url, statement
    )


def test_a_trigger_of_the_owner_is_named_and_kept(new_url: str) -> None:
    if new_url.startswith("sqlite"):
        statement = "CREATE TRIGGER tell AFTER INSERT ON reviews BEGIN SELECT 1; END"
    else:
        statement = (
            "CREATE TRIGGER tell BEFORE UPDATE ON reviews FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        )
    assert "objects that would be lost: trigger tell. " in refused(new_url, statement)


def test_what_the_owner_made_on_other_tables_is_no_matter(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    with engine.begin() as connection:
        SEED.create(connection)
        connection.exec_driver_sql("CREATE TABLE shops (name TEXT)")
        connection.exec_driver_sql("CREATE INDEX by_name ON shops (name)")
        connection.exec_driver_sql("CREATE VIEW names AS SELECT name FROM shops")
    engine.dispose()
    with closing(open_database(new_url)) as database:
        assert insert(database) == 1
