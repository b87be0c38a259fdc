"""A value and a lock for each contact on a real server, and what is left when that fails."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import dropwhile, takewhile

import pytest
import redis

from redis_client import RedisClient
from tests.databases import Valkey
from tests.servers import free_port, wait_until

ANA, BEN = "+15551234567", "US.13491208655302741918"
LOCK, VALUE = f"reviews:lock:{ANA}", f"reviews:conversation:{ANA}"
HOUR = timedelta(hours=1)


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    """What the server itself says."""
    with redis.Redis.from_url(valkey.url) as connection:
        yield connection


@pytest.fixture
def client(valkey: Valkey) -> Iterator[RedisClient]:
    with closing(RedisClient(valkey.url)) as client:
        yield client


@pytest.fixture
def other(valkey: Valkey) -> Iterator[RedisClient]:
    """Another worker's."""
    with closing(RedisClient(valkey.url)) as other:
        yield other


def write(client: RedisClient, changes: dict[str, bytes], keep: timedelta = HOUR) -> None:
    client.lock_and_read(changes)
    client.write_and_unlock(changes, changes, keep)


def read(client: RedisClient, *contacts: str) -> dict[str, bytes]:
    found = client.lock_and_read(contacts)
    client.write_and_unlock(found, {}, HOUR)
    return found


def commands_during(server: redis.Redis, action: Callable[[], object]) -> list[str]:
    """Name the commands that clients send meanwhile; what scripts call is no round trip."""
    with server.monitor() as monitor:  # type: ignore[no-untyped-call]
        server.echo("begin")
        action()
        server.echo("end")
        heard = dropwhile(lambda each: each["command"] != "ECHO begin", monitor.listen())
        [_begin, *meanwhile] = takewhile(lambda each: each["command"] != "ECHO end", heard)
        return [each["command"].split()[0] for each in meanwhile if each["client_type"] != "lua"]


class TestValues:
    def test_a_contact_that_nothing_is_known_of_has_none(self, client: RedisClient) -> None:
        assert read(client, ANA, BEN) == {ANA: b"", BEN: b""}

    def test_what_is_written_is_read_by_all_until_it_is_removed(
        self, client: RedisClient, other: RedisClient
    ) -> None:
        write(client, {ANA: b"one", BEN: b"\x00\xff"})
        assert read(other, ANA, BEN) == {ANA: b"one", BEN: b"\x00\xff"}
        write(other, {ANA: b""})
        assert read(client, ANA, BEN) == {ANA: b"", BEN: b"\x00\xff"}

    def test_they_go_by_themselves_in_time(self, client: RedisClient, server: redis.Redis) -> None:
        write(client, {ANA: b"one"}, keep=HOUR)
        assert 0 < server.pttl(VALUE) <= 3_600_000
        write(client, {ANA: b"two"}, keep=timedelta(milliseconds=1))
        wait_until(lambda: read(client, ANA) == {ANA: b""})

    def test_those_that_have_not_changed_are_left_alone(
        self, client: RedisClient, server: redis.Redis
    ) -> None:
        write(client, {ANA: b"one", BEN: b"two"}, keep=timedelta(minutes=1))
        client.lock_and_read([ANA, BEN])
        client.write_and_unlock([ANA, BEN], {BEN: b"three"}, HOUR)
        assert server.pttl(VALUE) <= 60_000
        assert read(client, ANA, BEN) == {ANA: b"one", BEN: b"three"}


class TestLocks:
    def test_a_contact_that_another_has_locked_is_left_out_until_it_is_unlocked(
        self, client: RedisClient, other: RedisClient
    ) -> None:
        client.lock_and_read([ANA])
        assert other.lock_and_read([ANA, BEN]) == {BEN: b""}
        client.write_and_unlock([ANA], {ANA: b"one"}, HOUR)
        assert other.lock_and_read([ANA, BEN]) == {ANA: b"one", BEN: b""}

    def test_one_that_is_ours_already_is_ours_again(
        self, client: RedisClient, other: RedisClient
    ) -> None:
        """The answer to the first locking was lost."""
        client.lock_and_read([ANA])
        assert client.lock_and_read([ANA]) == {ANA: b""}
        assert other.lock_and_read([ANA]) == {}

    def test_one_that_is_ours_already_lasts_its_whole_time_again(
        self, client: RedisClient, server: redis.Redis
    ) -> None:
        client.lock_and_read([ANA])
        server.pexpire(LOCK, 1_000)
        client.lock_and_read([ANA])
        assert server.pttl(LOCK) > 1_000

    def test_a_frozen_worker_s_runs_out_in_time_for_others_to_answer(
        self,
        client: RedisClient,
        other: RedisClient,
        server: redis.Redis,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        client.lock_and_read([ANA])
        assert 0 < server.pttl(LOCK) <= 5_000
        client.write_and_unlock([ANA], {}, HOUR)
        monkeypatch.setattr(RedisClient, "LOCK_SECONDS", 0.03)
        client.lock_and_read([ANA])
        wait_until(lambda: ANA in other.lock_and_read([ANA]))

    def test_who_wakes_up_after_that_overwrites_nothing_and_unlocks_nobody(
        self, client: RedisClient, other: RedisClient, server: redis.Redis
    ) -> None:
        client.lock_and_read([ANA, BEN])
        server.delete(LOCK)  # as if it had run out
        write(other, {ANA: b"newer"})
        client.write_and_unlock([ANA, BEN], {ANA: b"older", BEN: b"ours still"}, HOUR)
        assert read(other, ANA, BEN) == {ANA: b"newer", BEN: b"ours still"}
        other.lock_and_read([ANA])
        client.write_and_unlock([ANA], {ANA: b""}, HOUR)
        assert client.lock_and_read([ANA]) == {}
        assert server.get(VALUE) == b"newer"


class TestRoundTrips:
    def test_a_batch_is_locked_and_read_in_one_and_written_and_unlocked_in_one(
        self, client: RedisClient, server: redis.Redis
    ) -> None:
        batch = {f"+{n}": b"value" for n in range(256)}
        write(client, batch)  # connected, and the scripts are known
        assert commands_during(server, lambda: write(client, batch)) == ["EVALSHA", "EVALSHA"]

    def test_none_is_made_for_nobody(self, client: RedisClient, server: redis.Redis) -> None:
        write(client, {ANA: b"value"})
        assert commands_during(server, lambda: write(client, {})) == []


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
    "no such protocol": lambda valkey: f"{valkey.url}?protocol=7",
}
RAISES = {
    "no such option": lambda valkey: f"{valkey.url}?nonsense=1",
    "no host name": lambda _: "redis://redis..internal:6379/0",
}


class TestAServerThatCannotBeUsed:
    @pytest.fixture(autouse=True)
    def _ask_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RedisClient, "LEFT_ALONE_SECONDS", 0.0)
        monkeypatch.setattr(RedisClient, "ANSWER_SECONDS", 0.1)

    @pytest.mark.parametrize(
        "url_of",
        [
            *(pytest.param(url_of, id=name) for name, url_of in UNUSABLE.items()),
            *(pytest.param(url_of, id=name) for name, url_of in RAISES.items()),
        ],
    )
    def test_nothing_is_known_nothing_raises_and_one_line_tells_of_it(
        self,
        valkey: Valkey,
        server: redis.Redis,
        caplog: pytest.LogCaptureFixture,
        url_of: Callable[[Valkey], str],
    ) -> None:
        server.set(VALUE, b"\xff")
        client = RedisClient(url_of(valkey))
        for _ in range(2):
            assert client.lock_and_read([ANA, BEN]) == {ANA: b"", BEN: b""}
            client.write_and_unlock([ANA, BEN], {ANA: b"Sarah"}, HOUR)
        [line] = [record.getMessage() for record in caplog.records]
        assert line.startswith("redis away, the log of messages stands in: ")
        assert not [secret for secret in (ANA, BEN, "Sarah", "wr0ng") if secret in line]

    def test_it_is_used_again_as_soon_as_it_is_back_although_it_knows_nothing_any_more(
        self, valkey: Valkey, client: RedisClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            write(client, {ANA: b"one"})
            valkey.kill()
            for _ in range(3):
                assert read(client, ANA) == {ANA: b""}
            valkey.start()
            write(client, {BEN: b"two"})
            assert read(client, ANA, BEN) == {ANA: b"", BEN: b"two"}
        lines = [record.getMessage()[:10] for record in caplog.records]
        assert lines == ["redis away", "redis back"] * 2

    def test_a_restart_between_two_batches_is_not_even_noticed(
        self, valkey: Valkey, client: RedisClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The connection is closed and the scripts are forgotten."""
        write(client, {ANA: b"one"})
        valkey.kill()
        valkey.start()
        write(client, {ANA: b"two"})
        assert read(client, ANA) == {ANA: b"two"}
        assert caplog.records == []

    def test_it_is_left_alone_for_a_while_after_a_failure(
        self, valkey: Valkey, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(RedisClient, "LEFT_ALONE_SECONDS", 60.0)
        client = RedisClient(end(valkey))
        read(client, ANA)
        valkey.start()
        write(client, {ANA: b"one"})
        assert server.keys() == []

    @pytest.mark.parametrize("key", [LOCK, VALUE])
    def test_a_key_of_another_type_spoils_it_for_nobody_else(
        self, client: RedisClient, server: redis.Redis, key: str
    ) -> None:
        write(client, {BEN: b"known"})
        server.rpush(key, "a list")
        assert read(client, ANA, BEN)[BEN] == b"known"

    def test_an_error_that_quotes_the_command_does_not_bring_its_contact_into_the_log(
        self, client: RedisClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """So Redis answers where EVALSHA was renamed, and so does a sentinel."""

        def refuse(keys: list[str], **_arguments: object) -> None:
            raise redis.ResponseError(f"unknown command, with args beginning with: '{keys[0]}'")

        client._lock_and_read = refuse  # type: ignore[assignment]
        read(client, ANA)
        assert "redis away" in caplog.text
        assert ANA not in caplog.text
