"""Caches of where contacts stand: quick, forgetful, and never right against the log."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from types import SimpleNamespace

import pytest
import redis
import sqlalchemy as sa

from conversation.model import LogEnd, State
from db.engine import Database
from ingest.message_queue import MessageQueue
from ingest.writer import MessageWriter
from storage import end_cache
from storage.end_cache import EndCache, MemoryCache, RedisCache
from tests.ingest.conftest import ANA, BEN, THANKS, TTL, message, tell_in_turn
from tests.support.databases import Valkey
from tests.support.servers import free_port, wait_until

KEY = f"reviews:end:{ANA}"
END = LogEnd(
    message_sid="SM2",
    turn=2,
    conversation_id="SM1",
    position=2,
    state=State.ASK_REVIEW,
    answers={"product": "Zanzibar ☕ lamp"},
    received_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
)


@pytest.fixture(params=["memory", "redis"])
def keeping(request: pytest.FixtureRequest) -> Iterator[EndCache]:
    """The two caches that keep something."""
    if request.param == "memory":
        yield MemoryCache()
        return
    with closing(RedisCache(request.getfixturevalue("valkey").url)) as cache:
        yield cache


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    """What the Redis server itself says."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


def test_what_was_put_last_is_got(keeping: EndCache) -> None:
    assert keeping.get([ANA, BEN]) == {}
    keeping.put({ANA: END})
    assert keeping.get([ANA, BEN]) == {ANA: END}
    keeping.put({})
    assert keeping.get([]) == {}


def test_a_known_end_is_read_from_the_cache_and_not_from_the_log(
    database: Database, keeping: EndCache
) -> None:
    writer = MessageWriter(database, keeping, TTL)
    tell_in_turn(writer, message(1), message(2))
    asked: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
    read = [statement for statement in asked if statement.lstrip().startswith("SELECT")]
    assert read
    assert not [statement for statement in read if "messages.answers" in statement]
    writer.close()


def test_a_finished_review_is_not_kept(database: Database, keeping: EndCache) -> None:
    writer = MessageWriter(database, keeping, TTL)
    tell_in_turn(writer, *map(message, range(1, 4)))
    wait_until(lambda: [end.turn for end in keeping.get([ANA]).values()] == [3])
    tell_in_turn(writer, message(4))
    writer.close()  # and with it the writer, which fills the cache after its replies
    assert [*keeping.get([ANA]).values()] == [] or keeping.get([ANA])[ANA].turn == 3


class TestMemory:
    def test_the_oldest_go_where_there_are_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MemoryCache, "MAX_CONTACTS", 2)
        cache = MemoryCache()
        for contact in ("+1", "+2", "+1", "+3"):
            cache.put({contact: END})
        assert cache.get(["+1", "+2", "+3"]).keys() == {"+1", "+3"}

    def test_words_are_gone_within_a_minute_whether_anybody_writes_or_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        monkeypatch.setattr(end_cache, "time", SimpleNamespace(monotonic=lambda: now[0]))
        cache = MemoryCache()
        cache.put({ANA: END})
        now[0] = 31.0
        assert cache.get([ANA]) == {}
        cache.put({ANA: END})
        now[0] += MemoryCache.KEPT_SECONDS + 0.1
        cache.drop_expired()
        assert len(cache._ends) == 0
        # The writer calls it as often as it looks through what it remembers itself.
        assert MemoryCache.KEPT_SECONDS + MessageQueue.REMEMBERED_SECONDS <= 60


class TestRedis:
    def test_words_are_gone_after_half_a_minute(self, valkey: Valkey, server: redis.Redis) -> None:
        with closing(RedisCache(valkey.url)) as cache:
            cache.put({ANA: END})
        assert server.keys() == [KEY.encode()]
        assert 0 < server.pttl(KEY) <= 30_000

    @pytest.mark.parametrize(
        "garbage", [b"", b"\xff", b"null", b"3", b"[]", b"{}", b"{" * 9999, b'{"received_at": 5}']
    )
    def test_what_is_not_ours_counts_as_nothing(
        self, valkey: Valkey, server: redis.Redis, garbage: bytes
    ) -> None:
        server.set(KEY, garbage)
        with closing(RedisCache(valkey.url)) as cache:
            assert cache.get([ANA]) == {}
            cache.put({ANA: END})
            assert cache.get([ANA]) == {ANA: END}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *product(["answers"], [None, 5, "x", [], {"product": 5}, {"product": {}}]),
            *product(["received_at"], [None, 5, "today", "2026-11-23T12:00:00"]),
            ("more", 1),
        ],
    )
    def test_what_has_other_fields_than_ours_counts_as_nothing(
        self, valkey: Valkey, server: redis.Redis, name: str, value: object
    ) -> None:
        with closing(RedisCache(valkey.url)) as cache:
            cache.put({ANA: END})
            whole = json.loads(bytes(server.get(KEY)))  # type: ignore[arg-type]
            server.set(KEY, json.dumps({**whole, name: value}))
            assert cache.get([ANA]) == {}

    def test_a_key_of_another_type_is_replaced(self, valkey: Valkey, server: redis.Redis) -> None:
        server.rpush(KEY, "a list")
        with closing(RedisCache(valkey.url)) as cache:
            assert cache.get([ANA]) == {}
            cache.put({ANA: END})
            assert cache.get([ANA]) == {ANA: END}


def end(valkey: Valkey) -> str:
    valkey.kill()
    return valkey.url


def freeze(valkey: Valkey) -> str:
    valkey.freeze()
    return valkey.url


UNUSABLE: dict[str, Callable[[Valkey], str]] = {
    "nobody there": lambda _: f"redis://127.0.0.1:{free_port()}/0",
    "killed": end,
    "frozen": freeze,
    "wrong password": lambda valkey: valkey.url.replace("//", "//nobody:wr0ng@"),
    "no such number": lambda valkey: f"{valkey.url}99",
    "no such host": lambda _: "redis://nowhere.invalid:6379/0",
    "no such file": lambda _: "unix:///nowhere/redis.sock",
    "no host name": lambda _: "redis://redis..internal:6379/0",
}


class TestRedisThatCannotBeUsed:
    @pytest.fixture(autouse=True)
    def _ask_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RedisCache, "LEFT_ALONE_SECONDS", 0.0)
        monkeypatch.setattr(RedisCache, "ANSWER_SECONDS", 0.1)

    @pytest.mark.parametrize("trouble", UNUSABLE)
    def test_nothing_is_known_nothing_raises_and_one_line_tells_of_it(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture, trouble: str
    ) -> None:
        cache = RedisCache(UNUSABLE[trouble](valkey))
        for _ in range(2):
            assert cache.get([ANA, BEN]) == {}
            cache.put({ANA: END})
        [line] = [record.getMessage() for record in caplog.records]
        assert line.startswith("redis away, the log of messages stands in: ")
        assert not [secret for secret in (ANA, BEN, "Zanzibar", "wr0ng") if secret in line]

    def test_it_is_used_again_as_soon_as_it_is_back(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = RedisCache(valkey.url)
        for _ in range(2):
            cache.put({ANA: END})
            valkey.kill()
            for _ in range(3):
                assert cache.get([ANA]) == {}
            valkey.start()
            cache.put({BEN: END})
            assert cache.get([ANA, BEN]) == {BEN: END}
        lines = [record.getMessage()[:10] for record in caplog.records]
        assert lines == ["redis away", "redis back"] * 2

    def test_it_is_left_alone_for_a_while_after_a_failure(
        self, valkey: Valkey, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(RedisCache, "LEFT_ALONE_SECONDS", 60.0)
        cache = RedisCache(end(valkey))
        cache.get([ANA])
        valkey.start()
        cache.put({ANA: END})
        assert server.keys() == []

    def test_an_error_that_quotes_the_command_does_not_bring_a_number_into_the_log(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So Redis answers where a command was renamed, and so does a sentinel."""
        cache = RedisCache(valkey.url)

        def refuse(keys: list[str]) -> None:
            raise redis.ResponseError(f"unknown command, with args beginning with: '{keys[0]}'")

        monkeypatch.setattr(cache._redis, "mget", refuse)
        assert cache.get([ANA]) == {}
        assert "redis away" in caplog.text
        assert ANA not in caplog.text
