"""CONVERSATION_STORE: cache where each contact stands, which is the end of the contact's log.

The log decides: a cached end counts only if the log ends at that message (storage.batch.read). No
cache keeps words for longer than a minute, so an erasure reaches it within that time.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from conversation.model import LogEnd
from core.clock import monotonic
from core.logs import describe
from core.outage import OutageLog

T = TypeVar("T")


class EndCache(Protocol):
    """The last committed ends of contacts."""

    def get(self, contacts: Collection[str], /) -> dict[str, LogEnd]:
        """Return the cached ends of contacts; those without one are left out. Never raises."""

    def put(self, ends: Mapping[str, LogEnd], /) -> None:
        """Cache the ends of contacts. Call it after their COMMIT. Never raises."""

    def drop_expired(self) -> None:
        """Drop expired ends. The message writer calls it at least twice a minute."""

    def close(self) -> None:
        """Close connections."""


class NoCache:
    """CONVERSATION_STORE=database: every end is read from the log."""

    def get(self, _contacts: Collection[str]) -> dict[str, LogEnd]:
        return {}

    def put(self, _ends: Mapping[str, LogEnd]) -> None:
        """Do nothing."""

    def drop_expired(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class MemoryCache:
    """CONVERSATION_STORE=memory: ends in a dict of this process. It is not thread-safe."""

    def __init__(self, *, max_contacts: int = 10_000, kept_seconds: float = 30.0) -> None:
        self._max_contacts, self.kept_seconds = max_contacts, kept_seconds
        self._ends: OrderedDict[str, tuple[LogEnd, float]] = OrderedDict()

    def get(self, contacts: Collection[str]) -> dict[str, LogEnd]:
        self.drop_expired()
        return {contact: self._ends[contact][0] for contact in contacts if contact in self._ends}

    def put(self, ends: Mapping[str, LogEnd]) -> None:
        now = monotonic()
        for contact, end in ends.items():
            self._ends[contact] = (end, now)
            self._ends.move_to_end(contact)
        while len(self._ends) > self._max_contacts:
            self._ends.popitem(last=False)
        self.drop_expired()

    def drop_expired(self) -> None:
        kept_since = monotonic() - self.kept_seconds
        while self._ends:
            contact, (_, put_at) = next(iter(self._ends.items()))
            if put_at >= kept_since:
                return
            del self._ends[contact]

    def close(self) -> None:
        self._ends.clear()


class RedisCache:
    """CONVERSATION_STORE=redis: ends in Redis, for all workers.

    `answer_seconds` limits connecting and each answer; there is no second try, as the log is
    quicker. After a failure Redis is not asked for `pause_seconds`, so that not every batch waits.
    """

    PREFIX = "reviews:end:"
    KEPT_MILLISECONDS = 30_000

    def __init__(
        self, url: str, *, answer_seconds: float = 0.2, pause_seconds: float = 2.0
    ) -> None:
        # Imported here because it takes half a second.
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self.pause_seconds = pause_seconds
        self._paused_until = 0.0
        self._outage = OutageLog(
            "redis unavailable, reading the message log instead", "redis available again"
        )

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
        """Return the time of Redis's clock. Raises ConnectionError if Redis can't be used."""
        try:
            seconds, microseconds = self._redis.time()
        except Exception as error:
            raise ConnectionError(describe(error)) from None
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def drop_expired(self) -> None:
        """Do nothing: Redis drops them."""

    def close(self) -> None:
        self._redis.close()

    def _ask(self, action: Callable[[], T], contacts: Collection[str]) -> T | None:
        if monotonic() < self._paused_until:
            return None
        try:
            answer = action()
        except Exception as error:  # whatever happened, the log has the same
            what = describe(error)
            # Redis may quote a command that it rejects, and with it a customer's number.
            is_quoted = any(contact in what for contact in contacts)
            self._outage.note_failure(type(error).__name__ if is_quoted else what)
            self._paused_until = monotonic() + self.pause_seconds
            return None
        self._outage.note_success()
        return answer


def _encode(end: LogEnd) -> bytes:
    fields = asdict(end) | {"received_at": end.received_at.isoformat()}
    return json.dumps(fields).encode()


def _decode(value: bytes | None) -> LogEnd | None:
    """Read what `_encode` wrote; None for no value or another one."""
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
    """Return the cache for a value of CONVERSATION_STORE: memory, redis or database."""
    if kind == "redis":
        return RedisCache(redis_url or "")
    if kind == "memory":
        return MemoryCache()
    return NoCache()
