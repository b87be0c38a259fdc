"""The service: workers that serve one database, and are started again when they have died."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.util import greenlet_spawn

import forgetting
import webhooks
from collector import Collector
from conversation import Message
from database import OUTAGES, Database
from entry import OutcomeUnknown, Reply
from redis_client import RedisClient
from stores import DatabaseStore, MemoryStore, RedisStore, Store
from tests.simulation.faults import Crashed, Redis, Trouble
from tests.simulation.story import Story
from tests.simulation.virtual import Process
from whatsapp import StatusUpdate

TTL = timedelta(hours=1)
Clock = Callable[[], datetime]
FORGETTING_KEY = "a key"


class NoAnswer(Exception):
    """The connection broke, or the answer was a 503."""


class RedisOfWorker(RedisClient):
    """Our client, whose scripts run in the simulated Redis."""

    def __init__(self, redis: Redis, trouble: Trouble, process: Process) -> None:
        super().__init__("redis://127.0.0.1:1/0")  # which connects only when it is used
        self._token = process.name

        def scripted(script: Callable[..., Any]) -> Callable[..., Any]:
            def run(keys: list[str], args: list[Any]) -> Any:
                return trouble.redis(process, lambda: script(keys, args), redis.forget)

            return run

        self._lock_and_read: Any = scripted(redis.lock_and_read)
        self._write_and_unlock: Any = scripted(redis.write_and_unlock)


class Worker:
    """One place for a worker's process, whose clock is `ahead`.

    `open_database` opens its own door to the database.
    """

    def __init__(
        self,
        name: str,
        open_database: Callable[[], Database],
        open_store: Callable[[Database, Process, Clock], Store],
        story: Story,
        ahead: timedelta,
    ) -> None:
        self.name, self._clock = name, lambda: story.clock() + ahead
        self._open_database, self._open_store, self._story = open_database, open_store, story
        self._generation = 0
        self.start()

    def start(self) -> None:
        self._generation += 1
        self.process = Process(f"{self.name}.{self._generation}", self._restart)
        self.database = self._open_database()
        self.store = self._open_store(self.database, self.process, self._clock)
        self.collector = Collector(self.store, self._clock, FORGETTING_KEY)
        self._do(self.collector.start, self._note_death)

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
            self.process.start(self.collector.reply_to(message)), OutcomeUnknown
        )
        return answer

    async def raise_status(self, update: StatusUpdate) -> None:
        """Take a status callback. Raises NoAnswer."""
        if self.process.is_dead:
            raise NoAnswer
        await self._outcome(self._do(webhooks._raise_status, self.database, update), *OUTAGES)

    async def forget(self, contact: str) -> None:
        """Erase a contact whole. Raises NoAnswer."""
        if self.process.is_dead:
            raise NoAnswer
        action = (forgetting.forget_contact, self.store, contact, FORGETTING_KEY)
        await self._outcome(self._do(*action), *OUTAGES)

    async def _outcome(self, task: asyncio.Task[Any], *no_answer: type[Exception]) -> Any:
        await asyncio.wait({task})
        if task.cancelled() or isinstance(task.exception(), (Crashed, *no_answer)):
            raise NoAnswer
        return task.result()

    async def stop(self) -> None:
        """End in good order, and let go of the database."""
        while self.process.is_dead:
            await asyncio.sleep(1)
        await self._do(self.collector.close)


def make_store(kind: str, redis: Redis, trouble: Trouble) -> Any:
    """Make what opens a store of the kind for a worker's process."""

    def open_store(database: Database, process: Process, clock: Clock) -> Store:
        if kind == "redis":
            return RedisStore(database, TTL, RedisOfWorker(redis, trouble, process), clock)
        if kind == "memory":
            return MemoryStore(database, TTL, clock)
        return DatabaseStore(database, TTL, clock)

    return open_store
