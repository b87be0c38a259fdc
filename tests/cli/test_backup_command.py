"""The words backup and restore of the command line; and PostgreSQL's own way."""

import errno
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient

from audit.check import check
from cli import backup, restore
from cli.backup import back_up
from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW
from core.paths import ROOT
from core.settings import Settings
from db.engine import open_database
from db.schema import MIGRATIONS, SCHEMA_VERSION, schema_version
from main import create_app
from reviews import query
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.cli.test_backup import REPLIES, customers_at_work, file, fill, require_recorded
from tests.cli.test_restore import run_sql
from tests.conftest import MakeClient
from tests.db.test_adoption import OLD_ROWS, SEED
from tests.support.commands import run_command
from tests.support.databases import RunningPostgres
from tests.support.servers import wait_until

__all__ = ["file"]

Run = Callable[..., tuple[object, str]]


@pytest.fixture
def run() -> Run:
    """Run the command; return 0, or the sentence it ends with, and what it printed."""

    def run(url: str, *words: str | Path) -> tuple[object, str]:
        ran = run_command(*map(str, words), DATABASE_URL=url)
        said = ran.stderr.removesuffix("\n")
        return (said if ran.returncode == 1 else ran.returncode), ran.stdout

    return run


def test_the_command_says_what_it_has_done(run: Run, file: Path, tmp_path: Path) -> None:
    url, copy = f"sqlite:///{file}", tmp_path / "copy"
    result = subprocess.run(
        [sys.executable, "-m", "cli", "backup", str(copy)],
        cwd=ROOT,
        env={**os.environ, "ENVIRONMENT": "local", "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"Backed up 3 reviews to {copy}. Keep it as safe as the database.\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, said, "")
    refusal = f"{copy} already exists: choose another name, or move that file away."
    assert run(url, "backup", copy) == (refusal, "")


@pytest.mark.parametrize("word", ["backup", "restore"])
def test_what_is_done_has_not_failed_where_it_cannot_be_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    copy = tmp_path / "copy"
    if word == "restore":
        back_up(file, copy)

    def fill_up(_line: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (backup, restore):
        monkeypatch.setattr(module, "tell", fill_up)
    with pytest.raises(OSError, match="No space"):
        run_command(word, str(copy), DATABASE_URL=f"sqlite:///{file}")
    assert copy.exists()


@pytest.mark.parametrize(
    "words", [["backup"], ["backup", "one", "two"], ["backup", "--help"], ["dance", "one"], []]
)
def test_what_is_not_a_word_and_a_file_makes_nothing(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(file.parent)
    code, _ = run(f"sqlite:///{file}", *words)
    assert code == (0 if "--help" in words else 2)
    assert [*file.parent.iterdir()] == [file]


def test_what_fails_is_said_in_a_sentence(run: Run, file: Path, tmp_path: Path) -> None:
    file.write_text("Dear Sir or Madam, " * 100)
    sentence, _ = run(f"sqlite:///{file}", "backup", tmp_path / "copy")
    assert str(sentence).endswith(": file is not a database")
    sentence, _ = run("mysql://x", "backup", tmp_path / "copy")
    assert "DATABASE_URL must begin with" in str(sentence)
    assert {found.name for found in tmp_path.iterdir()} == {"test.db"}


def test_a_restored_service_goes_on_from_there(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(environment="local", database_url=sqlite_url, conversation_store="database")
    file, copy = tmp_path / "test.db", tmp_path / "copy"
    with TestClient(create_app(settings)) as client:
        customer = Customer(Simulator(client), "+15551234567", delivers=())
        customer.says("Hi")
        back_up(file, copy)
        customer.says("Cup")
    code, said = run(sqlite_url, "restore", copy)
    [kept] = tmp_path.glob("*.replaced")
    assert (code, said.splitlines()) == (
        0,
        [
            f"Restored from {copy}.",
            f"What was there before is kept in {kept}.",
            "It has 0 reviews and 1 messages.",
        ],
    )
    with TestClient(create_app(settings)) as client:
        customer = Customer(Simulator(client), "+15551234567", delivers=())
        assert [customer.says(text) for text in ("Lamp", "Ana", "Fine")] == [
            GOT_PRODUCT,
            GOT_NAME.format(product="Lamp"),
            GOT_REVIEW.format(name="Ana", product="Lamp"),
        ]
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    require_recorded(sqlite_url, set())


def test_a_copy_of_an_older_program_is_brought_up_to_date(
    run: Run, file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(f"sqlite:///{copy}")
    with engine.begin() as config.attributes["connection"]:
        command.upgrade(config, "0001")
    engine.dispose()
    fill(copy, "older", 2)
    assert run(f"sqlite:///{file}", "restore", copy)[0] == 0
    with closing(open_database(f"sqlite:///{file}")) as database:
        assert schema_version(database.engine) == SCHEMA_VERSION
        assert [review.product_name for review in query.page(database, None, 10)] == 2 * ["older"]


def test_an_earlier_programs_database_is_backed_up_and_put_back(run: Run, tmp_path: Path) -> None:
    """Before it is adopted, which changes it."""
    url, copy = f"sqlite:///{tmp_path / 'test.db'}", tmp_path / "copy"
    engine = sa.create_engine(url)
    SEED.create(engine)
    with engine.begin() as connection:
        connection.execute(SEED.insert(), OLD_ROWS)
    engine.dispose()
    back_up(tmp_path / "test.db", copy)
    code, said = run(url, "restore", copy)
    assert code == 0
    assert said.endswith(f"It has {len(OLD_ROWS)} reviews and 0 messages.\n")


def test_a_copy_with_problems_is_put_back_and_they_are_told(
    run: Run, file: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(file, tmp_path / "copy"))
    run_sql("UPDATE reviews SET conversation_id = id")(copy)
    sentence, said = run(f"sqlite:///{file}", "restore", copy)
    assert sentence == "It has problems: python3 run.py check-data lists them."
    assert said.endswith("It has 3 reviews and 0 messages.\n")


@pytest.mark.parametrize("word", ["backup", "restore"])
def test_postgresqls_own_programs_are_named_without_passwords(run: Run, word: str) -> None:
    url = "postgres://ana:pa55@host:5433/name?password=pa55&sslpassword=pa55"
    sentence, _ = run(url, word, "copy")
    place = "postgresql://ana@host:5433/name"
    assert f"\n  pg_dump --format=custom --file=FILE {place}" in str(sentence)
    assert "pa55" not in str(sentence)


def test_the_way_named_for_postgresql_works_under_load(
    run: Run, make_client: MakeClient, postgres: RunningPostgres, postgres_url: str, tmp_path: Path
) -> None:
    sentence, _ = run(postgres_url, "backup", "copy")
    dump, put_back = [
        shlex.split(line.replace("FILE", str(tmp_path / "copy")))
        for line in str(sentence).splitlines()[1:]
    ]
    client = make_client(database_url=postgres_url, conversation_store="database")
    with customers_at_work(client) as answers:
        before = set(answers)
        subprocess.run([postgres.programs / dump[0], *dump[1:]], check=True)
        wait_until(lambda: len(answers) > len(before) + 20)
    subprocess.run([postgres.programs / put_back[0], *put_back[1:]], check=True)
    require_recorded(postgres_url, before)
    with closing(open_database(postgres_url)) as database:
        assert check(database).messages < len(answers)  # so it was put back indeed
    assert Customer(Simulator(client), "+15551112222").says("Hi") in REPLIES
