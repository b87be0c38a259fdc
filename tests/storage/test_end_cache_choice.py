"""A conversation goes on with every CONVERSATION_STORE, and when Redis is lost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from audit.check import check
from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING
from db.engine import open_database
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from storage.end_cache import RedisCache
from tests.conftest import listed, make_app, writer_of
from tests.support.databases import RunningValkey, Valkey
from tests.support.traces import TTL

STORES = ("memory", "redis", "database")
TEXTS = ("Hi", "Rug", "Cy", "Soft.")
REPLIES = [
    GREETING,
    GOT_PRODUCT,
    GOT_NAME.format(product="Rug"),
    GOT_REVIEW.format(name="Cy", product="Rug"),
]


class Installation:
    """One database, served by one worker after another or by several at once."""

    def __init__(self, database_url: str, valkey: RunningValkey, running: ExitStack) -> None:
        self._running, self.url = running, database_url
        self._settings: dict[str, Any] = {"database_url": database_url, "redis_url": valkey.url}

    def start(self, store: str) -> TestClient:
        app = make_app(**self._settings, conversation_store=store)
        return self._running.enter_context(TestClient(app))

    def stop_all(self) -> None:
        self._running.close()

    def problems(self) -> list[str]:
        database = open_database(self.url)
        found = check(database, kept_for=TTL).problems
        database.close()
        return found


@pytest.fixture
def installation(database_url: str, valkey: RunningValkey) -> Iterator[Installation]:
    with ExitStack() as running:
        yield Installation(database_url, valkey, running)


def say(worker: TestClient, text: str) -> str:
    return Customer(Simulator(worker), "+15551234567").says(text)


@pytest.mark.parametrize("store", STORES)
def test_a_restart_between_any_two_messages_is_not_noticed(
    installation: Installation, store: str
) -> None:
    replies = []
    for text in TEXTS:
        worker = installation.start(store)
        replies.append(say(worker, text))
        installation.stop_all()
    assert replies == REPLIES
    assert installation.problems() == []


@pytest.mark.parametrize("store", STORES)
def test_each_message_may_reach_another_worker(installation: Installation, store: str) -> None:
    workers = [installation.start(store) for _ in range(2)]
    assert [say(workers[n % 2], text) for n, text in enumerate(TEXTS)] == REPLIES
    assert [say(workers[n % 2], text) for n, text in enumerate(TEXTS, 1)] == REPLIES
    assert len(listed(workers[0])) == 2
    assert installation.problems() == []


def test_workers_with_different_stores_serve_at_once(installation: Installation) -> None:
    workers = [installation.start(store) for store in STORES]
    for turn in range(3):
        said = [say(workers[(n + turn) % 3], text) for n, text in enumerate(TEXTS)]
        assert said == REPLIES
    assert installation.problems() == []


TROUBLES: dict[str, Callable[[Valkey], object]] = {
    "emptied": lambda valkey: redis.Redis.from_url(valkey.url).flushall(),
    "restarted": lambda valkey: valkey.kill() or valkey.start(),  # type: ignore[func-returns-value]
    "dead": lambda valkey: valkey.kill(),
    "frozen": lambda valkey: valkey.freeze(),
}


class TestRedisThatIsLost:
    @pytest.fixture
    def valkey(self, own_valkey: Valkey) -> Valkey:
        return own_valkey

    @pytest.mark.parametrize("trouble", TROUBLES)
    @pytest.mark.parametrize("after", [1, 2, 3])
    def test_redis_may_be_lost_in_the_middle(
        self, installation: Installation, valkey: Valkey, trouble: str, after: int
    ) -> None:
        worker = installation.start("redis")
        cache = writer_of(worker)._cache
        assert isinstance(cache, RedisCache)
        cache.pause_seconds = 0.0
        replies = [say(worker, text) for text in TEXTS[:after]]
        TROUBLES[trouble](valkey)
        replies += [say(worker, text) for text in TEXTS[after:]]
        assert replies == REPLIES
        assert installation.problems() == []
