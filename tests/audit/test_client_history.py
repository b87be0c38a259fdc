"""Client history against the log: every answer that the log does not have is found."""

import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from audit.check import check
from audit.client_history import ClientHistory
from conversation.wording import APOLOGY, GOT_PRODUCT, GREETING
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage, Review
from privacy import message_erasure
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from tests.support.commands import run_command
from whatsapp.statuses import STATUSES

ANA = "+15559876543"


@pytest.fixture
def twilio(client: TestClient) -> Simulator:
    """Twilio, after Ana's finished conversation, SM1 to SM4, and Bo's greeting SM5."""
    twilio = Simulator(client)
    ana, bo = Customer(twilio, ANA), Customer(twilio, "+15558765432")
    for number, text in enumerate(("Hi", "Lamp", "Ana", "Bright."), 1):
        ana.sends(message_form(ANA, text, MessageSid=f"SM{number}"))
    bo.sends(message_form(bo.contact, "Hi", MessageSid="SM5"))
    return twilio


def test_what_the_simulator_received_is_in_the_log(database: Database, twilio: Simulator) -> None:
    assert [*twilio.client_history.answers] == ["SM1", "SM2", "SM3", "SM4", "SM5"]
    assert twilio.client_history.statuses == {"SM1": {"sent", "delivered", "read"}}
    assert check(database, history=twilio.client_history).problems == []


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"SM9": [GREETING]}, "message SM9 was answered and is not in the log"),
        ({"SM9": [None, APOLOGY, GREETING]}, "message SM9 was answered and is not in the log"),
        ({"SM1": [GOT_PRODUCT]}, "message SM1 was answered with other words than the log has"),
        ({"SM1": [GREETING, GOT_PRODUCT]}, "message SM1 was answered with other words than"),
        ({"SM1": [GREETING, ""]}, "message SM1 was answered with other words than the log has"),
        ({"SM1": [APOLOGY]}, "message SM1 was answered with the apology and is in the log"),
        ({"SM9": [None]}, None),
        ({"SM9": [APOLOGY]}, None),
        ({"SM9": [None, APOLOGY]}, None),
        ({"SM9": [""]}, "message SM9 was answered and is not in the log"),
        ({"SM1": [GREETING, None, GREETING]}, None),
        ({"SM1": [APOLOGY, GREETING]}, None),
        ({"SM1": [None]}, None),
        # The first delivery was recorded and its answer lost, and the second met an outage.
        ({"SM1": [None, APOLOGY]}, None),
    ],
)
@pytest.mark.usefixtures("twilio")
def test_an_answer_that_the_log_does_not_have_is_found(
    database: Database, answers: dict[str, list[str | None]], problem: str | None
) -> None:
    [*found] = check(database, history=ClientHistory(answers=answers)).problems
    assert len(found) == (problem is not None)
    assert not found or found[0].startswith(problem or "")


def erase(database: Database) -> None:
    """Erase the words of Ana's conversation."""
    with database.write() as connection:
        message_erasure.erase_words(connection, LoggedMessage.conversation_id == "SM1", utc_now())


@pytest.mark.usefixtures("twilio")
def test_words_that_were_erased_since_contradict_nobody(database: Database) -> None:
    erase(database)
    assert check(database, history=ClientHistory(answers={"SM1": [GREETING, ""]})).problems == []


@pytest.mark.parametrize("status", ["delivered", "pending", "none of Twilio's"])
def test_a_status_below_what_was_acknowledged_is_found(
    database: Database, twilio: Simulator, status: str
) -> None:
    with database.write() as connection:
        connection.execute(sa.update(Review).values(status=status))
    assert check(database, history=twilio.client_history).problems[-1] == (
        f"conversation SM1 has a review with status {status}, and read was acknowledged"
    )


@pytest.mark.usefixtures("twilio")
def test_a_conversation_that_went_on_after_the_idle_time_is_found(database: Database) -> None:
    two_minutes = timedelta(minutes=2)
    with database.write() as connection:
        for number in range(1, 5):
            connection.execute(
                sa.update(LoggedMessage)
                .where(LoggedMessage.message_sid == f"SM{number}")
                .values(received_at=utc_now() + number * two_minutes)
            )
    late = "conversation SM1 went on after it was over"
    assert late in check(database, kept_for=timedelta(seconds=59)).problems
    assert late not in check(database, kept_for=two_minutes).problems


def begin_anew(database: Database, after: timedelta) -> list[str]:
    """Have Bo begin again so long after his greeting; check as if both had been kept for a day."""
    with database.write() as connection:
        greeting = sa.select(LoggedMessage).where(LoggedMessage.message_sid == "SM5")
        row = connection.execute(greeting).one()._mapping
        changes = {"message_sid": "SM6", "conversation_id": "SM6", "turn": 2}
        connection.execute(
            sa.insert(LoggedMessage).values(
                {**row, **changes, "received_at": row["received_at"] + after}
            )
        )
    assert check(database).problems == []
    return check(database, kept_for=timedelta(days=1)).problems


@pytest.mark.usefixtures("twilio")
def test_a_conversation_begun_while_another_went_on_is_found(database: Database) -> None:
    assert begin_anew(database, timedelta(hours=23)) == [
        "conversation SM6 began while another could still have gone on"
    ]


@pytest.mark.usefixtures("twilio")
@pytest.mark.parametrize("after", [timedelta(hours=24, seconds=1), -timedelta(hours=24, seconds=1)])
def test_a_conversation_begun_after_the_idle_time_is_right(
    database: Database, after: timedelta
) -> None:
    assert begin_anew(database, after) == []


DOUBLED = {
    "message SM5 is there more than once": "message_sid FROM messages",
    "a review of conversation SM1 is there more than once": "conversation_id FROM reviews",
    "a turn of the contact of conversation SM5 is there more than once": "turn FROM messages",
}


@pytest.mark.parametrize("problem", DOUBLED)
@pytest.mark.usefixtures("twilio")
def test_a_row_twice_is_found_where_the_tables_let_it_in(database: Database, problem: str) -> None:
    """As after an index was damaged: the tables are copied without theirs."""
    table = DOUBLED[problem].rpartition(" ")[2]
    last = "SM5" if table == "messages" else "SM1"
    key = "message_sid" if table == "messages" else "conversation_id"
    with database.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO before")
        connection.exec_driver_sql(f"CREATE TABLE {table} AS SELECT * FROM before")
        connection.exec_driver_sql(
            f"INSERT INTO {table} SELECT * FROM before WHERE {key} = '{last}'"
        )
    assert problem in check(database).problems


def test_a_history_is_written_and_read_again(tmp_path: Path) -> None:
    history = ClientHistory()
    history.note_answer("SM1", "Héllo \u2028 there")
    history.note_answer("SM1", None)
    history.note_status("SM1", "sent")
    history.save(tmp_path / "history")
    again = ClientHistory.load(tmp_path / "history")
    assert (again.answers, again.statuses) == (history.answers, history.statuses)


GOOD = '{"message_sid": "SM1", "answers": ["Hi", null]}'


@pytest.mark.parametrize(
    "line",
    [
        *("Hi!", "[1]", "{}", "null", "[" * 100_000, '{"message_sid": "SM1"}'),
        '{"message_sid": "SM1", "answers": 1}',
        '{"message_sid": "SM1", "answers": "Hi"}',
        '{"message_sid": "SM1", "answers": [1]}',
        '{"message_sid": 1, "answers": ["Hi"]}',
        '{"message_sid": ["SM1"], "answers": ["Hi"]}',
        '{"message_sid": "SM\\u0000", "answers": ["Hi"]}',
        '{"message_sid": "SM\\ud800", "answers": ["Hi"]}',
        '{"conversation_id": 1, "statuses": ["sent"]}',
        '{"conversation_id": "SM1", "statuses": "sent"}',
        '{"conversation_id": "SM1", "statuses": [null]}',
        '{"conversation_id": "SM\\u0000", "statuses": ["sent"]}',
    ],
    ids=lambda line: line[:50],
)
def test_any_other_content_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "history").write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(ValueError, match="line 2 is no record"):
        ClientHistory.load(tmp_path / "history")


@pytest.mark.parametrize("text", ["", "\n", '{"conversation_id": "SM1", "statuses": ["sent"]}\n'])
def test_a_history_without_answers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "history").write_text(text)
    with pytest.raises(ValueError, match="has no answers"):
        ClientHistory.load(tmp_path / "history")


def test_a_line_separator_within_an_answer_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "history").write_text(
        '{"message_sid": "SM1", "answers": ["a\u2028b"]}', encoding="utf-8"
    )
    assert ClientHistory.load(tmp_path / "history").answers == {"SM1": ["a\u2028b"]}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
def test_a_history_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    before = os.umask(0o022)
    try:
        old.touch()
        for file in (new, old):
            ClientHistory().save(file)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_status_acknowledged_for_a_review_that_is_gone_is_missed() -> None:
    history = ClientHistory()
    for conversation_id in ("SM1", "SM2", "SM3"):
        history.note_status(conversation_id, "sent")
    history.note_status("SM4", "eaten")  # which Twilio does not have
    assert [*history.missing({"SM1"}, erased={"SM2"}, ranks=STATUSES)] == [
        "conversation SM3 had a status acknowledged, and has no review"
    ]


def check_data(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("check-data", *arguments, DATABASE_URL=url)


def test_the_command_compares_with_a_history(
    local: TestClient, sqlite_url: str, tmp_path: Path
) -> None:
    file, twilio = tmp_path / "history", Simulator(local)
    Customer(twilio).says("Hi")
    twilio.client_history.save(file)
    assert check_data(sqlite_url, "--client-history", str(file)).returncode == 0
    twilio.client_history.note_answer("SM9", "Hello")
    twilio.client_history.save(file)
    refused = check_data(sqlite_url, "--client-history", str(file))
    assert refused.returncode == 1
    assert refused.stdout == "message SM9 was answered and is not in the log\n"
    missing = check_data(sqlite_url, "--client-history", str(tmp_path / "missing"))
    assert missing.returncode == 1
    assert missing.stderr.startswith("The client history can't be read: ")


@pytest.mark.usefixtures("twilio")
def test_the_command_checks_the_idle_time_if_strict(database: Database, database_url: str) -> None:
    begin_anew(database, timedelta(hours=23))
    assert check_data(database_url).returncode == 0
    strict = check_data(database_url, "--strict")
    assert strict.returncode == 1
    assert strict.stdout == "conversation SM6 began while another could still have gone on\n"


def test_a_status_that_twilio_does_not_have_counts_for_nothing(
    database: Database, twilio: Simulator
) -> None:
    twilio.client_history.note_status("SM1", "eaten")
    twilio.client_history.note_status("SM5", "eaten")
    assert check(database, history=twilio.client_history).problems == []


def test_a_review_that_is_gone_is_found_unless_its_words_were_erased(
    database: Database, twilio: Simulator
) -> None:
    with database.write() as connection:
        connection.execute(sa.delete(Review))
    missing = "conversation SM1 had a status acknowledged, and has no review"
    assert missing in check(database, history=twilio.client_history).problems
    erase(database)
    assert check(database, history=twilio.client_history).problems == []
