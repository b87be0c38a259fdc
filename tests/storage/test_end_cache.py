"""Caches of where contacts stand: short-lived, and the log always wins against them."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import product

import pytest
import redis
import sqlalchemy as sa

from conversation.model import LogEnd, State
from core.clock import replaced_by
from db.engine import Database
from ingest.timing import Timing
from ingest.writer import MessageWriter
from storage.end_cache import EndCache, MemoryCache, RedisCache
from tests.ingest.conftest import ANA, BEN, THANKS, TTL, message, tell_in_turn
from tests.support.clocks import ManualClock
from tests.support.databases import RunningValkey, Valkey
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
    """The caches of CONVERSATION_STORE=memory and redis."""
    if request.param == "memory":
        yield MemoryCache()
        return
    with closing(RedisCache(request.getfixturevalue("valkey").url)) as cache:
        yield cache


@pytest.fixture
def server(valkey: RunningValkey) -> Iterator[redis.Redis]:
    """A connection to the Redis server itself."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


def test_a_cache_returns_what_was_put_last(keeping: EndCache) -> None:
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
    writer.close()  # it fills the cache after its replies
    assert [*keeping.get([ANA]).values()] == [] or keeping.get([ANA])[ANA].turn == 3


class TestMemory:
    def test_the_oldest_contact_goes_when_there_are_too_many(self) -> None:
        cache = MemoryCache(max_contacts=2)
        for contact in ("+1", "+2", "+1", "+3"):
            cache.put({contact: END})
        assert cache.get(["+1", "+2", "+3"]).keys() == {"+1", "+3"}

    def test_words_are_gone_within_a_minute_whether_anybody_writes_or_not(self) -> None:
        clock = ManualClock()
        with replaced_by(clock):
            cache = MemoryCache()
            cache.put({ANA: END})
            clock.now = 31.0
            assert cache.get([ANA]) == {}
            cache.put({ANA: END})
            clock.now += cache.kept_seconds + 0.1
            cache.drop_expired()
            assert len(cache._ends) == 0
        # The writer calls drop_expired as often as it drops its own answers.
        assert cache.kept_seconds + Timing().remember_seconds <= 60


class TestRedis:
    def test_words_are_gone_after_half_a_minute(
        self, valkey: RunningValkey, server: redis.Redis
    ) -> None:
        with closing(RedisCache(valkey.url)) as cache:
            cache.put({ANA: END})
        assert server.keys() == [KEY.encode()]
        assert 0 < server.pttl(KEY) <= 30_000

    @pytest.mark.parametrize(
        "garbage", [b"", b"\xff", b"null", b"3", b"[]", b"{}", b"{" * 9999, b'{"received_at": 5}']
    )
    def test_another_value_than_ours_is_ignored(
        self, valkey: RunningValkey, server: redis.Redis, garbage: bytes
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
    def test_a_value_with_other_fields_is_ignored(
        self, valkey: RunningValkey, server: redis.Redis, name: str, value: object
    ) -> None:
        with closing(RedisCache(valkey.url)) as cache:
            cache.put({ANA: END})
            whole = json.loads(bytes(server.get(KEY)))  # type: ignore[arg-type]
            server.set(KEY, json.dumps({**whole, name: value}))
            assert cache.get([ANA]) == {}

    def test_a_key_of_another_type_is_replaced(
        self, valkey: RunningValkey, server: redis.Redis
    ) -> None:
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


def asking_each_time(url: str) -> RedisCache:
    """Make a cache that asks again at once after a failure."""
    return RedisCache(url, answer_seconds=0.1, pause_seconds=0)


class TestRedisThatCannotBeUsed:
    @pytest.fixture
    def valkey(self, own_valkey: Valkey) -> Valkey:
        return own_valkey

    @pytest.mark.parametrize("trouble", UNUSABLE)
    def test_it_returns_nothing_raises_nothing_and_logs_one_line(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture, trouble: str
    ) -> None:
        cache = asking_each_time(UNUSABLE[trouble](valkey))
        for _ in range(2):
            assert cache.get([ANA, BEN]) == {}
            cache.put({ANA: END})
        [line] = [record.getMessage() for record in caplog.records]
        assert line.startswith("redis unavailable, reading the message log instead: ")
        assert not [secret for secret in (ANA, BEN, "Zanzibar", "wr0ng") if secret in line]

    def test_it_is_used_again_as_soon_as_it_answers(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = asking_each_time(valkey.url)
        for _ in range(2):
            cache.put({ANA: END})
            valkey.kill()
            for _ in range(3):
                assert cache.get([ANA]) == {}
            valkey.start()
            cache.put({BEN: END})
            assert cache.get([ANA, BEN]) == {BEN: END}
        lines = [record.getMessage().split()[:2] for record in caplog.records]
        # The second outage is within a minute of the first.
        assert lines == [["redis", "unavailable,"], ["redis", "available"]]

    def test_it_is_not_asked_for_a_while_after_a_failure(
        self, valkey: Valkey, server: redis.Redis
    ) -> None:
        cache = RedisCache(end(valkey), pause_seconds=60)
        cache.get([ANA])
        valkey.start()
        cache.put({ANA: END})
        assert server.keys() == []

    def test_an_error_that_quotes_the_command_puts_no_number_into_the_log(
        self, valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Redis answers like this where a command was renamed, and so does a sentinel."""
        cache = RedisCache(valkey.url)

        def refuse(keys: list[str]) -> None:
            raise redis.ResponseError(f"unknown command, with args beginning with: '{keys[0]}'")

        monkeypatch.setattr(cache._redis, "mget", refuse)
        assert cache.get([ANA]) == {}
        assert "redis unavailable" in caplog.text
        assert ANA not in caplog.text
