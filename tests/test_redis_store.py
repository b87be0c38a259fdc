"""The redis store may forget anything at any time: what it does not know the log still knows."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa

import message_log
from conversation import Conversation, Message, State, take_turn
from database import OUTAGES, Database, open_database, utc_now
from models import LoggedMessage
from redis_client import RedisClient
from stores import RedisStore
from tests.databases import Valkey
from tests.test_redis_client import commands_during

ANA, BEN = "+15551234567", "US.13491208655302741918"
NOWHERE = "redis://127.0.0.1:1/0"
LOCK, VALUE = f"reviews:lock:{ANA}", f"reviews:conversation:{ANA}"
TTL = timedelta(hours=24)
TEXTS = ("hi", "iPhone 15", "Sarah", "Lovely.")

Worker = Callable[..., RedisStore]


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    """What the server itself says."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


@pytest.fixture
def store(database: Database, valkey: Valkey) -> Iterator[RedisStore]:
    opened = RedisStore(database, TTL, RedisClient(valkey.url))
    yield opened
    opened.close()


@pytest.fixture
def worker(postgres_url: str, valkey: Valkey) -> Iterator[Worker]:
    """Make stores as each worker has its own; they meet in the database and in Redis."""
    with ExitStack() as open_ones:

        def make(redis_url: str = valkey.url) -> RedisStore:
            database = open_database(postgres_url)
            open_ones.callback(database.close)
            store = RedisStore(database, TTL, RedisClient(redis_url))
            open_ones.callback(store.close)
            return store

        yield make


def nothing() -> None:
    """Claim nothing."""


def say(store: RedisStore, number: int, contact: str = ANA, text: str = "") -> Conversation:
    """Take the turn of a review's message of this number, from 1; return where it leads."""
    with store.hold({contact}, nothing) as held:
        message = Message(f"SM{number}", contact, text or TEXTS[number - 1])
        turn = take_turn(held.conversations[contact], message)
        held.conversations[contact] = turn.conversation
        held.touched[contact] = utc_now()
        message_log.append(held.connection, [(message, turn, held.touched[contact])])
    return turn.conversation


def get(store: RedisStore, contact: str = ANA) -> Conversation | None:
    with store.hold({contact}, nothing) as held:
        return held.conversations[contact]


def test_what_is_forgotten_is_read_from_the_log(store: RedisStore, server: redis.Redis) -> None:
    for number in (1, 2, 3):
        said = say(store, number)
        server.flushall()
        assert get(store) == said
    say(store, 4)
    assert get(store) is None


def test_what_is_of_another_time_than_the_logs_end_does_not_count(
    store: RedisStore, database: Database, server: redis.Redis
) -> None:
    """As after a restore: the log was put back, and went on with other words in the same place."""
    say(store, 1)
    say(store, 2)
    of_another_day = server.get(VALUE)
    with database.write() as connection:
        connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == "SM2"))
    said = say(store, 2, text="Kettle")
    server.set(VALUE, bytes(of_another_day))  # type: ignore[arg-type]
    assert get(store) == said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestOnAnyDatabase:
    def test_what_redis_knows_is_not_replayed_from_the_log(
        self, store: RedisStore, database: Database
    ) -> None:
        said = [say(store, 1), say(store, 2)]
        asked: list[str] = []
        sa.event.listen(
            database.engine, "before_cursor_execute", lambda *args: asked.append(args[2])
        )
        assert get(store) == said[-1]
        assert [statement for statement in asked if "messages.body" in statement] == []

    def test_what_is_idle_is_not_found_again_in_the_log(
        self, store: RedisStore, database: Database, server: redis.Redis
    ) -> None:
        say(store, 1)
        server.flushall()
        later = RedisStore(database, TTL, store._redis, lambda: utc_now() + TTL)
        assert get(later) is None

    def test_what_was_only_looked_up_does_not_last_longer(
        self, store: RedisStore, database: Database, server: redis.Redis
    ) -> None:
        """As when Twilio repeats a message: it is answered again, and nothing new was said."""
        say(store, 1)
        server.flushall()
        just_in_time = utc_now() + TTL - timedelta(minutes=1)
        assert get(RedisStore(database, TTL, store._redis, lambda: just_in_time))
        assert get(RedisStore(database, TTL, store._redis, lambda: utc_now() + TTL)) is None

    def test_nothing_of_a_finished_conversation_stays_in_it(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        for number in (1, 2, 3):
            say(store, number)
        unfinished = bytes(server.get(VALUE))  # type: ignore[arg-type]
        say(store, 4)
        assert server.keys() == []
        server.set(VALUE, unfinished)  # Redis has lost its last write
        assert get(store) is None
        assert server.keys() == []

    def test_what_nobody_goes_on_with_goes_by_itself(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        say(store, 1)
        assert 0 < server.pttl(VALUE) <= TTL.total_seconds() * 1000

    def test_a_batch_costs_redis_one_round_trip_before_its_transaction_and_one_after(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        say(store, 1)
        crowd = {ANA, BEN, *(f"+{n}" for n in range(254))}

        def hold_twice() -> None:
            with store.hold(crowd, nothing) as held:
                held.conversations[ANA] = None
            with suppress(KeyError), store.hold(crowd, nothing):
                raise KeyError

        assert commands_during(server, hold_twice) == ["EVALSHA"] * 4

    def test_contacts_are_free_again_where_the_database_is_away(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        """Another worker may reach it."""
        nowhere = RedisStore(open_database("postgresql://127.0.0.1:1/x"), TTL, store._redis)
        with suppress(*OUTAGES):
            say(nowhere, 1)
        assert server.keys() == []


class TestSeveralWorkers:
    def test_each_goes_on_where_another_was(self, worker: Worker) -> None:
        first, second = worker(), worker()
        for number, store in enumerate([first, second, first, second], start=1):
            assert say(store, number).position == number

    @pytest.mark.parametrize("known", [True, False])
    def test_a_contact_that_one_holds_is_left_out_by_the_others(
        self, worker: Worker, known: bool
    ) -> None:
        first, second = worker(), worker()
        if known:
            say(first, 1)
        with first.hold({ANA}, nothing), second.hold({ANA, BEN}, nothing) as held:
            assert held.conversations == {BEN: None}
        assert get(second) == get(first)

    @pytest.mark.parametrize("which", [0, 1])
    def test_a_new_contact_is_left_out_also_where_one_of_them_cannot_reach_redis(
        self, worker: Worker, which: int
    ) -> None:
        """Or each would open a conversation, and both would count."""
        both = worker(), worker(NOWHERE)
        first, second = both[which], both[not which]
        with first.hold({ANA}, nothing), second.hold({ANA, BEN}, nothing) as held:
            assert held.conversations == {BEN: None}
        assert get(second) is None
        assert get(worker()) is None

    @pytest.mark.parametrize("moment", ["block", "claim"])
    def test_an_exception_publishes_nothing_and_lets_contacts_go(
        self, worker: Worker, server: redis.Redis, moment: str
    ) -> None:
        def refuse() -> None:
            raise KeyError

        first, second = worker(), worker()
        with suppress(KeyError), first.hold({ANA, BEN}, refuse) as held:
            held.conversations[ANA] = Conversation("SM1", State.ASK_NAME, position=1)
            if moment == "block":
                refuse()
        assert server.keys() == []
        with second.hold({ANA, BEN}, nothing) as held:
            assert held.conversations == {ANA: None, BEN: None}

    @pytest.mark.parametrize("keys", [(LOCK,), (LOCK, VALUE)])
    def test_who_wakes_up_without_its_lock_overwrites_nothing(
        self,
        worker: Worker,
        server: redis.Redis,
        keys: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It was frozen until the lock had run out, or Redis has forgotten everything."""
        frozen, awake = worker(), worker()
        say(frozen, 1)
        lock_and_read, freezes = RedisClient.lock_and_read, iter([True])
        newest: list[Conversation] = []

        def lock_and_freeze(client: RedisClient, contacts: Collection[str]) -> dict[str, bytes]:
            values = lock_and_read(client, contacts)
            if next(freezes, False):
                server.delete(*keys)
                newest.extend([say(awake, 2), say(awake, 3)])
            return values

        monkeypatch.setattr(RedisClient, "lock_and_read", lock_and_freeze)
        assert get(frozen) == newest[-1]
        assert get(awake) == newest[-1]


NOT_OURS = (b"\xff", b"null", b"3", b'"text"', b"[]", b"{}", b"\x80\x04K*.", b"{" * 99)
OTHER_FIELDS: list[tuple[str, Any]] = [
    *(("state", what) for what in ("WHAT", None)),
    *(("touched", what) for what in ("today", 5, "2999-01-01", None)),
    ("more", 1),
]
OTHER_TYPES: list[tuple[str, Any]] = [
    *(("position", what) for what in ("two", None, [2], 10**30)),
    *(("id", what) for what in (5, None, ["SM1"], {"SM1": 1})),
    *((name, what) for name in ("product_name", "user_name") for what in (None, 5)),
]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(OTHER_FIELDS, id="other fields"),
        pytest.param(OTHER_TYPES, id="other types"),
    ],
)
def test_garbage_counts_as_forgotten(
    store: RedisStore, server: redis.Redis, changes: list[tuple[str, Any]]
) -> None:
    said = [say(store, 1), say(store, 2)]
    whole = json.loads(bytes(server.get(VALUE)))  # type: ignore[arg-type]
    changed = (json.dumps({**whole, name: what}).encode() for name, what in changes)
    for garbage in (*NOT_OURS, *changed):
        server.set(VALUE, garbage)
        assert get(store) == said[-1]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_position_that_is_no_number_counts_as_forgotten(
    store: RedisStore, server: redis.Redis
) -> None:
    said = say(store, 1)
    whole = json.loads(bytes(server.get(VALUE)))  # type: ignore[arg-type]
    server.set(VALUE, json.dumps({**whole, "position": True}))
    assert get(store) == said
