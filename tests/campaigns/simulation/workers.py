"""The service: workers that serve one database, and are started again when they have died."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.util import greenlet_spawn

from conversation.model import Message
from db.engine import Database
from db.errors import TRANSIENT_ERRORS
from ingest.pending import InDoubt, Reply
from ingest.timing import Timing
from ingest.writer import MessageWriter
from privacy import erasure
from storage.end_cache import EndCache, MemoryCache, NoCache, RedisCache
from tests.campaigns.simulation.faults import Crashed, Redis, Trouble
from tests.campaigns.simulation.story import Story
from tests.campaigns.simulation.virtual import Process
from web import webhooks
from whatsapp.statuses import StatusUpdate

TTL = timedelta(hours=1)
PSEUDONYM_KEY = "a key"
PROBE_SECONDS = 120.0
"""Not 3: most of a schedule would be probes, and most trouble would strike them."""


class NoAnswer(Exception):
    """The connection broke, or the answer was a 503."""


class _Client:
    """A connection of a process to the simulated Redis."""

    def __init__(self, redis: Redis, trouble: Trouble, process: Process) -> None:
        self._redis, self._trouble, self._process = redis, trouble, process
        self._changes: list[tuple[str, bytes, int]] = []

    def mget(self, keys: Sequence[str]) -> Any:
        return self._ask(lambda: self._redis.mget(keys))

    def pipeline(self, *, transaction: bool) -> "_Client":  # noqa: ARG002 - as redis has it
        return self

    def set(self, key: str, value: bytes, *, px: int) -> None:
        self._changes.append((key, value, px))

    def execute(self) -> None:
        changes, self._changes = self._changes, []
        self._ask(lambda: self._redis.set_all(changes))

    def close(self) -> None:
        """Nothing is open."""

    def _ask(self, action: Callable[[], Any]) -> Any:
        return self._trouble.redis(self._process, action, self._redis.forget)


class Worker:
    """One place for a worker's process, whose clock is `ahead`; at each start by another time.

    `open_database` opens its own door to the database.
    """

    def __init__(
        self,
        name: str,
        open_database: Callable[[], Database],
        open_cache: Callable[[Process], EndCache],
        story: Story,
        choose_clock: Callable[[], timedelta],
    ) -> None:
        self.name, self._choose_clock, self.ahead = name, choose_clock, timedelta()
        self._open_database, self._open_cache, self._story = open_database, open_cache, story
        self._generation = 0
        self.start()

    def start(self) -> None:
        self._generation += 1
        self.process = Process(f"{self.name}.{self._generation}", self._restart)
        self.database = self._open_database()
        self.ahead = self._choose_clock()
        if self.ahead:
            self._story.tell(
                f"{self.process.name}'s clock is ahead by {self.ahead}", "wrong clocks"
            )
        self.writer = MessageWriter(
            self.database,
            self._open_cache(self.process),
            TTL,
            self._clock,
            [PSEUDONYM_KEY],
            Timing(probe_seconds=PROBE_SECONDS),
        )
        self._do(self.writer.start, self._note_death)

    def _clock(self) -> datetime:
        return self._story.clock() + self.ahead

    def _note_death(self) -> None:
        self._story.problem(f"the writer of {self.name} ended")

    def _restart(self) -> None:
        asyncio.get_running_loop().call_later(0.5, self.start)

    def _do(self, action: Callable[..., Any], *arguments: Any) -> asyncio.Task[Any]:
        """Run something in a thread of the process."""
        return self.process.start(greenlet_spawn(action, *arguments))

    async def reply_to(self, message: Message) -> Reply:
        """Answer a message as the webhook does. Raises NoAnswer."""
        if self.process.is_dead:
            raise NoAnswer
        answer: Reply = await self._outcome(
            self.process.start(self.writer.submit(message)), InDoubt
        )
        return answer

    async def raise_status(self, update: StatusUpdate) -> None:
        """Take a status callback. Raises NoAnswer."""
        if self.process.is_dead:
            raise NoAnswer
        await self._outcome(
            self._do(webhooks._raise_status, self.database, update), *TRANSIENT_ERRORS
        )

    async def forget(self, contact: str) -> None:
        """Erase a contact whole. Raises NoAnswer."""
        if self.process.is_dead:
            raise NoAnswer
        action = (erasure.erase_contact, self.database, contact, PSEUDONYM_KEY)
        await self._outcome(self._do(*action), *TRANSIENT_ERRORS)

    async def _outcome(self, task: asyncio.Task[Any], *no_answer: type[Exception]) -> Any:
        await asyncio.wait({task})
        if task.cancelled() or isinstance(task.exception(), (Crashed, *no_answer)):
            raise NoAnswer
        return task.result()

    async def stop(self) -> None:
        """End in good order, and let go of the database."""
        while self.process.is_dead:
            await asyncio.sleep(1)
        await self._do(self.writer.close)


def make_cache(kind: str, redis: Redis, trouble: Trouble) -> Callable[[Process], EndCache]:
    """Make what opens the cache of a store for a worker's process."""

    def open_cache(process: Process) -> EndCache:
        if kind == "redis":
            cache = RedisCache("redis://127.0.0.1:1/0")  # which connects only when it is used
            cache._redis = _Client(redis, trouble, process)
            return cache
        return MemoryCache() if kind == "memory" else NoCache()

    return open_cache
