"""The checker: content with what the program wrote, and not with what anybody changed behind it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

import checker
import foundations
from checker import Findings, check
from database import Database, open_database, utc_now
from main import create_app
from models import LoggedMessage, UnfinishedConversation
from settings import Settings
from simulator import Customer, Simulator, message_form
from tests.commands import run_command
from tests.servers import ROOT
from tests.test_backup import set_apart

ANA, BO = "+15559876543", "+15558765432"
PRIVATE = ("Zanzibar", "Wilhelmina", "Xylophone", "tampered", ANA[1:], BO[1:])


def say(client: TestClient, contact: str, sid: str, *texts: str) -> None:
    """Send texts one after another, with SIDs that begin with `sid` and count from 1."""
    customer = Customer(Simulator(client), contact, delivers=())
    for number, text in enumerate(texts, 1):
        customer.sends(message_form(contact, text, MessageSid=f"{sid}{number}"))


def play(client: TestClient, database: Database) -> None:
    """Let Ana finish SMana1, and Bo give SMold1 up and get as far as his name in SMbo1."""
    say(client, ANA, "SMana", "Hi", "Zanzibar lamp", "", "Wilhelmina", "Xylophones!")
    say(client, BO, "SMold", "Hi", "Zanzibar cup")
    long_ago = utc_now() - timedelta(days=9)
    with database.write() as connection:
        connection.execute(sa.update(UnfinishedConversation).values(updated_at=long_ago))
        connection.execute(
            sa.update(LoggedMessage)
            .where(LoggedMessage.contact_number == BO)
            .values(received_at=long_ago)
        )
    say(client, BO, "SMbo", "Hi", "Zanzibar lamp", "Wilhelmina")


def look(database: Database) -> Findings:
    """Check with the rows of the database store expected."""
    return check(database, utc_now() - timedelta(hours=24))


@pytest.fixture
def played(client: TestClient, database: Database) -> Database:
    play(client, database)
    return database


@pytest.fixture(scope="module")
def played_file(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on SQLite, played once: every case of tampering has a copy."""
    file = Path(shutil.copy(migrated_sqlite, tmp_path_factory.mktemp("played") / "played.db"))
    settings = Settings(
        environment="local", database_url=f"sqlite:///{file}", conversation_store="database"
    )
    with TestClient(create_app(settings)) as client:
        database = open_database(settings.database_url)
        play(client, database)
        database.close()
    return file


@pytest.fixture
def played_on_sqlite(played_file: Path, tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{shutil.copy(played_file, tmp_path)}")
    yield database
    database.close()


def run_sql(database: Database, sql: str) -> None:
    with database.write() as connection:
        assert connection.exec_driver_sql(sql).rowcount > 0, "the tampering changed nothing"


def run_ddl(database: Database, *statements: str) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_what_the_program_wrote_is_right(played: Database) -> None:
    findings = look(played)
    assert findings.problems == []
    assert (findings.conversations, findings.messages, findings.reviews) == (3, 10, 1)


def test_an_empty_database_is_right(database: Database) -> None:
    assert look(database) == Findings()


NEW_REVIEW = (
    "INSERT INTO reviews (contact_number, user_name, product_name, product_review, created_at,"
    " updated_at, conversation_id) SELECT contact_number, 'tampered', 'tampered', 'tampered',"
    " received_at, received_at, '{}' FROM messages WHERE message_sid = 'SMbo3'"
)
NEW_ROW = (
    "INSERT INTO conversations SELECT '{}', '{}', state, product_name, user_name, position,"
    " updated_at FROM conversations WHERE conversation_id = 'SMbo1'"
)
OF_ANA = "WHERE conversation_id = 'SMana1'"
OF_BO = "WHERE conversation_id = 'SMbo1'"
NOT_THE_END = "conversation SMbo1 has a row among conversations that is not the log's end"
DIFFERS = "conversation SMana1 has a review 1 that differs from its replay"
UNREADABLE = "conversation SMana1 can't be read: "


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        # reviews
        (f"UPDATE reviews SET product_review = 'tampered' {OF_ANA}", DIFFERS),
        (f"UPDATE reviews SET product_name = 'tampered' {OF_ANA}", DIFFERS),
        (f"UPDATE reviews SET user_name = 'tampered' {OF_ANA}", DIFFERS),
        (f"UPDATE reviews SET contact_number = '{BO}' {OF_ANA}", DIFFERS),
        (f"UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000' {OF_ANA}", DIFFERS),
        (f"DELETE FROM reviews {OF_ANA}", "conversation SMana1 is finished, and its review is"),
        (NEW_REVIEW.format("SMbo1"), "conversation SMbo1 is unfinished, and has review 2"),
        (NEW_REVIEW.format("SMnew"), "review 2 has no messages in the log"),
        (f"UPDATE reviews SET conversation_id = 'SMnew' {OF_ANA}", "conversation SMana1 is fin"),
        (
            "UPDATE reviews SET search_text = ''",
            "review 1 is not found by a search for its words",
        ),
        (NEW_REVIEW.format("legacy-9"), "review 2 has no messages in the log"),
        # messages
        (
            "UPDATE messages SET reply = 'tampered' WHERE message_sid = 'SMana2'",
            "conversation SMana1 has another reply to SMana2 than its replay",
        ),
        (
            "UPDATE messages SET body = 'tampered' WHERE message_sid = 'SMbo2'",
            "conversation SMbo1 has another reply to SMbo3 than its replay",
        ),
        ("UPDATE messages SET body = 'tampered' WHERE message_sid = 'SMana5'", DIFFERS),
        (
            "DELETE FROM messages WHERE message_sid = 'SMana3'",
            "conversation SMana1 has a gap in its messages",
        ),
        (
            "UPDATE messages SET position = 7 WHERE message_sid = 'SMana5'",
            "conversation SMana1 has a gap in its messages",
        ),
        (
            "DELETE FROM messages WHERE message_sid = 'SMana1'",
            "conversation SMana1 was not opened by the message it is named after",
        ),
        (
            "DELETE FROM messages WHERE message_sid = 'SMana5'",
            "conversation SMana1 is unfinished, and has review 1",
        ),
        ("DELETE FROM messages WHERE message_sid = 'SMbo3'", NOT_THE_END),
        (f"DELETE FROM messages {OF_ANA}", "review 1 has no messages in the log"),
        (f"DELETE FROM messages {OF_BO}", "conversation SMbo1 has a row and no messages in the"),
        (
            f"UPDATE messages SET contact_number = '{BO}' WHERE message_sid = 'SMana2'",
            "conversation SMana1 has messages of two contacts",
        ),
        (f"UPDATE messages SET contact_number = '+1' {OF_ANA}", DIFFERS),
        (
            "UPDATE messages SET finished = 0 WHERE message_sid = 'SMana5'",
            "conversation SMana1 finishes at another message than SMana5",
        ),
        (
            "UPDATE messages SET finished = 1 WHERE message_sid = 'SMbo2'",
            "conversation SMbo1 finishes at another message than SMbo2",
        ),
        (
            "UPDATE messages SET conversation_id = 'SMana1', position = 6"
            " WHERE message_sid = 'SMbo1'",
            "conversation SMana1 goes on after its review",
        ),
        # conversations
        (f"UPDATE conversations SET state = 'ASK_REVIEW' {OF_BO}", NOT_THE_END),
        (f"UPDATE conversations SET state = 'tampered' {OF_BO}", NOT_THE_END),
        (f"UPDATE conversations SET product_name = 'tampered' {OF_BO}", NOT_THE_END),
        (f"UPDATE conversations SET user_name = 'tampered' {OF_BO}", NOT_THE_END),
        (f"UPDATE conversations SET position = 2 {OF_BO}", NOT_THE_END),
        (f"UPDATE conversations SET contact_number = '+1' {OF_BO}", NOT_THE_END),
        (
            f"DELETE FROM conversations {OF_BO}",
            "conversation SMbo1 is unfinished and has no row among conversations",
        ),
        (
            "UPDATE conversations SET conversation_id = 'SMold1', state = 'ASK_REVIEW',"
            " product_name = 'Zanzibar cup', user_name = '', position = 2",
            "conversation SMold1 has a row, but its contact has written another",
        ),
        (
            NEW_ROW.format(ANA, "SMana1"),
            "conversation SMana1 has a row among conversations that is not the log's end",
        ),
        (NEW_ROW.format("+1", "SMnew"), "conversation SMnew has a row and no messages in the log"),
        (
            "INSERT INTO conversations SELECT '+1', conversation_id, state, product_name,"
            " user_name, position, updated_at FROM conversations",
            "a row of conversation SMbo1 is there more than once",
        ),
        (
            f"INSERT INTO conversations SELECT '{ANA}', 'SMana1', 'START', '', '', 5, received_at"
            " FROM messages WHERE message_sid = 'SMana5'",
            "conversation SMana1 is finished, and has a row among conversations",
        ),
        # whatever it takes
        (f"UPDATE messages SET conversation_id = '' {OF_ANA}", "conversation  was not opened by"),
        ("UPDATE reviews SET status = 'tampered'", "review 1 has a status that there is not"),
        (
            NEW_REVIEW.format("legacy-2"),
            "review 2 is called an earlier program's, and is newer than ours",
        ),
        (
            "UPDATE messages SET rules = 0, reply = 'tampered' WHERE message_sid = 'SMana2'",
            "conversation SMana1 has a reply to SMana2 by rules that this program does not know",
        ),
        (
            "UPDATE messages SET rules = 99 WHERE message_sid = 'SMana2'",
            "conversation SMana1 has a reply to SMana2 by rules that this program does not know",
        ),
        (
            "UPDATE messages SET received_at = '2026-01-01 00:00:00.000000'"
            " WHERE message_sid = 'SMana3'",
            "conversation SMana1 has messages that are older than those before them",
        ),
        (
            "UPDATE messages SET received_at = '2126-01-01 00:00:00.000000'"
            " WHERE message_sid = 'SMold2'",
            "conversation SMold1 went on when its contact had begun another",
        ),
        # values that can't be read
        ("UPDATE messages SET body = x'00ff' WHERE message_sid = 'SMana5'", UNREADABLE),
        ("UPDATE messages SET media = '[1,' WHERE message_sid = 'SMana5'", UNREADABLE),
        ("UPDATE messages SET received_at = 5 WHERE message_sid = 'SMana5'", UNREADABLE),
        ("UPDATE reviews SET created_at = 'tampered'", UNREADABLE),
        (
            "UPDATE messages SET received_at = 'tampered' WHERE message_sid = 'SMbo3'",
            "what conversations have to do with each other can't be read: ValueError",
        ),
    ],
)
def test_what_was_changed_behind_the_program_is_found(
    played_on_sqlite: Database, sql: str, problem: str
) -> None:
    run_sql(played_on_sqlite, sql)
    problems = look(played_on_sqlite).problems
    assert [found for found in problems if found.startswith(problem)], problems
    assert not [words for words in PRIVATE if words in "\n".join(problems)]


def test_it_is_found_on_both_databases(played: Database) -> None:
    run_sql(played, "UPDATE messages SET finished = (position = 2)")
    run_sql(
        played,
        "UPDATE reviews SET created_at = updated_at - interval '1 microsecond'"
        if not played.is_sqlite
        else "UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000'",
    )
    run_sql(played, f"DELETE FROM conversations {OF_BO}")
    problems = look(played).problems
    assert DIFFERS in problems
    assert "conversation SMbo1 is unfinished and has no row among conversations" in problems
    assert len([problem for problem in problems if "finishes at another message" in problem]) == 4


def test_rows_are_not_missed_where_memory_kept_the_conversations(played: Database) -> None:
    run_sql(played, "DELETE FROM conversations")
    assert check(played).problems == []


def test_a_row_is_not_missed_once_the_conversation_is_over(played: Database) -> None:
    run_sql(played, "DELETE FROM conversations")
    assert check(played, kept_since=utc_now()).problems == []


ERASE = (
    "UPDATE messages SET body = '', reply = '', media = '[]', erased_at = received_at",
    "DELETE FROM conversations",
)


def test_a_review_may_outlive_its_erased_words_or_go_with_them(played: Database) -> None:
    for sql in (*ERASE, "DELETE FROM reviews"):
        run_sql(played, sql)
        assert sql == ERASE[0] or look(played).problems == []


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE messages SET erased_at = NULL WHERE message_sid = 'SMana5'", "is erased in part"),
        (f"UPDATE messages SET body = 'x' {OF_ANA}", "is marked as erased and has words"),
        (f"UPDATE messages SET finished = 0 {OF_ANA}", "is unfinished, and has review 1"),
        ("DELETE FROM messages WHERE message_sid = 'SMana2'", "has a gap in its messages"),
        (f"UPDATE reviews SET contact_number = '{BO}'", "has a review 1 of another contact or"),
        ("UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000'", "has a review 1 of an"),
        ("UPDATE reviews SET search_text = ''", "review 1 is not found by a search for its words"),
    ],
)
def test_of_an_erased_conversation_what_is_left_must_be_right(
    played_on_sqlite: Database, sql: str, problem: str
) -> None:
    for statement in (*ERASE, sql):
        run_sql(played_on_sqlite, statement)
    [found] = look(played_on_sqlite).problems
    assert found.removeprefix("conversation SMana1 ").startswith(problem)


def test_a_row_of_an_erased_conversation_is_found(played: Database) -> None:
    run_sql(played, ERASE[0])
    assert look(played).problems == [
        "conversation SMbo1 is erased and has a row among conversations"
    ]


def test_replies_under_other_rules_are_not_judged_by_todays(
    played: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replayed.RULES_VERSION", 2)
    run_sql(played, "UPDATE messages SET reply = 'as it was worded once'")
    assert look(played).problems == []
    run_sql(played, "UPDATE messages SET body = 'tampered' WHERE message_sid = 'SMana5'")
    assert look(played).problems == [DIFFERS]


def test_a_log_of_many_conversations_is_read_whole(played: Database) -> None:
    copy = (
        "INSERT INTO messages SELECT 'SM' || n || message_sid, contact_number, 'SM' || n ||"
        " conversation_id, position, body, media, reply, finished, rules, received_at, erased_at"
        " FROM messages, numbers WHERE conversation_id = 'SMold1'"
    )
    numbers = (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600) "
    )
    run_sql(played, copy.replace("INSERT INTO messages ", f"INSERT INTO messages {numbers}"))
    findings = check(played)
    assert (findings.conversations, findings.problems) == (603, [])
    run_sql(played, "UPDATE messages SET reply = '' WHERE message_sid = 'SM599SMold1'")
    assert len(check(played).problems) == 1


def check_data(database_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {"DATABASE_URL": database_url, "CONVERSATION_STORE": "database"}
    return run_command(checker.main, *options, **settings)


def test_the_command_says_whether_all_is_well(played: Database, database_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "checker"],
        cwd=ROOT,
        env={**os.environ, "ENVIRONMENT": "local", "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")
    checked, counts = result.stderr.splitlines()
    assert checked == f"Checked {database_url}"
    assert counts == "Messages: 10, conversations: 3, reviews: 1. Problems: none."
    run_sql(played, f"DELETE FROM conversations {OF_BO}")
    assert check_data(database_url).returncode == 0
    result = check_data(database_url, "--strict")
    assert result.returncode == 1
    assert result.stdout == (
        "conversation SMbo1 is unfinished and has no row among conversations\n"
    )
    assert result.stderr.endswith("Problems: 1.\n")


def test_a_key_that_is_gone_is_found(database: Database) -> None:
    if database.is_sqlite:  # where it can only be left out when a table is made
        run_ddl(database, "CREATE TABLE kept AS SELECT * FROM messages", "DROP TABLE messages")
        run_ddl(database, "ALTER TABLE kept RENAME TO messages")
    else:
        for key in ("pk_messages", "uq_messages_conversation_id_position"):
            run_ddl(database, f"ALTER TABLE messages DROP CONSTRAINT {key}")
    assert [*foundations.problems(database)] == [
        "the table messages has no unique key (message_sid)",
        "the table messages has no unique key (conversation_id, position)",
    ]


def test_an_index_that_differs_from_its_table_is_found(played_on_sqlite: Database) -> None:
    assert [*foundations.problems(played_on_sqlite)] == []
    played_on_sqlite.close()
    file = played_on_sqlite.file
    assert file is not None
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    set_apart(file, b"SMana5")
    result = check_data(f"sqlite:///{file}")
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
    assert "can't be read: OperationalError" in sentence
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
    assert "has schema None, this program checks 0002" in result.stderr
    assert file.stat().st_size == 0


def test_the_command_names_unsafe_settings(sqlite_url: str) -> None:
    result = check_data(sqlite_url.replace("sqlite", "mysql"))
    assert result.returncode == 1
    assert "DATABASE_URL must begin with" in result.stderr
    assert "Traceback" not in result.stderr
