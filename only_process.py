"""The right to be the only process that serves a database, as the memory store needs it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from database import Away, Database
from schema import CannotStart


class OnlyProcess:
    """The right to be the one process that keeps conversations in memory beside this database.

    On SQLite a lock file beside the database file; on PostgreSQL an advisory lock of one session,
    through which everything is then written: who loses the session loses the right with it.
    """

    PATIENCE_SECONDS = 5.0
    """How long a process that is being replaced (a reload) may take to let go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file: IO[Any] | None = None
        self._session: Connection | None = None
        self._had_it = False

    def claim(self) -> bool:
        """Take the right and return True, unless we have it. Raises CannotStart or one of OUTAGES.

        Another process that keeps it is reason not to start; once we had it and lost it, the holder
        may be our own lost session, which the server lets go in a while.
        """
        if self._file is not None or self._session is not None:
            return False
        end = time.monotonic() + self.PATIENCE_SECONDS
        claim = self._claim_file if self._database.is_sqlite else self._claim_session
        while not claim():
            if self._had_it:
                raise Away("a lost session of ours, or another process, keeps conversations")
            if time.monotonic() > end:
                raise CannotStart(
                    "CONVERSATION_STORE=memory keeps conversations inside one process, and another"
                    " process serves this database already. Serve with one worker, end the other"
                    " process, or set CONVERSATION_STORE=database."
                )
            time.sleep(0.1)
        self._had_it = True
        return True

    def _claim_file(self) -> bool:
        path = Path(f"{self._database.file}.lock")
        try:
            file = path.open("a+b")
        except OSError as error:
            raise CannotStart(f"{path} can't be opened: {error.strerror}") from error
        if _lock_file(file):
            self._file = file
            return True
        file.close()
        return False

    def _claim_session(self) -> bool:
        session = self._database.engine.connect()
        session.detach()  # closing it ends the session, and with it the lock
        try:
            if session.scalar(sa.text("SELECT pg_try_advisory_lock(1919247729, 2)")):
                session.commit()
                self._session = session
        finally:
            if self._session is None:
                session.close()
        return self._session is not None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a transaction that only the process with the right can have."""
        if self._session is None:
            with self._database.write() as connection:
                yield connection
            return
        try:
            with self._session.begin():
                yield self._session
        except BaseException:
            self._clear_session(self._session)
            raise

    def _clear_session(self, session: Connection) -> None:
        """Roll back, as nobody does after a failed COMMIT; give up a lost session."""
        lost = session.invalidated
        if not lost:
            try:
                session.connection.rollback()
            except Exception:
                lost = True
        if lost:
            self._let_go()

    def release(self) -> None:
        """Give the right back."""
        self._let_go()
        self._had_it = False  # PostgreSQL may end our session later than we come back

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._session is not None:
            self._session.close()
        self._file = self._session = None


if sys.platform == "win32":
    import msvcrt

    def _lock_file(file: IO[Any]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock_file(file: IO[Any]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
