"""RETENTION_DAYS: erase the words of old conversations, in small steps that delay nobody."""

import threading
from datetime import timedelta

from core.clock import utc_now
from core.logs import describe, logger
from db import advisory_locks
from db.advisory_locks import AdvisoryLock
from db.engine import Database
from models import LoggedMessage
from privacy import message_erasure
from storage import contact_state


class Retention:
    """A thread that erases the words of conversations older than `kept`; None keeps everything.

    `ttl` is the idle time after which a conversation ends. Each worker process has such a thread,
    and one of them works at a time.
    """

    BETWEEN_STEPS_SECONDS = 0.2
    BETWEEN_ROUNDS_SECONDS = 3600.0

    def __init__(
        self, database: Database, kept: timedelta | None, ttl: timedelta, step: int = 100
    ) -> None:
        """The conversations of `step` messages are erased in one transaction."""
        self._database, self._step = database, step
        # A conversation that may still go on is not old: its next turn needs its words. A minute
        # more, as a turn that began within the time may be committing yet.
        self._kept = None if kept is None else max(kept, ttl + timedelta(minutes=1))
        self._left_some = False
        """Whether the last step skipped a contact who was being answered."""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._kept is not None:
            self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread after its present step; wait at most 5 s for it."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        pause = 0.0
        while not self._closed.wait(pause):
            try:
                erased = self.erase_some()
                goes_on = erased or self._left_some
                pause = self.BETWEEN_STEPS_SECONDS if goes_on else self.BETWEEN_ROUNDS_SECONDS
            except Exception as error:  # whatever it is, the next round may succeed
                logger.error("retention failed, next try in 60 s: %s", describe(error))
                pause = 60.0

    def erase_some(self) -> int:
        """Erase the words of the oldest conversations; return how many messages had words.

        Raises one of db.errors.TRANSIENT_ERRORS.
        """
        if self._kept is None:
            return 0
        now = utc_now()
        before = now - self._kept
        with self._database.read() as connection:
            old = message_erasure.find_old(connection, before, self._step)
        self._left_some = False
        if not old:
            return 0
        with self._database.write() as connection:
            # One worker at a time, so that none waits for rows that another is erasing.
            if not advisory_locks.try_lock(connection, AdvisoryLock.RETENTION):
                return 0
            # A contact who is writing now keeps the conversation: it is not old any more.
            locked = contact_state.try_lock(connection, {*old.values()})
            ids = [id_ for id_, contact in old.items() if contact in locked]
            is_old = LoggedMessage.conversation_id.in_(ids) & ~message_erasure.has_newer(before)
            erased = message_erasure.erase_words(connection, is_old, now)
        if erased:
            logger.info("retention erased words messages=%d", erased)
        self._left_some = len(ids) < len(old)
        return erased
