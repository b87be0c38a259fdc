"""One contract for every store, on every database; then what is each store's own."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

import message_log
from conversation import Conversation, Message, State, take_turn
from database import OUTAGES, Away, Database, open_database
from models import Review
from only_process import OnlyProcess
from redis_client import RedisClient
from schema import CannotStart
from stores import DatabaseStore, Held, MemoryStore, RedisStore, Store
from tests.databases import Valkey

ANA, BEN = "+15551234567", "US.13491208655302741918"
ASKED = Conversation("SM1", State.ASK_REVIEW, "iPhone 15", position=2)
TTL = timedelta(hours=24)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis", "database"])
def store(request: pytest.FixtureRequest, database: Database, clock: Clock) -> Iterator[Store]:
    opened: Store
    if request.param == "redis":
        valkey: Valkey = request.getfixturevalue("valkey")
        opened = RedisStore(database, TTL, RedisClient(valkey.url), clock)
    elif request.param == "memory":
        opened = MemoryStore(database, TTL, clock)
    else:
        opened = DatabaseStore(database, TTL, clock)
    opened.open()
    yield opened
    opened.close()


def nothing() -> None:
    """Claim nothing."""


def say(store: Store, clock: Clock, contact: str, *texts: str) -> Conversation | None:
    """Take a turn for each text, as the recorder does: in the log, and in the store."""
    for text in texts:
        with store.hold({contact}, nothing) as held:
            take(held, clock, contact, text)
    return held.conversations[contact]


def take(held: Held, clock: Clock, contact: str, text: str) -> None:
    message = Message(f"SM{uuid.uuid4().hex}", contact, text)
    turn = take_turn(held.conversations[contact], message)
    message_log.append(held.connection, [(message, turn, clock())])
    held.conversations[contact] = turn.conversation


def put(store: Store, contact: str, conversation: Conversation | None) -> None:
    with store.hold({contact}, nothing) as held:
        held.conversations[contact] = conversation


def get(store: Store, contact: str) -> Conversation | None:
    with store.hold({contact}, nothing) as held:
        return held.conversations[contact]


def insert_review(held: Held) -> None:
    now = datetime.now(UTC)
    row = {"user_name": "a", "product_name": "b", "product_review": "c", "contact_number": ANA}
    held.connection.execute(
        sa.insert(Review).values(**row, conversation_id="SM1", created_at=now, updated_at=now)
    )


def count_reviews(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count(Review.id))) or 0


class TestEveryStore:
    def test_a_new_contact_has_nothing_under_way(self, store: Store) -> None:
        assert get(store, ANA) is None

    def test_what_was_said_is_there_at_the_next_hold(self, store: Store, clock: Clock) -> None:
        said = say(store, clock, ANA, "hi", "iPhone 15")
        assert said is not None
        assert (said.state, said.product_name, said.position) == ("ASK_REVIEW", "iPhone 15", 2)
        assert get(store, ANA) == said
        assert get(store, BEN) is None

    def test_nothing_is_kept_of_a_finished_conversation(self, store: Store, clock: Clock) -> None:
        say(store, clock, ANA, "hi", "iPhone 15", "Sarah", "Lovely.")
        assert get(store, ANA) is None

    def test_a_later_conversation_follows_an_earlier_one(self, store: Store, clock: Clock) -> None:
        say(store, clock, ANA, "hi", "iPhone 15", "Sarah", "Lovely.")
        later = say(store, clock, ANA, "hi again")
        assert get(store, ANA) == later

    def test_a_clean_end_commits_what_was_written(self, store: Store, database: Database) -> None:
        with store.hold({ANA}, nothing) as held:
            insert_review(held)
        assert count_reviews(database) == 1

    def test_an_exception_commits_and_publishes_nothing(
        self, store: Store, clock: Clock, database: Database
    ) -> None:
        before = say(store, clock, ANA, "hi")
        with suppress(KeyError), store.hold({ANA}, nothing) as held:
            take(held, clock, ANA, "iPhone 15")
            insert_review(held)
            raise KeyError
        assert get(store, ANA) == before
        assert count_reviews(database) == 0

    def test_a_refused_claim_commits_and_publishes_nothing(
        self, store: Store, clock: Clock, database: Database
    ) -> None:
        def refuse() -> None:
            raise KeyError

        with suppress(KeyError), store.hold({ANA}, refuse) as held:
            take(held, clock, ANA, "hi")
            insert_review(held)
        assert get(store, ANA) is None
        assert count_reviews(database) == 0

    def test_the_claim_comes_after_the_block(self, store: Store) -> None:
        order: list[str] = []
        with store.hold({ANA}, lambda: order.append("claim")):
            order.append("block")
        assert order == ["block", "claim"]

    def test_an_idle_conversation_is_over(self, store: Store, clock: Clock) -> None:
        said = say(store, clock, ANA, "hi")
        clock.now += TTL
        assert get(store, ANA) == said
        clock.now += timedelta(microseconds=1)
        assert get(store, ANA) is None

    def test_an_answer_ends_the_idle_time(self, store: Store, clock: Clock) -> None:
        say(store, clock, ANA, "hi")
        clock.now += TTL
        said = say(store, clock, ANA, "iPhone 15")
        clock.now += TTL
        assert get(store, ANA) == said

    def test_nobody_is_held_by_a_hold_of_nobody(self, store: Store) -> None:
        with store.hold(set(), nothing) as held:
            assert held.conversations == {}


class TestDatabaseStore:
    def test_it_survives_a_restart(self, database_url: str, clock: Clock) -> None:
        with _closing(database_url) as before:
            said = say(DatabaseStore(before, TTL, clock), clock, ANA, "hi", "iPhone 15")
        with _closing(database_url) as after:
            assert get(DatabaseStore(after, TTL, clock), ANA) == said

    def test_a_contact_that_another_worker_holds_is_left_out(self, postgres_url: str) -> None:
        with ExitStack() as workers:
            first, second = (
                DatabaseStore(workers.enter_context(_closing(postgres_url)), TTL) for _ in range(2)
            )
            with first.hold({ANA}, nothing), second.hold({ANA, BEN}, nothing) as held:
                assert held.conversations == {BEN: None}
            with second.hold({ANA, BEN}, nothing) as held:
                assert held.conversations.keys() == {ANA, BEN}

    def test_a_lost_session_lets_its_contacts_go(self, postgres_url: str) -> None:
        with _closing(postgres_url) as one, _closing(postgres_url) as two:
            with suppress(*OUTAGES), DatabaseStore(one, TTL).hold({ANA}, nothing) as held:
                pid = held.connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
                with two.write() as connection:
                    connection.execute(
                        sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}
                    )
                assert get(DatabaseStore(two, TTL), ANA) is None

    def test_sqlite_has_one_writer_at_a_time(self, sqlite_url: str) -> None:
        with _closing(sqlite_url) as one, _closing(sqlite_url) as two:
            with DatabaseStore(one, TTL).hold({ANA}, nothing):
                with pytest.raises(OUTAGES), DatabaseStore(two, TTL).hold({BEN}, nothing):
                    pass


class TestMemoryStore:
    def test_the_least_recently_used_contact_goes_first(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(MemoryStore, "MOST_CONTACTS", 2)
        store = MemoryStore(database, TTL)
        for contact in ["+1", "+2", "+1", "+3"]:
            put(store, contact, Conversation("SM", State.ASK_NAME, position=hash(contact)))
        put(store, "+1", ASKED)
        assert [get(store, contact) is None for contact in ["+1", "+2", "+3"]] == [
            False,
            True,
            False,
        ]
        store.close()

    def test_a_second_process_is_refused_and_told_why(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(OnlyProcess, "PATIENCE_SECONDS", 0.0)
        first = MemoryStore(database, TTL)
        first.open()
        second = MemoryStore(database, TTL)
        with pytest.raises(CannotStart, match="another process serves this database"):
            second.open()
        first.close()
        second.open()
        with pytest.raises(CannotStart, match="another process serves this database"):
            first.open()  # who has let go is told the same, and does not wait for its own session
        second.close()

    def test_a_process_waits_for_the_one_that_it_replaces(self, database: Database) -> None:
        first, second = OnlyProcess(database), OnlyProcess(database)
        first.claim()
        patience: Callable[[float], None] = lambda _seconds: first.release()  # noqa: E731
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("only_process.time.sleep", patience)
            second.claim()
        second.release()

    def test_who_loses_the_session_loses_the_right(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(OnlyProcess, "PATIENCE_SECONDS", 0.0)
        with _closing(postgres_url) as one, _closing(postgres_url) as two:
            first, second = MemoryStore(one, TTL), MemoryStore(two, TTL)
            first.open()
            _end_other_sessions(two)
            second.open()
            with pytest.raises(OUTAGES), first.hold({ANA}, nothing) as held:
                insert_review(held)
            with pytest.raises(Away):
                put(first, ANA, ASKED)
            second.close()
            put(first, ANA, ASKED)
            first.close()

    def test_who_regains_the_right_asks_the_log(self, postgres_url: str) -> None:
        with _closing(postgres_url) as one, _closing(postgres_url) as two:
            store = MemoryStore(one, TTL)
            put(store, ANA, ASKED)
            _end_other_sessions(two)
            with suppress(*OUTAGES), store.hold({ANA}, nothing) as held:
                insert_review(held)
            assert get(store, ANA) is None
            store.close()

    def test_the_lock_is_never_on_the_database_file_itself(self, sqlite_url: str) -> None:
        with _closing(sqlite_url) as one, _closing(sqlite_url) as other:
            store = MemoryStore(one, TTL)
            store.open()
            with other.write() as connection:
                connection.execute(sa.text("DELETE FROM reviews"))
            store.close()


def _end_other_sessions(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


class _closing:
    """A database of the test's own, closed at the end."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)

    def __enter__(self) -> Database:
        return self.database

    def __exit__(self, *_error: object) -> None:
        self.database.close()
