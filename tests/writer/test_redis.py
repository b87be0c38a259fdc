"""Whatever Redis loses or does: every review once, nobody asked twice, nothing opened beside."""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from checker import check
from collector import Collector
from database import open_database
from entry import Reply
from models import LoggedMessage, Review
from reconciling import reconcile
from redis_client import RedisClient
from stores import RedisStore
from tests.databases import Valkey
from tests.writer.conftest import (
    ANA,
    BEN,
    TEXTS,
    THANKS,
    TTL,
    Interrupted,
    count,
    insist_on_one_review,
    message,
    once,
    tell,
    tell_in_turn,
)

NOWHERE = "redis://127.0.0.1:1/0"
LOCK, VALUE = f"reviews:lock:{ANA}", f"reviews:conversation:{ANA}"
REPLIES = (
    "Hi! Which product is this review for?",
    "Okay, got it. What's your name?",
    "Please send your review for iPhone 15.",
    THANKS.text,
)


class Worker(Collector):
    """A worker on PostgreSQL with a database and a client of its own, to be interrupted."""

    def __init__(self, url: str, redis_url: str, patch: pytest.MonkeyPatch) -> None:
        self.database = open_database(url)
        redis_store = RedisStore(self.database, TTL, RedisClient(redis_url))
        self.store = Interrupted(redis_store, self.database, patch)
        super().__init__(self.store)

    def is_writing(self) -> bool:
        return threading.current_thread() is self._thread


MakeWorker = Callable[..., Worker]


@pytest.fixture
def make_worker(
    postgres_url: str, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeWorker]:
    with ExitStack() as running:

        def make(redis_url: str = valkey.url) -> Worker:
            worker = Worker(postgres_url, redis_url, monkeypatch)
            running.callback(worker.database.close)
            running.callback(worker.close)
            return worker

        yield make


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    """What the server itself says."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


def looks_right(value: bytes | None) -> bytes:
    return json.dumps({**json.loads(value or b""), "position": "two"}).encode()


def restore(server: redis.Redis, value: bytes | None) -> None:
    server.set(VALUE, value) if value else server.delete(VALUE)


def restart(valkey: Valkey) -> None:
    valkey.kill()
    valkey.start()


# With Ana's values so far, one after each of her messages, None at first.
LOSSES: dict[str, Callable[[Valkey, redis.Redis, list[bytes | None]], object]] = {
    "everything": lambda _, server, __: server.flushall(),
    "everything in a restart": lambda valkey, _, __: restart(valkey),
    "the last write": lambda _, server, values: restore(server, values[-2]),
    "all but an old snapshot": lambda _, server, values: restore(server, values[1]),
    "sense": lambda _, server, __: restore(server, b"\xff"),
    "sense, but looks right": lambda _, server, values: restore(server, looks_right(values[1])),
    "a worker that has it locked": lambda _, server, __: server.set(LOCK, "its token", px=50),
    "its type": lambda _, server, __: server.delete(VALUE) and server.rpush(VALUE, "a list"),
    "its life": lambda valkey, _, __: valkey.kill(),
    "its voice": lambda valkey, _, __: valkey.freeze(),
}


@pytest.mark.parametrize(
    "loss",
    LOSSES,
)
def test_a_review_is_recorded_as_ever_whatever_redis_loses(
    make_worker: MakeWorker,
    valkey: Valkey,
    server: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    loss: str,
) -> None:
    """Before each message again. Ben, who writes at the same time, notices nothing either."""
    worker, values = make_worker(), list[bytes | None]([None])
    for number, reply in enumerate([*REPLIES, REPLIES[0]], start=1):
        said = tell(worker, message(number), message(100 + number, contact=BEN))
        assert [each.text for each in said] == [reply, reply]
        if not loss.startswith("its") or number == 1:
            values.append(server.get(VALUE))  # type: ignore[arg-type]
            LOSSES[loss](valkey, server, values)
    assert count(worker.database, Review) == 2
    assert count(worker.database, LoggedMessage) == 10
    assert check(worker.database).problems == []
    assert caplog.text.count("redis away") <= loss.startswith("its")
    assert not [secret for secret in (ANA, BEN, *TEXTS[1:]) if secret in caplog.text]


def test_it_starts_and_records_while_redis_is_away(make_worker: MakeWorker) -> None:
    worker = make_worker(NOWHERE)
    worker.start()
    assert tell_in_turn(worker, *map(message, range(1, 5)))[-1] == THANKS
    assert worker.is_able()
    insist_on_one_review(worker.database)


def test_what_the_log_does_not_know_is_not_gone_on_with(make_worker: MakeWorker) -> None:
    """The database was restored or made anew, or is another installation's."""
    worker = make_worker()
    tell_in_turn(worker, *map(message, range(1, 4)))
    with worker.database.write() as connection:
        connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.position > 1))
    assert tell(worker, message(6))[0].text == REPLIES[1]
    assert check(worker.database).problems == []


class TestSeveralWorkers:
    def test_customers_may_meet_any_whether_it_reaches_redis_or_not(
        self, make_worker: MakeWorker, server: redis.Redis
    ) -> None:
        workers = [make_worker(), make_worker(), make_worker(NOWHERE)]
        chance = random.Random(1)

        async def write_reviews(contact: int) -> list[str]:
            replies = []
            for number in range(1, 9):
                if chance.random() < 0.05:
                    server.flushall()
                words = message(100 * contact + number, TEXTS[(number - 1) % 4], f"+{contact}")
                replies.append((await chance.choice(workers).reply_to(words)).text)
            return replies

        async def all_at_once() -> list[list[str]]:
            return await asyncio.gather(*map(write_reviews, range(1, 21)))

        assert asyncio.run(all_at_once()) == [[*REPLIES, *REPLIES]] * 20
        assert count(workers[0].database, Review) == 40
        assert count(workers[0].database, LoggedMessage) == 160
        assert check(workers[0].database).problems == []

    def test_first_messages_of_a_new_contact_serialise(self, make_worker: MakeWorker) -> None:
        workers = [make_worker() for _ in range(3)]

        async def at_once(contact: int) -> list[str]:
            first = [message(10 * contact + n, "x", f"+{contact}") for n in range(3)]
            replies = await asyncio.gather(
                *(worker.reply_to(each) for worker, each in zip(workers, first, strict=True))
            )
            return sorted(reply.text[:6] for reply in replies)

        async def all_at_once() -> list[list[str]]:
            return await asyncio.gather(*map(at_once, range(10)))

        assert asyncio.run(all_at_once()) == [["Hi! Wh", "Okay, ", "Please"]] * 10
        assert check(workers[0].database).problems == []

    def test_one_that_wakes_up_late_finds_what_others_answered(
        self, make_worker: MakeWorker, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its lock has run out and Twilio has asked another; they meet in the log."""
        frozen, awake = make_worker(), make_worker()
        tell(frozen, message(1))
        lock_and_read, freezes = RedisClient.lock_and_read, iter([True])

        def lock_and_freeze(client: RedisClient, contacts: Collection[str]) -> object:
            found = lock_and_read(client, contacts)
            if frozen.is_writing() and next(freezes, False):
                server.delete(LOCK)
                said = tell_in_turn(awake, *map(message, range(2, 6)))
                assert [reply.text for reply in said] == [*REPLIES[1:], REPLIES[0]]
            return found

        monkeypatch.setattr(RedisClient, "lock_and_read", lock_and_freeze)
        assert tell(frozen, message(2))[0].text == REPLIES[1]
        assert tell(frozen, message(6))[0].text == REPLIES[1]
        assert count(frozen.database, Review) == 1
        assert check(frozen.database).problems == []

    def test_two_conversations_are_not_opened_beside_each_other(
        self, make_worker: MakeWorker
    ) -> None:
        with_redis, without = make_worker(), make_worker(NOWHERE)
        tell_in_turn(with_redis, *map(message, range(1, 4)))
        tell(without, message(4))  # Redis still has the conversation that this ends
        without.DEADLINE_SECONDS = 0.5  # who has to wait for a commit is told to send again
        said: list[Reply] = []
        with_redis.store.before_claim = once(lambda: said.extend(tell(without, message(6, "hi"))))
        said += tell(with_redis, message(5))
        assert [reply.text for reply in said].count(REPLIES[0]) == 1

    def test_who_collides_twice_is_recorded_all_the_same(
        self, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_redis, without = make_worker(), make_worker(NOWHERE)
        tell(with_redis, message(1))
        tell(without, message(2))  # Redis does not know of it
        without.DEADLINE_SECONDS = 0.5
        collisions = iter([True])

        def read_and_be_late(connection: Any, remembered: Any, *others: Any) -> Any:
            stand = reconcile(connection, remembered, *others)
            if remembered and with_redis.is_writing() and next(collisions, False):
                tell(without, message(3))
            return stand

        monkeypatch.setattr("stores.reconcile", read_and_be_late)
        assert tell(with_redis, message(4))[0].text in REPLIES[2:]

    def test_one_that_is_frozen_in_its_commit_stalls_nobody_but_its_contacts(
        self, make_worker: MakeWorker, server: redis.Redis
    ) -> None:
        frozen, awake = make_worker(), make_worker()
        tell(frozen, message(1))
        awake.DEADLINE_SECONDS = 1.0
        said: list[Reply] = []

        def freeze() -> None:
            server.delete(LOCK)  # it has run out
            said.extend(tell(awake, message(3), message(11, "hi", BEN)))

        frozen.store.before_commit = once(freeze)
        tell(frozen, message(2))
        assert said[1].text == REPLIES[0]
