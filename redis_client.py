"""Redis, as the redis store needs it: lock and read in one round trip, write and unlock in one.

Redis may forget and fail: holding raises nothing. Who asks is told that nothing is known.
"""

import time
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from logs import describe, logger

# A key of another type than ours is nobody's: it goes.
_GET = """
local function get(key)
    local value = redis.pcall('GET', key)
    if type(value) == 'table' then
        redis.call('DEL', key)
        return false
    end
    return value
end
"""

# KEYS: the locks, then as many values. ARGV: our token, the lock's milliseconds.
_LOCK_AND_READ = f"""{_GET}
local found, half = {{}}, #KEYS / 2
for i = 1, half do
    if get(KEYS[i]) == ARGV[1] or redis.call('EXISTS', KEYS[i]) == 0 then
        redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
        found[i] = get(KEYS[half + i]) or ''
    else
        found[i] = false
    end
end
return found
"""

# KEYS: the same. ARGV: our token, the values' milliseconds, then a value for each lock, '' to
# remove it, '=' to leave it. Where the lock has run out the value is somebody else's by now.
_WRITE_AND_UNLOCK = f"""{_GET}
local half = #KEYS / 2
for i = 1, half do
    if get(KEYS[i]) == ARGV[1] then
        local value = ARGV[2 + i]
        if value == '' then
            redis.call('DEL', KEYS[half + i])
        elseif value ~= '=' then
            redis.call('SET', KEYS[half + i], value, 'PX', ARGV[2])
        end
        redis.call('DEL', KEYS[i])
    end
end
"""


class RedisClient:
    """A value and a lock for each contact. Only one thread at a time may use it.

    A lock is the process's, and not one hold's: where the answer to a locking got lost, the next
    try still has it.
    """

    LOCK_SECONDS = 5.0
    """Less than Collector.DEADLINE_SECONDS: a frozen worker's contacts are answered by others."""
    ANSWER_SECONDS = 0.5
    """How long Redis may take to answer."""
    LEFT_ALONE_SECONDS = 2.0
    """After a failure; asking at every batch would cost each its time-out."""
    SAID_AGAIN_SECONDS = 60.0
    """Between two lines of the log that tell of one outage."""

    def __init__(self, url: str) -> None:
        # Here only: importing redis takes half a second.
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._redis = Redis.from_url(
            url,
            socket_timeout=self.ANSWER_SECONDS,
            socket_connect_timeout=self.ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the log is quicker than a second try
        )
        self._lock_and_read = self._redis.register_script(_LOCK_AND_READ)
        self._write_and_unlock = self._redis.register_script(_WRITE_AND_UNLOCK)
        self._token = uuid.uuid4().hex
        self._left_alone_until = 0.0
        self._said_at = -self.SAID_AGAIN_SECONDS
        self._away_since: float | None = None

    def lock_and_read(self, contacts: Collection[str]) -> dict[str, bytes]:
        """Lock the contacts that nobody else has locked and read their values, b"" for none.

        Where Redis is away, every contact is there, with none.
        """
        found = self._ask(
            self._lock_and_read,
            contacts,
            [self._token, _milliseconds(self.LOCK_SECONDS)],
        )
        if found is None:
            return dict.fromkeys(contacts, b"")
        return {
            contact: value
            for contact, value in zip(contacts, found, strict=True)
            if value is not None
        }

    def write_and_unlock(
        self, contacts: Collection[str], changes: Mapping[str, bytes], keep: timedelta
    ) -> None:
        """Unlock contacts, and write those values that have changed, b"" for none any more."""
        self._ask(
            self._write_and_unlock,
            contacts,
            [
                self._token,
                _milliseconds(keep.total_seconds()),
                *(changes.get(contact, b"=") for contact in contacts),
            ],
        )

    def ask_time(self) -> datetime:
        """Read Redis's clock. Raises ConnectionError where it can't be used."""
        try:
            seconds, microseconds = self._redis.time()
        except Exception as error:
            raise ConnectionError(describe(error)) from None
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def close(self) -> None:
        self._redis.close()

    def _ask(self, script: Any, contacts: Collection[str], arguments: list[Any]) -> Any:
        """Run a script on the keys of contacts; None where Redis is away."""
        if not contacts or time.monotonic() < self._left_alone_until:
            return None
        keys = [f"reviews:{kind}:{c}" for kind in ("lock", "conversation") for c in contacts]
        try:
            answer = script(keys=keys, args=arguments)
        except Exception as error:  # whatever Redis does, the log stands in
            what = describe(error)
            # Redis may quote the command that it does not like, and with it a customer's number.
            quoted = any(contact in what for contact in contacts)
            self._note_away(type(error).__name__ if quoted else what)
            return None
        self._note_back()
        return answer if answer is not None else []

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


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
