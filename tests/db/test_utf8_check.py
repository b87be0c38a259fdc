"""Text in SQLite that is not UTF-8: its place is named, its words never are."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.restore import restore
from cli.sqlite_copy import Refused
from conversation.wording import APOLOGY, GREETING
from core import logs
from db.engine import normalise_url, open_database
from db.errors import StartupError
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import MakeClient
from tests.db.test_adoption import OLD_ROWS, SEED
from tests.db.test_schema import insert
from tests.support.commands import run_command
from tests.support.migration_support import ANA, BO, Version1

WORDS = "Xylophones"
BROKEN = "CAST(x'58796c6f70686f6e6573ff0a21' AS TEXT)"
"""WORDS and what is not UTF-8, in SQL."""


def run_sql(url: str, sql: str) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(sql).rowcount == 1


def refused(url: str) -> str:
    with closing(open_database(url)) as database, pytest.raises(StartupError) as caught:
        database.migrate()
    assert WORDS not in str(caught.value)
    return str(caught.value)


def test_adopting_an_earlier_programs_table_names_row_and_column(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = sa.create_engine(normalise_url(url))
    with engine.begin() as connection:
        SEED.create(connection)
        connection.execute(SEED.insert(), OLD_ROWS)
    engine.dispose()
    run_sql(url, f"UPDATE reviews SET product_review = {BROKEN} WHERE id = 5")
    assert "(table reviews, rowid 5, column product_review: no UTF-8)" in refused(url)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_migration_names_row_and_column(tmp_path: Path, revision: str) -> None:
    old = Version1(f"sqlite:///{tmp_path / 'old.db'}", revision)
    old.converse("A", ANA, "hi", "Lamp")
    old.converse("B", BO, "hi", "Lamp")
    old.database.close()
    run_sql(old.url, f"UPDATE messages SET body = {BROKEN} WHERE message_sid = 'A-2'")
    assert "(table messages, rowid 2, column body: no UTF-8)" in refused(old.url)


def test_a_contact_whose_row_cannot_be_read_keeps_nobody_else_from_being_recorded(
    make_client: MakeClient, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(database_url=sqlite_url, conversation_store="database")
    ana, bo = Customer(Simulator(client), ANA), Customer(Simulator(client), BO)
    ana.says("hi")
    run_sql(sqlite_url, f"UPDATE messages SET conversation_id = {BROKEN}")
    logs.logger.addHandler(caplog.handler)
    assert ana.says("Lamp") == APOLOGY
    logs.logger.removeHandler(caplog.handler)
    assert bo.says("hi") == GREETING
    assert "not recorded sid=" in caplog.text
    assert "database away" not in caplog.text
    assert WORDS not in caplog.text


def test_no_error_quotes_the_text(sqlite_url: str) -> None:
    with closing(open_database(sqlite_url)) as database:
        insert(database)
        run_sql(sqlite_url, f"UPDATE reviews SET user_name = {BROKEN}")
        with pytest.raises(sa.exc.DataError) as caught, database.read() as connection:
            connection.exec_driver_sql("SELECT user_name FROM reviews").all()
    assert WORDS not in str(caught.value)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        with pytest.raises(sqlite3.OperationalError) as raw:
            connection.execute("SELECT user_name FROM reviews").fetchall()
    assert logs.describe(raw.value) == (
        "OperationalError: Could not decode to UTF-8 column 'user_name'"
    )


def test_check_data_and_restore_name_row_and_column(sqlite_url: str, tmp_path: Path) -> None:
    with closing(open_database(sqlite_url)) as database:
        insert(database)
    run_sql(sqlite_url, f"UPDATE reviews SET user_name = {BROKEN}")
    result = run_command("check-data", DATABASE_URL=sqlite_url)
    place = "table reviews, rowid 1, column user_name: no UTF-8"
    assert place in result.stdout.splitlines()
    assert WORDS not in result.stdout + result.stderr
    with pytest.raises(Refused, match=place):
        restore(Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "new.db")
