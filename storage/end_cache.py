"""CONVERSATION_STORE: a cache of where each contact stands, at the end of the contact's log.

The log decides: a cached end counts only where the log ends at that message (storage.batch). No
cache keeps words for longer than a minute, so that what is erased is gone from here, too.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from conversation.model import LogEnd
from core.logs import describe, logger

T = TypeVar("T")


class EndCache(Protocol):
    """The last committed ends of contacts."""

    def get(self, contacts: Collection[str], /) -> dict[str, LogEnd]:
        """Return the ends that are known of contacts. Never raises."""

    def put(self, ends: Mapping[str, LogEnd], /) -> None:
        """Keep the ends of contacts, after their COMMIT. Never raises."""

    def drop_expired(self) -> None:
        """Drop what was kept for long enough. Called every MessageQueue.REMEMBERED_SECONDS."""

    def close(self) -> None:
        """Close connections."""


class NoCache:
    """The database store: every end is read from the log."""

    def get(self, _contacts: Collection[str]) -> dict[str, LogEnd]:
        return {}

    def put(self, _ends: Mapping[str, LogEnd]) -> None:
        """Keep nothing."""

    def drop_expired(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class MemoryCache:
    """Ends in a dict of this process. Only one thread at a time may use it."""

    MAX_CONTACTS = 10_000
    KEPT_SECONDS = 30.0

    def __init__(self) -> None:
        self._ends: OrderedDict[str, tuple[LogEnd, float]] = OrderedDict()

    def get(self, contacts: Collection[str]) -> dict[str, LogEnd]:
        self.drop_expired()
        return {contact: self._ends[contact][0] for contact in contacts if contact in self._ends}

    def put(self, ends: Mapping[str, LogEnd]) -> None:
        now = time.monotonic()
        for contact, end in ends.items():
            self._ends[contact] = (end, now)
            self._ends.move_to_end(contact)
        while len(self._ends) > self.MAX_CONTACTS:
            self._ends.popitem(last=False)
        self.drop_expired()

    def drop_expired(self) -> None:
        kept_since = time.monotonic() - self.KEPT_SECONDS
        while self._ends:
            contact, (_, put_at) = next(iter(self._ends.items()))
            if put_at >= kept_since:
                return
            del self._ends[contact]

    def close(self) -> None:
        self._ends.clear()


class RedisCache:
    """Ends in Redis, for all workers. After a failure it is left alone for a while."""

    PREFIX = "reviews:end:"
    KEPT_MILLISECONDS = 30_000
    ANSWER_SECONDS = 0.2
    """How long Redis may take to answer; the log is quicker than a second try."""
    LEFT_ALONE_SECONDS = 2.0
    """After a failure; asking at every batch would cost each its time-out."""
    SAID_AGAIN_SECONDS = 60.0
    """Between two lines of the log that tell of one outage."""

    def __init__(self, url: str) -> None:
        # ServicesDep only: importing redis takes half a second.
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=self.ANSWER_SECONDS,
            socket_connect_timeout=self.ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._left_alone_until = 0.0
        self._said_at = -self.SAID_AGAIN_SECONDS
        self._away_since: float | None = None

    def get(self, contacts: Collection[str]) -> dict[str, LogEnd]:
        if not contacts:
            return {}
        keys = [f"{self.PREFIX}{contact}" for contact in contacts]
        values = self._ask(lambda: self._redis.mget(keys), contacts) or []
        ends = {c: _decode(value) for c, value in zip(contacts, values, strict=False)}
        return {contact: end for contact, end in ends.items() if end is not None}

    def put(self, ends: Mapping[str, LogEnd]) -> None:
        def write() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for contact, end in ends.items():
                pipeline.set(f"{self.PREFIX}{contact}", _encode(end), px=self.KEPT_MILLISECONDS)
            pipeline.execute()

        if ends:
            self._ask(write, ends)

    def ask_time(self) -> datetime:
        """Read Redis's clock. Raises ConnectionError where it can't be used."""
        try:
            seconds, microseconds = self._redis.time()
        except Exception as error:
            raise ConnectionError(describe(error)) from None
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def drop_expired(self) -> None:
        """Redis does."""

    def close(self) -> None:
        self._redis.close()

    def _ask(self, action: Callable[[], T], contacts: Collection[str]) -> T | None:
        if time.monotonic() < self._left_alone_until:
            return None
        try:
            answer = action()
        except Exception as error:  # whatever Redis does, the log stands in
            what = describe(error)
            # Redis may quote the command that it does not like, and with it a customer's number.
            is_quoted = any(contact in what for contact in contacts)
            self._note_away(type(error).__name__ if is_quoted else what)
            return None
        self._note_back()
        return answer

    def _note_away(self, what: str) -> None:
        now = time.monotonic()
        self._left_alone_until = now + self.LEFT_ALONE_SECONDS
        self._away_since = self._away_since or now
        if now - self._said_at > self.SAID_AGAIN_SECONDS:
            self._said_at = now
            logger.error("redis away, the log of messages stands in: %s", what)

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            self._away_since, self._said_at = None, -self.SAID_AGAIN_SECONDS
            logger.info("redis back after %.1f s", seconds)


def _encode(end: LogEnd) -> bytes:
    fields = asdict(end) | {"received_at": end.received_at.isoformat()}
    return json.dumps(fields).encode()


def _decode(value: bytes | None) -> LogEnd | None:
    """Read a value of `_encode`; None where there is none, or one that is not ours."""
    try:
        fields = json.loads(value or b"")
        received_at = datetime.fromisoformat(fields.pop("received_at"))
        end = LogEnd(**fields, received_at=received_at)
        is_ours = received_at.tzinfo is not None and all(
            isinstance(text, str) for text in (*end.answers, *end.answers.values())
        )
        return end if is_ours else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def open_cache(kind: str, redis_url: str | None) -> EndCache:
    """Make the cache that CONVERSATION_STORE names."""
    if kind == "redis":
        return RedisCache(redis_url or "")
    if kind == "memory":
        return MemoryCache()
    return NoCache()
