"""Messages in, replies out: one writer thread per process, and what it does about outages.

A reply leaves after COMMIT. Whom the deadline finds still waiting gets the apology, and whom it
finds in a COMMIT gets no sentence at all, as none would surely be true.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from conversation.model import Message
from core.clock import utc_now
from core.logs import describe, logger
from db.engine import Database
from db.errors import TRANSIENT_ERRORS, StartupError
from ingest.group_commit import GroupCommit
from ingest.message_queue import MessageQueue
from ingest.pending import ClientGone, InDoubt, Reply, wake
from reviews import repository
from storage.end_cache import EndCache


class MessageWriter:
    """The writer and its queue. It starts with `start`, or with the first message."""

    DEADLINE_SECONDS = 6.0
    """After arrival. Twilio waits 15 s, or 7 with the webhook address that the README gives."""
    QUICK_SECONDS = 0.3
    """An answer that takes longer is slow: from then on the client is watched."""
    PAUSE_SECONDS = 0.15
    """Between two tries while the database is away and somebody waits: another worker may have
    recorded the message, and an apology would be false."""
    LAST_TRY_SECONDS = 0.05
    """So long before the earliest deadline is one more try."""
    LONGEST_PAUSE_SECONDS = 1.0
    """Between two tries while nobody waits."""
    SAID_AGAIN_SECONDS = 60.0
    """Between two lines of the log that tell of one outage."""

    def __init__(
        self,
        database: Database,
        cache: EndCache,
        idle_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
        pseudonym_keys: Sequence[str] = ("",),
    ) -> None:
        self._database, self._cache, self._clock = database, cache, clock
        self._idle_after, self._pseudonym_keys = idle_after, pseudonym_keys
        self._starting = threading.Lock()
        self._on_death: Callable[[], None] = lambda: None
        self._be_new()

    def _be_new(self) -> None:
        self._queue = MessageQueue(self._look_around)
        self._recorder = GroupCommit(
            self._database,
            self._cache,
            self._queue,
            self._clock,
            self._idle_after,
            self._pseudonym_keys,
        )
        self._thread: threading.Thread | None = None
        self._tried = threading.Event()
        self._open = False
        self._away_since: float | None = None
        self._said_at, self._said_away = -self.SAID_AGAIN_SECONDS, False
        self._failure: Exception | None = None

    async def submit(
        self, message: Message, client_gone: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Reply:
        """Wait until the message's turn is on disk; return what was answered to it, now or before.

        At the deadline the message is withdrawn, and the reply is the apology. `client_gone` ends
        when the client has closed its connection. Raises MessageSidTaken, InDoubt,
        ClientGone, or StartupError where the process never could.
        """
        self._ensure_writer()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        queue, loop = self._queue, asyncio.get_running_loop()
        delivery = loop.create_future()
        entry = queue.enter(message, delivery)
        # Two rounds of the loop later: in one it reads what else has come, in the next it takes
        # that in (uvloop does; asyncio's own loop sees less of it).
        loop.call_soon(loop.call_soon, queue.call_writer, entry)
        quick = min(self.QUICK_SECONDS, self.DEADLINE_SECONDS)
        timer = loop.call_later(quick, self._wait_on, delivery, quick, client_gone)
        try:
            await delivery
        finally:
            timer.cancel()
            queue.leave(entry, delivery)
        if not entry.is_over:
            queue.withdraw(entry)
        return entry.result()

    def _wait_on(
        self,
        delivery: asyncio.Future[None],
        waited: float,
        client_gone: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Let a slow delivery wait until its deadline, or until its client is gone."""
        loop = delivery.get_loop()
        deadline = loop.call_later(self.DEADLINE_SECONDS - waited, wake, [delivery])
        delivery.add_done_callback(lambda _: deadline.cancel())
        if client_gone is not None:
            watching = loop.create_task(client_gone())
            watching.add_done_callback(lambda _: _give_up(delivery))
            delivery.add_done_callback(lambda _: watching.cancel())

    def start(self, on_death: Callable[[], None] = lambda: None) -> None:
        """Start the writer and wait for its first try to open the database, whatever comes of it.

        `on_death` is called, in the writer's thread, should that die later. Raises StartupError.
        """
        self._on_death = on_death
        self._ensure_writer()
        self._tried.wait()
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def is_able(self) -> bool:
        """Say whether messages can be recorded, as far as the last try knows."""
        self._ensure_writer()
        self._tried.wait(self.DEADLINE_SECONDS)
        return self._open and self._failure is None and self._away_since is None

    def close(self) -> None:
        """Answer who waits, as far as the database lets us, and end the writer."""
        self._queue.close()
        if self._thread is not None:
            self._thread.join(timeout=2 * self.DEADLINE_SECONDS)
            if not self._thread.is_alive():
                self._be_new()

    def _ensure_writer(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        try:
            self._open = self._until_done(self._open_database)
            self._tried.set()
            while (batch := self._queue.next_batch()) and self._until_done(
                lambda: self._recorder.take(batch)
            ):
                pass
        except Exception as error:
            self._die(error)
        finally:
            self._cache.close()

    def _open_database(self) -> None:
        self._database.migrate()
        try:
            repository.fill_search_text(self._database)
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:  # a search finds less, and every message is still recorded
            logger.error("search_text is not filled in: %s", describe(error))

    def _look_around(self) -> None:
        """Do what must be done even if no message comes for a long time."""
        self._cache.drop_expired()
        self._database.save_lost_files()

    def _until_done(self, action: Callable[[], object]) -> bool:
        """Do it, again and again while the database is away; False where we close before that."""
        pause = 0.0
        while True:
            try:
                action()
            except (*TRANSIENT_ERRORS, InDoubt) as error:
                self._note_away(error)
                self._tried.set()
            else:
                if self._away_since is not None:
                    self._note_back(time.monotonic() - self._away_since)
                return True
            # At once after the first failure: it may have been one connection that broke, and the
            # pool has new ones.
            if self._queue.wait_closed(pause):
                return False
            self._queue.drop_expired()
            pause = self._next_pause(pause)

    def _next_pause(self, pause: float) -> float:
        """Say how long to pause before the next try, by the pause before this one."""
        longer = max(2 * pause, 0.05)
        waited = self._queue.longest_wait()
        if waited is None:
            return min(longer, self.LONGEST_PAUSE_SECONDS)
        left = self.DEADLINE_SECONDS - waited - self.LAST_TRY_SECONDS
        longest = left if 0.0 < left < self.PAUSE_SECONDS else self.PAUSE_SECONDS
        return min(longer, longest)

    def _note_away(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._said_at > self.SAID_AGAIN_SECONDS:
            self._said_at, self._said_away = now, True
            logger.error("database away, trying again: %s", describe(error))

    def _note_back(self, seconds: float) -> None:
        self._away_since = None
        if self._said_away:
            self._said_away = False
            logger.info("database back after %.1f s", seconds)

    def _die(self, error: Exception) -> None:
        started = self._tried.is_set()
        if not isinstance(error, StartupError):
            logger.critical("the writer ends: %s", describe(error), exc_info=error)
        elif started:  # else start() raises it, and whoever called that says it
            logger.critical("the writer ends: %s", error)
        self._failure = error
        self._queue.close()
        self._queue.refuse(self._queue.everyone(), error)
        self._tried.set()
        if started:
            self._on_death()


def _give_up(delivery: asyncio.Future[None]) -> None:
    if not delivery.done():
        delivery.set_exception(ClientGone())
