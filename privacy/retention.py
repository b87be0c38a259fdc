"""RETENTION_DAYS: the words of old conversations leave the log, in steps that disturb nobody."""

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
    """A thread that erases what is older than `kept`; with None there is nothing to do.

    Each worker has one. What one of them has erased the others do not find any more.
    """

    STEP = 100
    """Messages whose conversations are erased in one transaction."""
    BETWEEN_STEPS_SECONDS = 0.2
    BETWEEN_ROUNDS_SECONDS = 3600.0

    def __init__(self, database: Database, kept: timedelta | None, ttl: timedelta) -> None:
        self._database = database
        # A conversation that may still go on is not old: its next turn needs its words. A minute
        # more, as a turn that began within the time may be committing yet.
        self._kept = None if kept is None else max(kept, ttl + timedelta(minutes=1))
        self._left_some = False
        """Whether the last step left out a contact who was being answered."""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._kept is not None:
            self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End after the present step, or without waiting for a database that does not answer."""
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
            except Exception as error:  # whatever it is, the next round may go well
                logger.error("retention tries again in a minute: %s", describe(error))
                pause = 60.0

    def erase_some(self) -> int:
        """Erase the words of the oldest conversations; return how many messages had some.

        Raises one of database.TRANSIENT_ERRORS.
        """
        if self._kept is None:
            return 0
        now = utc_now()
        before = now - self._kept
        with self._database.read() as connection:
            old = message_erasure.find_old(connection, before, self.STEP)
        self._left_some = False
        if not old:
            return 0
        with self._database.write() as connection:
            # One worker at a time, so that none waits for rows that another is erasing.
            if not advisory_locks.try_lock(connection, AdvisoryLock.RETENTION):
                return 0
            # A contact who writes just now keeps the conversation: it is not old any more.
            locked = contact_state.try_lock(connection, {*old.values()})
            ids = [id_ for id_, contact in old.items() if contact in locked]
            is_old = LoggedMessage.conversation_id.in_(ids) & ~message_erasure.is_newer(before)
            erased = message_erasure.erase_words(connection, is_old, now)
        if erased:
            logger.info("retention: words erased messages=%d", erased)
        self._left_some = len(ids) < len(old)
        return erased
