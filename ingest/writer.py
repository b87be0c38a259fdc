"""The message writer: one thread per process that records messages, also through outages.

A reply is sent after COMMIT. At the deadline a message that still waits gets the apology. A message
whose COMMIT is under way gets no sentence, since none would surely be true.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from conversation.model import Message
from core.clock import monotonic, utc_now
from core.logs import describe, logger
from core.outage import OutageLog
from db.engine import Database
from db.errors import TRANSIENT_ERRORS, StartupError
from ingest.group_commit import GroupCommit
from ingest.message_queue import MessageQueue
from ingest.pending import ClientGone, InDoubt, PendingMessage, Reply, wake
from ingest.timing import Timing
from reviews import repository
from storage.end_cache import EndCache


class MessageWriter:
    """The writer and its queue. `start` starts it, or the first message does."""

    def __init__(
        self,
        database: Database,
        cache: EndCache,
        idle_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
        pseudonym_keys: Sequence[str] = ("",),
        timing: Timing | None = None,
    ) -> None:
        self._database, self._cache, self._clock = database, cache, clock
        self._idle_after, self._pseudonym_keys = idle_after, pseudonym_keys
        self.timing = timing or Timing()
        self._starting = threading.Lock()
        self._on_death: Callable[[], None] = lambda: None
        self._reset()

    def _reset(self) -> None:
        self._queue = MessageQueue(self._do_idle_work, self.timing)
        self._group_commit = GroupCommit(
            self._database,
            self._cache,
            self._queue,
            self._clock,
            self._idle_after,
            self._pseudonym_keys,
        )
        self._thread: threading.Thread | None = None
        self._tried = threading.Event()
        self._outage = OutageLog("database away, trying again", "database back")
        self._proven_at = -math.inf
        self._failure: Exception | None = None

    async def submit(
        self, message: Message, client_gone: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Reply:
        """Wait until the message's turn is on disk; return its reply. A duplicate gets the same.

        At the deadline the message is withdrawn and the reply is the apology. `client_gone` returns
        when the client has closed its connection. Raises MessageSidTaken, InDoubt, ClientGone, or
        StartupError if this process can never record.
        """
        self._ensure_writer()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        queue, loop = self._queue, asyncio.get_running_loop()
        delivery = loop.create_future()
        pending = queue.enter(message, delivery)
        # Two rounds of the loop later: it reads further requests in the first and handles them in
        # the second (so does uvloop; asyncio's own loop reads fewer).
        loop.call_soon(loop.call_soon, queue.call_writer, pending)
        slow = min(self.timing.slow_seconds, self.timing.deadline_seconds)
        timer = loop.call_later(slow, self._wait_on, delivery, slow, client_gone)
        try:
            await delivery
        finally:
            timer.cancel()
            queue.leave(pending, delivery)
        if not pending.is_over:
            queue.withdraw(pending)
        return pending.result()

    def _wait_on(
        self,
        delivery: asyncio.Future[None],
        waited: float,
        client_gone: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Limit a slow delivery: it ends at its deadline, or when its client is gone."""
        loop = delivery.get_loop()
        deadline = loop.call_later(self.timing.deadline_seconds - waited, wake, [delivery])
        delivery.add_done_callback(lambda _: deadline.cancel())
        if client_gone is not None:
            watching = loop.create_task(client_gone())
            watching.add_done_callback(lambda _: _give_up(delivery))
            delivery.add_done_callback(lambda _: watching.cancel())

    def start(self, on_death: Callable[[], None] = lambda: None) -> None:
        """Start the writer and wait for its first try to open the database, failed or not.

        If the writer dies later, it calls `on_death` in its thread. Raises StartupError.
        """
        self._on_death = on_death
        self._ensure_writer()
        self._tried.wait()
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def is_able(self) -> bool:
        """Say whether a message that comes now would be recorded, by the last batch or probe.

        Waits for the writer's first try to open the database, and never for the database itself.
        """
        self._ensure_writer()
        self._tried.wait(self.timing.deadline_seconds)
        if self._failure is not None or self._outage.is_on:
            return False
        age = monotonic() - self._proven_at
        return age < self.timing.probe_seconds + self.timing.slow_probe_seconds

    def close(self) -> None:
        """Answer the pending messages, if the database allows it, and end the writer."""
        self._queue.close()
        if self._thread is not None:
            self._thread.join(timeout=2 * self.timing.deadline_seconds)
            if not self._thread.is_alive():
                self._reset()

    def _ensure_writer(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        try:
            is_going = self._until_done(self._open_database)
            self._tried.set()
            while is_going:
                batch = self._queue.next_batch(self.timing.probe_seconds)
                if self._queue.is_over():
                    return
                is_going = self._until_done(partial(self._take, batch))
        except Exception as error:
            self._die(error)
        finally:
            self._cache.close()

    def _take(self, batch: list[PendingMessage]) -> None:
        """Record a batch. An empty one is the probe, which also follows a batch that wrote nothing.

        Duplicates and contacts that are locked elsewhere prove only that we can read.
        """
        has_written = self._group_commit.take(batch)
        is_due = monotonic() - self._proven_at > self.timing.probe_seconds
        if not has_written and (is_due or self._outage.is_on):
            has_written = self._group_commit.take([])
        if has_written:
            self._proven_at = monotonic()

    def _open_database(self) -> None:
        self._database.migrate()
        try:
            repository.fill_search_text(self._database)
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:  # searches find less, but every message is still recorded
            logger.error("search_text is not filled in: %s", describe(error))
        self._take([])

    def _do_idle_work(self) -> None:
        """Do what must not wait for the next message."""
        self._cache.drop_expired()
        self._database.save_lost_files()

    def _until_done(self, action: Callable[[], object]) -> bool:
        """Retry `action` while the database is away; return False if closed before it succeeds."""
        pause = 0.0
        while True:
            try:
                action()
            except (*TRANSIENT_ERRORS, InDoubt) as error:
                self._outage.note_failure(describe(error))
                self._tried.set()
            else:
                self._outage.note_success()
                return True
            # At once after the first failure: maybe one connection broke, and the pool is new.
            if self._queue.wait_closed(pause):
                return False
            self._queue.drop_expired()
            pause = self._next_pause(pause)

    def _next_pause(self, pause: float) -> float:
        """Return the seconds to pause before the next try, after a pause of `pause`."""
        longer = max(2 * pause, 0.05)
        waited = self._queue.longest_wait()
        if waited is None:
            return min(longer, self.timing.idle_retry_seconds)
        left = self.timing.deadline_seconds - waited - self.timing.last_try_seconds
        retry = self.timing.retry_seconds
        longest = left if 0.0 < left < retry else retry
        return min(longer, longest)

    def _die(self, error: Exception) -> None:
        started = self._tried.is_set()
        if not isinstance(error, StartupError):
            logger.critical("the writer ends: %s", describe(error), exc_info=error)
        elif started:  # else start() raises it, and its caller says it
            logger.critical("the writer ends: %s", error)
        self._failure = error
        self._queue.close()
        self._queue.reject(self._queue.all_pending(), error)
        self._tried.set()
        if started:
            self._on_death()


def _give_up(delivery: asyncio.Future[None]) -> None:
    if not delivery.done():
        delivery.set_exception(ClientGone())
