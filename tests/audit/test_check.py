"""The check accepts what the program wrote, and finds every change made behind its back."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from audit.check import Findings, check
from audit.cross_checks import GRACE
from conversation.model import Message
from conversation.state_machine import MAX_AHEAD
from core.clock import utc_now
from core.settings import Settings
from db.engine import Database, open_database
from ingest.writer import MessageWriter
from main import create_app
from models import LoggedMessage, Review
from privacy.erasure import erase_contact, erase_review
from privacy.retention import Retention
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from storage.end_cache import NoCache

ANA, BO = "+15559876543", "+15558765432"
PRIVATE = ("Zanzibar", "Wilhelmina", "Xylophone", "tampered", ANA[1:], BO[1:])
TTL = timedelta(hours=24)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def say(client: TestClient, contact: str, sid: str, *texts: str) -> None:
    """Send texts one after another, with SIDs that begin with `sid` and count from 1."""
    customer = Customer(Simulator(client), contact, delivers=())
    for number, text in enumerate(texts, 1):
        customer.sends(message_form(contact, text, MessageSid=f"{sid}{number}"))


def play(client: TestClient, database: Database) -> None:
    """Let Ana finish SMana1, and Bo give SMold1 up and get as far as his name in SMbo1."""
    say(client, ANA, "SMana", "Hi", "Zanzibar lamp", "", "Wilhelmina", "Xylophones!")
    say(client, BO, "SMold", "Hi", "Zanzibar cup")
    make_old(database, BO)
    say(client, BO, "SMbo", "Hi", "Zanzibar lamp", "Wilhelmina")


def make_old(database: Database, contact: str) -> None:
    """Date everything that a contact has said and reviewed back."""
    with database.write() as connection:
        of_contact = LoggedMessage.contact_number == contact
        connection.execute(sa.update(LoggedMessage).where(of_contact).values(received_at=LONG_AGO))
        its_review = Review.contact_number == contact
        connection.execute(sa.update(Review).where(its_review).values(created_at=LONG_AGO))


def look(database: Database) -> Findings:
    """Check with the idle time that the app has."""
    return check(database, kept_for=TTL)


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


def run_sql(database: Database, *statements: str) -> None:
    with database.write() as connection:
        for sql in statements:
            changed = connection.exec_driver_sql(sql).rowcount
            assert changed > 0, f"the tampering changed nothing: {sql}"


def test_what_the_program_wrote_is_right(played: Database) -> None:
    findings = look(played)
    assert findings.problems == []
    assert (findings.conversations, findings.messages, findings.reviews) == (3, 10, 1)


def test_an_empty_database_is_right(database: Database) -> None:
    assert look(database) == Findings()


def test_whatever_the_clock_and_erasures_do_the_log_is_right(database: Database) -> None:
    """Times fall and jump around every limit, while reviews, contacts and old words are erased."""
    dice = random.Random(7)
    jumps = [timedelta()] * 12 + [TTL, -MAX_AHEAD, timedelta(days=400), timedelta(days=-400)]
    now = utc_now()
    writer = MessageWriter(database, NoCache(), TTL, clock=lambda: now)
    retention = Retention(database, TTL, TTL)
    for number in range(250):
        now += dice.choice(jumps) + dice.choice((-2, -1, 0, 0, 1, 2)) * GRACE / 2
        text = dice.choice(("Zanzibar", "Wilhelmina", " "))
        asyncio.run(writer.submit(Message(f"SM{number}", dice.choice((ANA, BO)), text)))
        if not dice.randrange(10):
            dice.choice(
                (
                    lambda: erase_review(database, dice.randrange(1, 20)),
                    lambda: erase_contact(database, BO, "key"),
                    retention.erase_some,
                )
            )()
    writer.close()
    findings = look(database)
    assert findings.problems == []
    assert findings.messages == 250
    assert findings.reviews > 5


def answers(sid: str, json: str) -> str:
    return f"UPDATE messages SET answers = '{json}' WHERE message_sid = '{sid}'"


def message(sid: str, change: str) -> str:
    return f"UPDATE messages SET {change} WHERE message_sid = '{sid}'"


NEW_REVIEW = (
    "INSERT INTO reviews (contact_number, user_name, product_name, product_review, created_at,"
    " updated_at, conversation_id) SELECT contact_number, 'tampered', 'tampered', 'tampered',"
    " received_at, received_at, '{}' FROM messages WHERE message_sid = 'SMbo3'"
)
OF_ANA = "WHERE conversation_id = 'SMana1'"
LAMP, BOTH = '{"product": "Zanzibar lamp"}', '"product": "Zanzibar lamp", "name": "Wilhelmina"'
DIFFERS = "conversation SMana1 has a review 1 that differs from its answers"
OF_ANOTHER = "conversation SMana1 has a review 1 of another contact or time than its last message"
OTHER_FACTS = "conversation SMana1 has other facts in {} than follow from the message before it"
NO_END = "conversation {} has state START after {}, which does not end it"
UNKNOWN = "conversation SMbo1 has an outcome that this program does not know"
NOT_NAMED_AFTER = "conversation {} was not opened by the message it is named after"
TOO_LATE = "conversation SMana1 went on after it was over"
TOO_EARLY = "conversation SMbo1 began while another could still have gone on"
UNREADABLE = "conversation SMana1 can't be read: {}"

TAMPERING = {
    # reviews
    DIFFERS: [
        "UPDATE reviews SET product_review = 'tampered'",
        "UPDATE reviews SET product_name = 'tampered'",
        "UPDATE reviews SET user_name = 'tampered'",
        answers("SMana5", f'{{{BOTH}, "review": "tampered"}}'),
    ],
    OF_ANOTHER: [
        f"UPDATE reviews SET contact_number = '{BO}'",
        "UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000'",
        f"UPDATE messages SET contact_number = '+1' {OF_ANA}",
    ],
    "conversation SMana1 is finished, and its review is missing": [
        "DELETE FROM reviews",
        "UPDATE reviews SET conversation_id = 'SMnew'",
    ],
    "conversation SMbo1 is finished, and its review is missing": [
        message("SMbo3", "outcome = 'finished'")
    ],
    "conversation SMana1 is unfinished, and has review 1": [
        message("SMana5", "outcome = 'answered'"),
        "DELETE FROM messages WHERE message_sid = 'SMana5'",
    ],
    "conversation SMbo1 is unfinished, and has review 2": [NEW_REVIEW.format("SMbo1")],
    "review 1 has no messages in the log": [f"DELETE FROM messages {OF_ANA}"],
    "review 2 has no messages in the log": [
        NEW_REVIEW.format("SMnew"),
        NEW_REVIEW.format("legacy-9"),
    ],
    "review 2 is called an earlier program's, and is newer than ours": [
        NEW_REVIEW.format("legacy-2")
    ],
    "review 1 is not found by a search for its words": ["UPDATE reviews SET search_text = ''"],
    "review 1 has a status that does not exist": ["UPDATE reviews SET status = 'tampered'"],
    # answers, states and outcomes
    "conversation SMana1 has answers in the message that opened it": [answers("SMana1", LAMP)],
    OTHER_FACTS.format("SMana2"): [answers("SMana2", "{}"), answers("SMana2", f"{{{BOTH}}}")],
    OTHER_FACTS.format("SMana3"): [
        answers("SMana2", '{"product": "tampered"}'),
        message("SMana3", "state = 'FINISH'"),
        message("SMana3", "outcome = 'answered'"),
    ],
    OTHER_FACTS.format("SMana4"): [
        answers("SMana4", '{"product": "tampered", "name": "Wilhelmina"}'),
        message("SMana4", "outcome = 'asked_again'"),
    ],
    OTHER_FACTS.format("SMana5"): [
        answers("SMana5", '{"review": "Xylophones!"}'),
        answers("SMana5", f'{{{BOTH}, "review": "Xylophones!", "more": ""}}'),
        answers("SMana4", '{"product": "Zanzibar lamp", "review": "Xylophones!"}'),
    ],
    "conversation SMana1 has an answer in SMana2 that is not what was written": [
        message("SMana2", "body = 'tampered'")
    ],
    "conversation SMana1 has an answer in SMana5 that is not what was written": [
        message("SMana5", "body = 'tampered'")
    ],
    "conversation SMana1 has no reply to SMana5": [message("SMana5", "reply = ''")],
    "conversation SMbo1 has no reply to SMbo1": [message("SMbo1", "reply = ''")],
    "review 1 belongs to an erased contact": ["UPDATE reviews SET contact_number = 'forgotten-00'"],
    NO_END.format("SMbo1", "SMbo1"): [message("SMbo1", "state = 'START'")],
    NO_END.format("SMbo1", "SMbo2"): [message("SMbo2", "state = 'START'")],
    NO_END.format("SMana1", "SMana3"): [message("SMana3", "state = 'START'")],
    "conversation SMana1 has another state than START after SMana5, which finished it": [
        message("SMana5", "state = 'FINISH'")
    ],
    "conversation SMana1 goes on after its review": [
        message("SMbo1", "conversation_id = 'SMana1', position = 6")
    ],
    "conversation SMana1 begins with a message that did not open it": [
        message("SMana1", "outcome = 'answered'")
    ],
    "conversation SMana1 is opened again by SMana2": [message("SMana2", "outcome = 'opened'")],
    "conversation SMbo1 has an erased message SMbo2 that is not marked as erased": [
        message("SMbo2", "outcome = 'erased'")
    ],
    f"{UNKNOWN}: courtesy": [message("SMbo2", "outcome = 'courtesy'")],
    UNKNOWN: [message("SMbo2", "outcome = 'Zanzibar'"), message("SMbo2", "outcome = ''")],
    "conversation SMbo1 has a settings version below 0 in SMbo2": [
        message("SMbo2", "settings_version = -1")
    ],
    "conversation SMbo1 has a context in SMbo2 that is not a JSON object": [
        message("SMbo2", "context = '[]'")
    ],
    # order
    "conversation SMana1 has a gap in its messages": [
        "DELETE FROM messages WHERE message_sid = 'SMana3'",
        message("SMana5", "position = 7"),
    ],
    "conversation SMana1 does not begin at position 1": [
        "DELETE FROM messages WHERE message_sid = 'SMana1'"
    ],
    NOT_NAMED_AFTER.format("SMana1"): [message("SMana1", "message_sid = 'SM1'")],
    NOT_NAMED_AFTER.format(""): [f"UPDATE messages SET conversation_id = '' {OF_ANA}"],
    "conversation SMana1 has messages of two contacts": [
        message("SMana2", f"contact_number = '{BO}', turn = 9")
    ],
    "conversation SMana1 has a turn below 1": [message("SMana1", "turn = 0")],
    "conversation SMana1 has turns that do not rise with its positions": [
        f"UPDATE messages SET turn = 10 - turn {OF_ANA}"
    ],
    "conversation SMbo1 has turn 9, after a gap in its contact's turns": [
        message("SMbo3", "turn = 9")
    ],
    "conversation SMbo1 has turn 3, after a gap in its contact's turns": [
        "DELETE FROM messages WHERE conversation_id = 'SMold1'"
    ],
    "conversation SMold1 went on when its contact had begun another": [
        message("SMold2", "turn = 6")
    ],
    TOO_LATE: [
        message("SMana3", "received_at = '2025-01-01 00:00:00.000000'"),
        message("SMana3", "received_at = '2125-01-01 00:00:00.000000'"),
    ],
    TOO_EARLY: [
        message("SMbo1", "received_at = '2026-01-01 23:00:00.000000'"),
        message("SMbo1", "received_at = '2025-12-31 01:00:00.000000'"),
    ],
    # values that can't be read
    UNREADABLE.format("TypeError"): [
        message("SMana5", "body = x'00ff'"),
        message("SMana5", "media = '{}'"),
        message("SMana5", "turn = 'tampered'"),
        message("SMana5", "received_at = 5"),
        answers("SMana5", "[]"),
        answers("SMana5", "null"),
        answers("SMana5", '{"product": 5}'),
    ],
    UNREADABLE.format("ValueError"): [
        message("SMana5", "received_at = 'tampered'"),
        "UPDATE reviews SET created_at = 'tampered'",
    ],
    UNREADABLE.format("JSONDecodeError"): [message("SMana5", "media = '[1,'")],
    UNREADABLE.format("RecursionError"): [
        message("SMana5", "context = printf('%.*c', 200000, '[')")
    ],
    UNREADABLE.format("DataError"): [message("SMana5", "body = CAST(x'58ff' AS TEXT)")],
    "what is checked across conversations can't be read: DataError": [
        "UPDATE reviews SET search_text = CAST(x'ff' AS TEXT)"
    ],
}


@pytest.mark.parametrize(
    ("sql", "problem"), [(sql, problem) for problem, each in TAMPERING.items() for sql in each]
)
def test_what_was_changed_behind_the_program_is_found(
    played_on_sqlite: Database, sql: str, problem: str
) -> None:
    run_sql(played_on_sqlite, sql)
    problems = look(played_on_sqlite).problems
    assert problem in problems
    assert not [words for words in PRIVATE if words in "\n".join(problems)]


def test_it_is_found_on_both_databases(played: Database) -> None:
    run_sql(
        played,
        message("SMana4", "state = 'START'"),
        message("SMbo3", "turn = 8"),
        message("SMold2", "turn = 6, received_at = (SELECT max(received_at) FROM messages)"),
        message("SMbo1", "received_at = '2026-01-01 23:00:00.000000'"),
        "UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000', status = 'x'",
    )
    assert sorted(look(played).problems) == [
        OF_ANOTHER,
        NO_END.format("SMana1", "SMana4"),
        TOO_EARLY,
        "conversation SMbo1 has turn 3, after a gap in its contact's turns",
        "conversation SMbo1 has turn 8, after a gap in its contact's turns",
        "conversation SMbo1 went on after it was over",
        "conversation SMbo1 went on when its contact had begun another",
        "conversation SMold1 has turn 6, after a gap in its contact's turns",
        "conversation SMold1 went on when its contact had begun another",
        "review 1 has a status that does not exist",
    ]


def test_pauses_are_checked_only_where_it_is_asked_for(played: Database) -> None:
    run_sql(played, message("SMbo1", "received_at = '2026-01-01 23:00:00.000000'"))
    assert check(played).problems == []


INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("pause", "may_go_on", "may_begin"),
    [
        (TTL + GRACE + INSTANT, False, True),
        (TTL + GRACE, True, True),
        (TTL - GRACE, True, True),
        (TTL - GRACE - INSTANT, True, False),
        (timedelta(), True, False),
        (GRACE - MAX_AHEAD + INSTANT, True, False),
        (GRACE - MAX_AHEAD, True, True),
        (-GRACE - MAX_AHEAD, True, True),
        (-GRACE - MAX_AHEAD - INSTANT, False, True),
    ],
)
def test_a_minute_is_forgiven_around_the_idle_time(
    played: Database, pause: timedelta, may_go_on: bool, may_begin: bool
) -> None:
    make_old(played, BO)
    message_sid, new = LoggedMessage.message_sid, {"received_at": LONG_AGO + pause}
    with played.write() as connection:
        of_smbo1 = message_sid.like("SMbo%")
        connection.execute(sa.update(LoggedMessage).where(of_smbo1).values(new))
    assert look(played).problems == ([] if may_begin else [TOO_EARLY])
    make_old(played, BO)
    with played.write() as connection:
        connection.execute(sa.update(LoggedMessage).where(message_sid == "SMbo3").values(new))
    too_late = "conversation SMbo1 went on after it was over"
    assert (too_late in look(played).problems) is not may_go_on


ERASE = (
    "UPDATE messages SET body = '', reply = '', media = '[]', answers = '{}', context = '{}',"
    " erased_at = received_at"
)
FACTS_NOT_KEPT = "UPDATE messages SET outcome = 'erased', state = 'START'"


@pytest.mark.parametrize("sql", [ERASE, f"{ERASE}, outcome = 'erased', state = 'START'"])
def test_a_review_may_outlive_its_erased_words_or_go_with_them(played: Database, sql: str) -> None:
    run_sql(played, sql)
    assert look(played).problems == []
    run_sql(played, "DELETE FROM reviews")
    assert look(played).problems == []


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (f"UPDATE messages SET erased_at = NULL {OF_ANA} AND position < 5", "is erased in part"),
        (f"UPDATE messages SET body = 'x' {OF_ANA}", "is marked as erased and has words"),
        (f"UPDATE messages SET reply = 'x' {OF_ANA}", "is marked as erased and has words"),
        (f"UPDATE messages SET media = '[1]' {OF_ANA}", "is marked as erased and has words"),
        (answers("SMana3", '{"a": "x"}'), "is marked as erased and has words"),
        (f"UPDATE messages SET context = '[1]' {OF_ANA}", "is marked as erased and has words"),
        (message("SMana5", "outcome = 'answered'"), "is unfinished, and has review 1"),
        ("DELETE FROM messages WHERE message_sid = 'SMana2'", "has a gap in its messages"),
        ("DELETE FROM messages WHERE message_sid = 'SMana1'", "does not begin at position 1"),
        (message("SMana1", "message_sid = 'SM1'"), "was not opened by the message it is named"),
        (message("SMana1", "outcome = 'erased', message_sid = 'SM1'"), "was not opened by the me"),
        (f"UPDATE reviews SET contact_number = '{BO}'", "has a review 1 of another contact or"),
        ("UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000'", "has a review 1 of an"),
        (
            f"{FACTS_NOT_KEPT}; UPDATE reviews SET created_at = '2026-01-01 00:00:00.000000'",
            "has a review 1 of another contact or time",
        ),
    ],
)
def test_of_an_erased_conversation_what_is_left_must_be_right(
    played_on_sqlite: Database, sql: str, problem: str
) -> None:
    run_sql(played_on_sqlite, ERASE, *sql.split("; "))
    problems = look(played_on_sqlite).problems
    assert [p for p in problems if p.startswith(f"conversation SMana1 {problem}")], problems


@pytest.mark.parametrize(
    "statements",
    [
        # made from a conversation whose beginning is not in the log
        [
            "UPDATE messages SET position = position + 3 WHERE conversation_id = 'SMbo1'",
            message("SMbo1", "outcome = 'migrated', message_sid = 'migrated-SMbo1'"),
        ],
        # in part erased, with other facts than before, after a pause
        [
            f"{ERASE} {OF_ANA} AND position < 3",
            message("SMana3", "outcome = 'migrated', received_at = '2025-01-01 00:00:00.000000'"),
        ],
        [f"{ERASE} {OF_ANA} AND position < 3", message("SMana1", "outcome = 'migrated'")],
        [f"{ERASE} {OF_ANA} AND position > 3", message("SMana1", "outcome = 'migrated'")],
        # begun within the idle time of another
        [message("SMbo1", "outcome = 'migrated', received_at = '2026-01-01 01:00:00.000000'")]
        + [message(f"SMbo{n}", "received_at = '2026-01-01 01:00:00.000000'") for n in (2, 3)],
    ],
)
def test_a_migrated_message_is_compared_with_nothing_before_it(
    played: Database, statements: list[str]
) -> None:
    run_sql(played, *statements)
    assert look(played).problems == []


@pytest.mark.parametrize("erased", ["SMold1", "SMbo1"])
def test_pauses_beside_erased_words_are_not_checked(played: Database, erased: str) -> None:
    make_old(played, BO)
    run_sql(played, f"{ERASE} WHERE conversation_id = '{erased}'")
    assert look(played).problems == []


def test_what_was_erased_by_the_program_is_right(client: TestClient, played: Database) -> None:
    make_old(played, ANA)
    assert Retention(played, TTL, TTL).erase_some() == 7
    assert look(played).problems == []
    for again in ("SMmore", "SMlast"):
        say(client, BO, again, "Hi", "Zanzibar")
        assert erase_contact(played, BO, "key") is not None
        assert look(played).problems == []
    assert erase_review(played, 1)
    assert look(played).problems == []


def test_a_log_of_many_conversations_is_read_whole(played: Database) -> None:
    run_sql(
        played,
        "INSERT INTO messages WITH RECURSIVE numbers(n) AS"
        " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600)"
        " SELECT 'SM' || n || message_sid, contact_number || '-' || n, turn,"
        " 'SM' || n || conversation_id, position, body, media, reply, outcome, state, answers,"
        " context, settings_version, received_at, erased_at"
        " FROM messages, numbers WHERE conversation_id = 'SMold1'",
    )
    findings = look(played)
    assert (findings.conversations, findings.problems) == (603, [])
    run_sql(played, message("SM599SMold1", "state = 'START'"))
    assert len(look(played).problems) == 1


def test_a_database_that_fails_is_no_problem_of_its_data(played_on_sqlite: Database) -> None:
    with played_on_sqlite.write() as connection:
        connection.exec_driver_sql("ALTER TABLE reviews DROP COLUMN status")
    with pytest.raises(OperationalError):
        look(played_on_sqlite)
