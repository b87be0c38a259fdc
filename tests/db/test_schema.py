"""Migrations, transactions, stored times, and the settings of SQLite and PostgreSQL."""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from core.clock import utc_now
from core.paths import ROOT
from db.engine import Database, normalise_url, open_database
from db.errors import StartupError
from db.schema import MIGRATIONS, SCHEMA_VERSION
from models import Review
from reviews.query import page


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start Python code as a process in the program's folder."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new.db'}"
        return
    yield request.getfixturevalue("empty_postgres_url")


def review(**changes: Any) -> dict[str, Any]:
    now = utc_now()
    return {
        "contact_number": "+15551234567",
        "user_name": "Ana",
        "product_name": "Lamp",
        "product_review": "Fine",
        "created_at": now,
        "updated_at": now,
        "conversation_id": uuid.uuid4().hex,
        **changes,
    }


def insert(database: Database, **changes: Any) -> int:
    """Insert a review; return its id."""
    query = sa.insert(Review).values(review(**changes)).returning(Review.id)
    with database.write() as connection:
        return connection.execute(query).scalar_one()


def run_at_once(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Start processes together, once all are ready; return what each one printed."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60) for process in processes]


MIGRATE = """
import sys
from db.engine import (open_database)
database = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
with database.write() as connection:
    pass
print("alembic" in sys.modules)
"""


@pytest.mark.usefixtures("processes")
def test_four_processes_that_start_at_once_migrate_once(new_url: str, tmp_path: Path) -> None:
    warm_up = (
        "import sys; from db.engine import open_database; open_database(sys.argv[2]).migrate()"
    )
    processes = [  # each has migrated another database before, so that here they really meet
        python(f"{warm_up}\n{MIGRATE}", new_url, f"sqlite:///{tmp_path}/{number}.db")
        for number in range(4)
    ]
    assert run_at_once(processes) == [("True\n", "")] * 4
    database = open_database(new_url)
    with database.read() as connection:
        versions = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
    database.close()
    assert versions == [SCHEMA_VERSION]


@pytest.mark.usefixtures("processes")
def test_a_start_that_is_up_to_date_does_not_import_alembic(database_url: str) -> None:
    assert run_at_once([python(MIGRATE, database_url)]) == [("False\n", "")]


def test_the_tables_are_what_the_migrations_make(database_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "alembic", "check"],
        cwd=ROOT,
        env={**os.environ, "ENVIRONMENT": "local", "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No new upgrade operations detected" in result.stdout


def test_the_schema_version_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA_VERSION


def test_a_newer_schema_is_left_alone_with_a_sentence(
    database: Database, database_url: str
) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    later = open_database(database_url)
    with pytest.raises(StartupError, match=r"schema 9999, this program knows \d{4} at most"):
        later.migrate()
    later.close()


def test_a_time_comes_back_in_utc_whatever_zone_it_had(database: Database) -> None:
    given = datetime(2026, 3, 1, 1, 2, 3, 4, timezone(timedelta(hours=5, minutes=30)))
    number = insert(database, created_at=given)
    with database.read() as connection:
        kept = connection.scalar(sa.select(Review.created_at).where(Review.id == number))
    assert kept == given
    assert kept.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="a time needs a zone"):
        insert(database, created_at=datetime(2026, 3, 1))  # noqa: DTZ001 - the fault itself


def test_an_erased_id_is_never_given_again(database: Database) -> None:
    number = insert(database)
    with database.write() as connection:
        connection.execute(sa.delete(Review))
    assert insert(database) > number


def test_a_relative_path_is_beside_the_program_whatever_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalise_url("sqlite:///./test.db").database == str(ROOT / "test.db")
    assert normalise_url("sqlite:///data/test.db").database == str(ROOT / "data" / "test.db")
    assert normalise_url("sqlite:////var/test.db").database == str(Path("/var/test.db"))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgres_in_any_spelling_means_psycopg2(scheme: str) -> None:
    url = normalise_url(f"{scheme}://user:p%40ss@host:5433/name?sslmode=require")
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg2://user:p%40ss@host:5433/name?sslmode=require"
    )


def test_sqlite_forces_every_commit_to_disk(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_postgres_limits_every_wait(postgres_url: str) -> None:
    database = open_database(postgres_url)
    with database.read() as connection:
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.exec_driver_sql(f"SHOW {setting}").scalar() != "0", setting
        assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    database.close()


def test_neither_a_read_nor_a_failed_write_changes_anything(database: Database) -> None:
    with database.read() as connection:
        connection.execute(sa.insert(Review).values(review()))
    row = review()
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.insert(Review), [row, row])
    assert page(database, None, 10) == []


WRITE = """
import sys
from db.engine import (open_database)
from tests.db.test_schema import write_often
database = open_database(sys.argv[1])
database.migrate()
print("ready", flush=True)
sys.stdin.readline()
write_often(database)
"""


def write_often(database: Database) -> None:
    """Read, then write, from two threads at once."""

    def write() -> None:
        for _ in range(40):
            with database.write() as connection:
                count = connection.scalar(sa.select(sa.func.count(Review.id)))
                row = review(user_name=str(count))
                connection.execute(sa.insert(Review), row)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("processes")
def test_writers_in_threads_and_processes_never_find_sqlite_locked(sqlite_url: str) -> None:
    assert run_at_once([python(WRITE, sqlite_url) for _ in range(2)]) == [("", "")] * 2
    database = open_database(sqlite_url)
    with database.read() as connection:
        counts = connection.scalars(sa.select(Review.user_name).order_by(Review.id)).all()
    assert counts == [str(count) for count in range(2 * 2 * 40)]
    database.close()
