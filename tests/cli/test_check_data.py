"""The command check-data: what it says, its exit code, and the file and keys it checks first."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.paths import ROOT
from db import integrity
from db.engine import Database
from db.schema import SCHEMA_VERSION
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from tests.cli.test_backup import set_apart
from tests.conftest import make_app
from tests.support.commands import run_command


def run_sql(database: Database, *statements: str) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def check_data(database_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run_command("check-data", *options, DATABASE_URL=database_url)


def test_the_command_says_whether_all_is_well(
    customer: Customer, database: Database, database_url: str
) -> None:
    for text in ("Hi", "Lamp", "Ana", "Bright."):
        customer.sends(message_form(customer.contact, text, MessageSid=f"SM{text[0]}"))
    customer.says("Hi")
    result = subprocess.run(
        [sys.executable, "-m", "cli", "check-data"],
        cwd=ROOT,
        env={**os.environ, "ENVIRONMENT": "local", "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")
    checked, counts = result.stderr.splitlines()
    assert checked == f"Checked {database_url}"
    assert counts == "Messages: 5, conversations: 2, reviews: 1. Problems: none."
    run_sql(database, "DELETE FROM reviews")
    result = check_data(database_url)
    assert result.returncode == 1
    assert result.stdout == "conversation SMH is finished, and its review is missing\n"
    assert result.stderr.endswith("Problems: 1.\n")


def test_a_key_that_is_gone_is_found(database: Database) -> None:
    if database.is_sqlite:  # where it can only be left out when a table is made
        run_sql(database, "CREATE TABLE kept AS SELECT * FROM messages", "DROP TABLE messages")
        run_sql(database, "ALTER TABLE kept RENAME TO messages")
    else:
        places = ("uq_messages_conversation_id_position", "uq_messages_contact_number_turn")
        for key in ("pk_messages", *places):
            run_sql(database, f"ALTER TABLE messages DROP CONSTRAINT {key}")
    assert sorted(integrity.problems(database)) == [
        "the table messages has no unique key (contact_number, turn)",
        "the table messages has no unique key (conversation_id, position)",
        "the table messages has no unique key (message_sid)",
    ]


def test_an_index_that_differs_from_its_table_is_found(sqlite_url: str) -> None:
    with TestClient(make_app(database_url=sqlite_url)) as client:
        for sid in ("SMana1", "SMana2"):
            Simulator(client).deliver(message_form("+15551234567", "Hi", MessageSid=sid))
    assert check_data(sqlite_url).returncode == 0
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    set_apart(file, b"SMana2")
    result = check_data(sqlite_url)
    assert result.returncode == 1
    assert all(line.startswith("the file is damaged: ") for line in result.stdout.splitlines())
    assert not result.stderr.endswith("Problems: none.\n")


@pytest.mark.parametrize(
    "url", ["postgresql://postgres:p4ssw0rd@127.0.0.1:1/x", "sqlite:////no/where.db"]
)
def test_the_command_says_in_a_sentence_that_the_database_is_away(url: str) -> None:
    result = check_data(url)
    assert (result.returncode, result.stdout) == (1, "")
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith("check-data failed on ")
    assert ": OperationalError: " in sentence
    assert "p4ssw0rd" not in sentence


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = check_data(f"sqlite:///{tmp_path / 'none.db'}")
    assert result.returncode == 1
    assert "unable to open database file" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_our_tables_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    result = check_data(f"sqlite:///{file}")
    assert result.returncode == 1
    assert f"has schema none, and this program needs {SCHEMA_VERSION}" in result.stderr
    assert file.stat().st_size == 0


def test_the_command_names_unsafe_settings(sqlite_url: str) -> None:
    result = check_data(sqlite_url.replace("sqlite", "mysql"))
    assert result.returncode == 1
    assert "DATABASE_URL must begin with" in result.stderr
    assert "Traceback" not in result.stderr
