"""Migrations beside older workers and other processes, killed, or on a full disk."""

import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from audit.check import check
from db.engine import open_database
from db.errors import StartupError
from db.schema import schema_version
from models import LoggedMessage
from tests.db.test_schema import new_url
from tests.support.migration_support import ANA, INSERT, Version1, at, run_in_children
from tests.support.replaying import differences
from tests.support.servers import wait_until
from tests.support.traces import TTL

__all__ = ["new_url"]


@pytest.fixture
def old(new_url: str) -> Iterator[Version1]:
    """A database of version 1: SQLite, then PostgreSQL."""
    made = Version1(new_url)
    yield made
    made.database.close()


def test_an_older_program_can_write_no_message_any_more(old: Version1) -> None:
    old.migrated()
    with pytest.raises(sa.exc.DBAPIError, match="finished"):
        old.log("A", ANA)
    assert old.read() == {}


def test_a_message_that_waits_for_the_migration_is_refused(empty_postgres_url: str) -> None:
    old = Version1(empty_postgres_url)
    old.log("A", ANA)
    refused: list[str | None] = []

    def insert() -> None:
        with psycopg2.connect(old.url) as connection, connection.cursor() as cursor:
            try:
                cursor.execute(
                    f"{INSERT.partition('VALUES')[0]} SELECT 'B', contact_number, 'B', 1, body,"
                    " media, reply, finished, rules, received_at, erased_at FROM messages"
                )
            except psycopg2.Error as error:
                refused.append(error.pgcode)

    worker = threading.Thread(target=insert)

    def start_worker(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.startswith("CREATE TEMPORARY TABLE turns"):
            worker.start()
            wait_until(lambda: is_waiting(old.url))

    sa.event.listen(old.database.engine, "before_cursor_execute", start_worker)
    assert [*old.migrated()] == ["A"]
    worker.join()
    assert refused == ["42703"]  # undefined_column
    old.database.close()


def test_a_message_under_way_is_recorded_before_the_migration(empty_postgres_url: str) -> None:
    old = Version1(empty_postgres_url)
    with old.database.engine.begin() as connection:  # locks one table, then the other
        connection.execute(sa.text("SELECT * FROM conversations"))
        migration = threading.Thread(target=old.migrated)
        migration.start()
        wait_until(lambda: is_waiting(old.url))
        row = {"message_sid": "A", "contact_number": ANA, "conversation_id": "A", "position": 1}
        row |= {"body": "", "media": "[]", "reply": "", "finished": False, "rules": 1}
        connection.execute(sa.text(INSERT), row | {"received_at": at(0), "erased_at": None})
    migration.join()
    assert [*old.read()] == ["A"]
    old.database.close()


def is_waiting(url: str) -> bool:
    """Say whether anybody waits for a table's lock in this database."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks JOIN pg_database ON database = pg_database.oid"
            " WHERE NOT granted AND relation > 0 AND datname = current_database()"
        )
        return cursor.fetchone() is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_four_processes_that_start_at_once_all_come_up(old: Version1) -> None:
    old.fill(conversations=3000)
    assert run_in_children(f"migrate_at_once({old.url!r}, 4)") == [0, 0, 0, 0]
    old.assert_is_migrated_from_fill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_migration_that_is_killed_in_the_middle_begins_anew(old: Version1) -> None:
    old.fill(conversations=500)
    # Every other one, from the first that changes something to the last.
    statements = range(11, 28, 2) if old.database.is_sqlite else range(17, 36, 2)
    ends = run_in_children(f"migrate_and_die({old.url!r}, {statements!r})")
    assert ends == [signal.SIGKILL] * len(statements)
    assert schema_version(old.database.engine) == "0002"
    old.migrated()
    old.assert_is_migrated_from_fill()


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    old = Version1(f"sqlite:///{tmp_path / 'old.db'}", revision)
    old.fill(conversations=100)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
        with pytest.raises(
            StartupError, match=r"old\.db needs 0\.\d MB .* and 0\.1 MB is free\. Free"
        ):
            old.database.migrate()
    assert schema_version(old.database.engine) == revision
    old.migrated()
    old.assert_is_migrated_from_fill()
    old.database.close()


def test_an_empty_database_needs_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Version1(f"sqlite:///{tmp_path / 'old.db'}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert old.migrated() == {}
    old.database.close()


def test_what_version_1_recorded_is_right_for_check_data_and_for_todays_rules(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recorded by version 1: unfinished at each question, erased, erased twice as a contact."""
    recorded = Path(__file__).with_name("version_1.sql")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(recorded.read_text(encoding="utf-8"))
    caplog.set_level("INFO")
    database = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    assert check(database, kept_for=TTL).problems == []
    assert [*differences(database, TTL)] == []
    with database.read() as connection:
        query = sa.select(LoggedMessage.outcome, sa.func.count()).group_by(LoggedMessage.outcome)
        outcomes = {row.outcome: row[1] for row in connection.execute(query)}
    database.close()
    assert outcomes["finished"] == 21
    assert outcomes["erased"] > 0
    assert "migrated" not in outcomes
    assert "migrating messages: 0 of 119" in caplog.text
