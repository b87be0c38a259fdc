"""The doctor: it finds what is wrong, says what to do, tells no secret and changes nothing."""

import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cli import doctor, doctor_clocks, doctor_database
from cli.findings import Finding
from conversation.model import Message
from conversation.state_machine import replay
from core.clock import utc_now
from core.settings import Settings
from db.engine import normalise_url, open_database
from db.schema import SCHEMA_VERSION
from models import LoggedMessage
from storage import batch
from storage.message_log import row_of
from tests.conftest import TOKEN
from tests.db.test_adoption import SEED
from tests.db.test_schema import insert, new_url
from tests.support.databases import RunningPostgres, RunningValkey, Valkey

__all__ = ["new_url"]

NOT_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
GONE = "127.0.0.1:1"
"""Where nobody listens."""


def look(database_url: str, ask_public_url: bool = False, **settings: Any) -> list[Finding]:
    settings = {"environment": "local", "database_url": database_url, **settings}
    return [*doctor.examine(Settings(**settings), ask_public_url)]


def of(subject: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.subject == subject]


def problems(findings: list[Finding]) -> list[tuple[str, str]]:
    """Tell what is a problem; each comes with advice."""
    assert all(finding.advice for finding in findings if finding.is_problem)
    return [(found.subject, found.text) for found in findings if found.is_problem]


def run_sql(url: str, sql: str) -> None:
    with closing(open_database(url)) as database, database.engine.begin() as connection:
        assert connection.exec_driver_sql(sql).rowcount == 1


def contents(url: str) -> dict[str, list[Any]]:
    """Read all tables whole, whosever they are."""
    with closing(open_database(url)) as database, database.engine.connect() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        return {
            name: [tuple(row) for row in connection.execute(sa.select(table))]
            for name, table in tables.tables.items()
        }


def log_message(url: str, run_with_timeout: timedelta, erased: bool = False) -> None:
    """Log a message that was received so long after now."""
    message = Message("SM1", "+15551234567", "hi")
    received_at = utc_now() + run_with_timeout
    with closing(open_database(url)) as database, database.write() as connection:
        row = row_of(message, replay([message])[0], received_at)
        batch.write(connection, {"messages": [row]})
        if erased:
            connection.execute(sa.update(LoggedMessage).values(erased_at=received_at))


# The database


def test_where_all_is_well_it_says_what_it_has_looked_at(database_url: str) -> None:
    findings = look(database_url)
    assert problems(findings) == []
    settings, database, schema, writable, clock, store, signature = findings
    assert settings.text == "local, read from the process environment alone"
    assert database.text == f"{database_url} answers"
    assert schema.text == f"up to date ({SCHEMA_VERSION})"
    assert writable.text == "a message can be written"
    assert clock.subject == "clock"
    assert store == Finding("store", "memory")
    assert signature.text.startswith("not checked")


def test_nothing_is_changed(database_url: str, tmp_path: Path) -> None:
    with closing(open_database(database_url)) as database:
        insert(database)
    log_message(database_url, timedelta())
    before = contents(database_url)
    assert sum(len(rows) for rows in before.values()) == 3  # and the version
    assert problems(look(database_url)) == []
    assert {file.name for file in tmp_path.iterdir()} <= {"test.db"}  # no -wal that it holds open
    assert contents(database_url) == before


def test_an_empty_database_stays_empty(new_url: str) -> None:
    if new_url.startswith("sqlite"):
        Path(new_url.removeprefix("sqlite:///")).touch()
    findings = look(new_url)
    assert problems(findings) == []
    [schema] = of("schema", findings)
    assert schema.text.startswith("no tables yet")
    assert "backup" not in schema.advice
    assert contents(new_url) == {}


def test_a_file_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    findings = look(f"sqlite:///{tmp_path / 'new.db'}")
    assert problems(findings) == []
    [found] = of("database", findings)
    assert found.text == f"{tmp_path / 'new.db'} doesn't exist yet: the first start creates it"
    assert [*tmp_path.iterdir()] == []


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    findings = look(f"sqlite:///{tmp_path / 'none' / 'new.db'}")
    assert problems(findings) == [("database", f"there is no folder {tmp_path / 'none'}")]
    assert [*tmp_path.iterdir()] == []


def test_another_schema_is_told_and_left(database_url: str) -> None:
    run_sql(database_url, "UPDATE alembic_version SET version_num = '0001'")
    before = contents(database_url)
    [older] = of("schema", look(database_url))
    assert older.text.startswith("0001; ")
    assert older.text.endswith(f" needs {SCHEMA_VERSION}")
    assert older.advice == "The next start updates it; make a backup first."
    assert not older.is_problem
    assert contents(database_url) == before
    run_sql(database_url, "UPDATE alembic_version SET version_num = '9999'")
    newer = f"9999, from a newer program; this program needs {SCHEMA_VERSION}"
    assert problems(look(database_url)) == [("schema", newer)]


def test_a_database_that_cannot_keep_every_text_is_a_problem(latin_url: str) -> None:
    [database] = [found for found in look(latin_url) if found.is_problem]
    assert "encoding is LATIN1" in database.advice


def test_a_value_that_cannot_be_read_is_a_problem(sqlite_url: str) -> None:
    log_message(sqlite_url, timedelta(0))
    run_sql(sqlite_url, "UPDATE messages SET received_at = 'junk'")
    [(subject, text)] = problems(look(sqlite_url))
    assert subject == "database"
    assert text.endswith("has a value that can't be read: ValueError")


def test_a_database_that_is_away_is_a_problem() -> None:
    [(subject, text)] = problems(look(f"postgresql://ana:pa55@{GONE}/name"))
    assert subject == "database"
    assert text.startswith("postgresql://ana")
    assert f"@{GONE}/name can't be used: OperationalError: " in text


def test_a_folder_that_may_not_be_searched_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's private folder; root may search them all, so this pretends."""

    def forbidden(folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    [(subject, text)] = problems(look(f"sqlite:///{tmp_path / 'test.db'}"))
    assert subject == "database"
    assert "Permission denied" in text


def test_an_earlier_programs_database_is_told_and_left(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    SEED.create(engine)
    engine.dispose()
    [schema] = of("schema", look(new_url))
    assert "no tables" not in schema.text
    assert schema.advice == "The next start updates it; make a backup first."
    assert contents(new_url) == {"reviews": []}


def test_another_programs_reviews_are_a_problem(new_url: str) -> None:
    engine = sa.create_engine(normalise_url(new_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE reviews (stars INTEGER)")
    engine.dispose()
    [(subject, text)] = problems(look(new_url))
    assert subject == "schema"
    assert text.startswith("the table reviews has unknown columns")


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear Sir or Madam, " * 100)
    [(_, text)] = problems(look(f"sqlite:///{file}"))
    assert text == f"sqlite:///{file} can't be used: DatabaseError: file is not a database"


def test_a_database_that_can_only_be_read_is_a_problem(
    postgres: RunningPostgres, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    findings = look(postgres_url)
    [(subject, text)] = problems(findings)
    assert subject == "database"
    assert "can't be used: DatabaseUnavailable: ReadOnlySqlTransaction" in text
    assert of("database", findings)[0].text == f"{postgres_url} answers"


@NOT_WINDOWS
def test_what_others_can_read_is_told(sqlite_url: str, tmp_path: Path) -> None:
    own, shipped, file = (tmp_path / name for name in (".env", ".env.local", "test.db"))
    for readable in (own, shipped, file):
        readable.write_text("") if readable != file else None
        readable.chmod(0o640)
    told = look(sqlite_url, file=own)
    assert [(finding.text, finding.advice) for finding in told if "chmod" in finding.advice] == [
        (".env can be read by other users of this machine", f"chmod 600 {own}"),
        (f"{file} can be read by other users of this machine", f"chmod 600 {file}"),
    ]
    assert problems(told) == []
    for private in (own, file):
        private.chmod(0o600)
    assert "chmod" not in str([*look(sqlite_url, file=own), *look(sqlite_url, file=shipped)])


@NOT_WINDOWS
def test_files_that_a_start_on_a_read_only_database_has_left_read_only_are_named(
    sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "test.db"
    file.chmod(0o400)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT * FROM reviews")  # SQLite gives -wal and -shm the file's mode
        file.chmod(0o600)
        told = problems(look(sqlite_url))
    for name in ("test.db-wal", "test.db-shm"):
        assert ("database", f"{tmp_path / name} can't be written to") in told
    assert "test.db can't be written to" not in str(told)


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_that_is_almost_full_is_a_problem(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    usage = shutil.disk_usage(".")._replace(free=doctor_database.MIN_FREE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    findings = look(sqlite_url if there else sqlite_url.replace("test.db", "new.db"))
    assert problems(findings) == [("database", "only 199 MB are free on its disk")]


# Clocks


def test_a_message_from_the_future_is_a_problem(database_url: str) -> None:
    log_message(database_url, timedelta(hours=2))
    [(subject, text)] = problems(look(database_url))
    assert subject == "clock"
    assert "the newest logged message is dated in the future" in text


@pytest.mark.parametrize(("hours", "erased"), [(-2, False), (2, True)])
def test_messages_of_the_past_and_erased_ones_are_none(
    sqlite_url: str, hours: int, erased: bool
) -> None:
    log_message(sqlite_url, timedelta(hours=hours), erased)
    assert problems(look(sqlite_url)) == []


def test_clocks_that_differ_are_a_problem(
    postgres_url: str, valkey: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis: dict[str, Any] = {"conversation_store": "redis", "redis_url": valkey.url}
    agree = [finding.text for finding in of("clock", look(postgres_url, **redis))]
    assert agree == ["agrees with PostgreSQL's clock", "agrees with Redis's clock"]
    for ours, theirs in [(90, "behind"), (-90, "ahead of")]:
        for module in (doctor, doctor_clocks):
            monkeypatch.setattr(module, "utc_now", lambda skew=ours: utc_now() + timedelta(0, skew))
        assert problems(look(postgres_url, **redis)) == [
            ("clock", f"{whose} clock is 90 s {theirs} this machine's")
            for whose in ("PostgreSQL's", "Redis's")
        ]


# The store


def test_redis_that_answers_is_told(sqlite_url: str, valkey: RunningValkey) -> None:
    findings = look(sqlite_url, conversation_store="redis", redis_url=valkey.url)
    assert of("store", findings) == [Finding("store", "redis answers")]


@pytest.mark.parametrize("is_frozen", [True, False])
def test_redis_that_does_not_answer_is_a_problem(
    sqlite_url: str, own_valkey: Valkey, is_frozen: bool
) -> None:
    if is_frozen:
        own_valkey.freeze()
    url = own_valkey.url if is_frozen else f"redis://:pa55@{GONE}/0"
    [(subject, text)] = problems(look(sqlite_url, conversation_store="redis", redis_url=url))
    assert subject == "store"
    assert text.startswith(f"redis can't be used: {'Timeout' if is_frozen else 'Connection'}Error")


def in_production(sqlite_url: str, **settings: Any) -> dict[str, Any]:
    return {
        "environment": "production",
        "database_url": sqlite_url,
        "twilio_auth_token": TOKEN,
        "public_url": "https://reviews.example.com",
        "api_key": "k" * 16,
        **settings,
    }
