"""RETENTION_DAYS: the words of old conversations are erased, and nothing else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.exc import DatabaseError, OperationalError

from conversation.wording import GOT_REVIEW, GREETING
from core.clock import replaced_by, utc_now
from core.settings import Settings, SettingsError
from db.engine import Database, open_database
from main import create_app
from models import LoggedMessage, Review
from privacy import message_erasure
from privacy.retention import Retention
from simulator.fake_twilio import message_form
from storage import contact_state
from tests.conftest import MakeClient, database_of, listed
from tests.support.clocks import ClockAhead
from tests.support.sentences import is_thanks
from tests.support.servers import wait_until
from tests.support.traces import (
    ANA,
    BEN,
    SILENCE,
    TTL,
    WORDS,
    erased_sids,
    finish,
    require_order,
    say,
    tell,
    traces,
)

MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)
TIMES: list[Any] = [LoggedMessage.received_at, Review.created_at]


@pytest.fixture
def local(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """An app on SQLite that keeps conversations in the database."""
    return make_client(database_url=sqlite_url, conversation_store="database")


def age(database: Database, contact: str, by: timedelta) -> None:
    """Move all messages of a contact into the past."""
    with database.write() as connection:
        for time in TIMES:
            key = next(iter(time.class_.__table__.primary_key))
            of_contact = time.class_.contact_number == contact
            for row in connection.execute(sa.select(key, time).where(of_contact)).all():
                change = sa.update(time.class_).where(key == row[0])
                connection.execute(change.values({time: row[1] - by}))


def erase_all(database: Database, kept: timedelta | None = MONTH) -> list[int]:
    """Erase in steps until one finds nothing; return how many messages each has erased."""
    retention = Retention(database, kept, TTL)
    return [*iter(retention.erase_some, 0)]


def test_the_words_of_old_conversations_leave_the_log_and_the_reviews_stay(
    client: TestClient, database: Database
) -> None:
    old = finish(client, ANA, "Sofa", *WORDS[1:])
    age(database, ANA, MONTH + HOUR)
    finish(client, ANA, "Zanzibar lamp", "Ana", "Bright.")
    before = listed(client)
    assert erase_all(database) == [4]
    assert listed(client) == before
    assert erased_sids(database) == {form["MessageSid"] for form in old}
    with database.read() as connection:
        rows = connection.execute(sa.select(LoggedMessage).order_by(LoggedMessage.received_at))
        said = [(row.contact_number, row.body, row.reply, bool(row.media)) for row in rows]
    assert said[:4] == [(ANA, "", "", False)] * 4
    assert [text for _, text, _, _ in said[4:]] == ["", "Zanzibar lamp", "Ana", "Bright."]
    require_order(client)
    # Whoever is erased later is erased whole.
    assert client.delete(f"/api/contacts/{ANA}").status_code == 204
    assert traces(database, ANA, "Sofa", *WORDS) == []


def test_a_late_repeat_of_an_erased_message_is_met_with_silence(local: TestClient) -> None:
    sent = finish(local, ANA)
    age(database_of(local), ANA, 2 * MONTH)
    erase_all(database_of(local))
    for form in sent:
        assert local.post("/webhook", data=form).content == SILENCE
        assert local.post("/webhook", data={**form, "From": BEN}).status_code == 400
    assert len(listed(local)) == 1
    require_order(local)


def test_an_erased_conversation_is_not_taken_up_again(local: TestClient) -> None:
    """Not even where the clock of the worker that erased it is far ahead."""
    hi = message_form(ANA, "Hi")
    say(local, hi)
    with replaced_by(ClockAhead(2 * MONTH)):
        assert erase_all(database_of(local)) == [1]
    assert local.post("/webhook", data=hi).content == SILENCE
    assert tell(local, ANA, "Hello again") == GREETING


def test_what_was_begun_long_ago_and_goes_on_is_not_old(local: TestClient) -> None:
    tell(local, ANA, "Hi", "Zanzibar lamp", "Ana")
    with database_of(local).write() as connection:
        earlier = sa.update(LoggedMessage).where(LoggedMessage.position < 3)
        connection.execute(earlier.values(received_at=utc_now() - 2 * MONTH))
    assert erase_all(database_of(local)) == []
    assert tell(local, ANA, "Bright.") == GOT_REVIEW.format(name="Ana", product="Zanzibar lamp")
    require_order(local)


@pytest.mark.parametrize("kept", [timedelta(0), timedelta(minutes=1), TTL])
def test_what_may_still_go_on_keeps_its_words_however_few_days_are_set(
    local: TestClient, kept: timedelta
) -> None:
    tell(local, ANA, "Hi", "Lamp", "Ana")
    age(database_of(local), ANA, TTL - HOUR)
    assert erase_all(database_of(local), kept) == []
    assert tell(local, ANA, "Bright.") == GOT_REVIEW.format(name="Ana", product="Lamp")
    age(database_of(local), ANA, TTL + HOUR)
    assert erase_all(database_of(local), kept) == [4]
    require_order(local)


def test_abandoned_conversations_go_with_their_rows(client: TestClient, database: Database) -> None:
    tell(client, ANA, "Hi", "Zanzibar lamp", "Wilhelmina")
    age(database, ANA, MONTH + HOUR)
    tell(client, BEN, "Hi", "Sofa", "Ben")
    assert erase_all(database) == [3]
    assert traces(database, *WORDS) == []
    assert is_thanks(tell(client, BEN, "Soft."))
    assert tell(client, ANA, "Hello again") == GREETING
    require_order(client)


def test_the_oldest_go_first_and_in_steps(local: TestClient) -> None:
    contacts = [f"+1555000000{number}" for number in range(4)]
    for contact in contacts:
        tell(local, contact, "Hi", f"Lamp of {contact}")
        for earlier in contacts[: contacts.index(contact) + 1]:
            age(database_of(local), earlier, MONTH)
    retention = Retention(database_of(local), MONTH, TTL, step=2)
    for done in range(1, 5):
        assert retention.erase_some() == 2
        left = traces(database_of(local), *[f"Lamp of {contact}" for contact in contacts])
        assert left == [f"Lamp of {contact}" for contact in contacts[done:]]
    assert retention.erase_some() == 0


def test_without_the_setting_every_word_is_kept(local: TestClient) -> None:
    finish(local, ANA)
    age(database_of(local), ANA, 100 * MONTH)
    retention = Retention(database_of(local), None, TTL)
    assert retention.erase_some() == 0
    retention.start()
    assert running() == []
    retention.close()
    assert traces(database_of(local), *WORDS) == [*WORDS]


def running() -> list[threading.Thread]:
    """List the threads that erase."""
    return [thread for thread in threading.enumerate() if thread.name == "retention"]


def test_the_service_erases_by_itself_from_its_start_to_its_end(
    local: TestClient, sqlite_url: str
) -> None:
    for contact in (ANA, BEN):
        finish(local, contact)
        age(database_of(local), contact, MONTH)
    settings = {"ENVIRONMENT": "local", "DATABASE_URL": sqlite_url, "RETENTION_DAYS": "29.5"}
    with TestClient(create_app(Settings.load(settings))) as server:
        wait_until(lambda: len(erased_sids(database_of(local))) == 8)
        assert len(running()) == 1
        assert len(listed(server)) == 2
    assert running() == []
    require_order(local)


class Impatient(threading.Event):
    """An event that does not wait, and records for how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        return super().wait(0.001)


def test_errors_of_the_database_are_survived(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(local, ANA)
    age(database_of(local), ANA, 2 * MONTH)
    erase_words = message_erasure.erase_words
    errors = [
        OperationalError("UPDATE", None, Exception("server closed the connection")),
        DatabaseError("UPDATE", None, Exception("database disk image is malformed")),
    ]

    def fail_at_first(*arguments: Any) -> int:
        if errors:
            raise errors.pop()
        return erase_words(*arguments)

    monkeypatch.setattr(message_erasure, "erase_words", fail_at_first)
    retention = Retention(database_of(local), MONTH, TTL)
    retention._closed = pauses = Impatient()
    retention.start()
    wait_until(lambda: len(pauses.pauses) > 5)
    retention.close()
    assert running() == []
    assert len(erased_sids(database_of(local))) == 4
    # At once, after the errors, between steps, and when nothing was left to do.
    assert pauses.pauses[:5] == [0.0, 60.0, 60.0, 0.2, 3600.0]


class TestTwoWorkers:
    @pytest.fixture
    def workers(self, postgres_url: str) -> Iterator[list[Retention]]:
        databases = [open_database(postgres_url) for _ in range(2)]
        yield [Retention(database, MONTH, TTL) for database in databases]
        for database in databases:
            database.close()

    @pytest.fixture
    def client(self, make_client: MakeClient, postgres_url: str) -> TestClient:
        client = make_client(database_url=postgres_url, conversation_store="database")
        for contact in (ANA, BEN):
            finish(client, contact)
            age(database_of(client), contact, 2 * MONTH)
        return client

    def test_a_worker_skips_what_another_is_erasing(
        self, client: TestClient, workers: list[Retention], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        erase_words, others = message_erasure.erase_words, list[int]()

        def look_at_the_other(*arguments: Any) -> int:
            monkeypatch.undo()
            others.append(workers[1].erase_some())
            return erase_words(*arguments)

        monkeypatch.setattr(message_erasure, "erase_words", look_at_the_other)
        assert workers[0].erase_some() == 8
        assert others == [0]
        require_order(client)

    def test_at_once_they_erase_everything_once(
        self, client: TestClient, workers: list[Retention]
    ) -> None:
        for worker in workers:
            worker._step = 1
        with ThreadPoolExecutor(2) as pool:
            erased = pool.map(lambda worker: [worker.erase_some() for _ in range(9)], workers)
        assert sum(map(sum, erased)) == 8
        assert len(listed(client)) == 2
        require_order(client)

    def test_a_contact_who_is_being_answered_keeps_the_conversation_until_then(
        self, client: TestClient, workers: list[Retention]
    ) -> None:
        """By the clock of the worker that answers, the conversation may not be old yet."""
        workers[0]._closed = pauses = Impatient()
        with database_of(client).write() as answering:
            contact_state.lock(answering, ANA)
            assert workers[0].erase_some() == 4
            workers[0].start()
            wait_until(lambda: len(pauses.pauses) > 2)
        wait_until(lambda: len(erased_sids(database_of(client))) == 8)
        workers[0].close()
        assert pauses.pauses[:3] == [0.0, 0.2, 0.2]


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "36501", "ninety", "1d", "1e999"])
def test_a_number_of_days_that_is_none_is_refused(days: str) -> None:
    with pytest.raises(SettingsError, match="RETENTION_DAYS"):
        Settings.load({"ENVIRONMENT": "local", "RETENTION_DAYS": days})


@pytest.mark.parametrize(
    ("days", "kept"), [("", None), ("0.5", 12 * HOUR), ("90", 3 * MONTH), ("36500", 36500 * TTL)]
)
def test_days_may_be_fractions_and_none_keeps_all(days: str, kept: timedelta | None) -> None:
    assert Settings.load({"ENVIRONMENT": "local", "RETENTION_DAYS": days}).retention == kept
