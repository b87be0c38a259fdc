"""Notice when one of SQLite's three files is removed or replaced while open, and save its commits.

Besides the database file there are `-wal`, with the newest commits, and `-shm`, its index. SQLite
does not check that its open files still have their names. It goes on writing to a removed or
replaced file, and those commits are lost when the process ends. Here such a file is called lost.
"""

import os
import sqlite3
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.logs import describe, logger

Identity = tuple[int, int] | None
"""Device and inode of a file; None where no file has the name."""

PRAGMAS = (
    # A commit must be on disk before the reply is sent (https://sqlite.org/pragma.html).
    "PRAGMA synchronous=FULL",
    # Pages between checkpoints; SQLite's default is 1000. SIDs are random, so each message changes
    # an index page of its own, and more commits share its writing. With still more pages, a
    # checkpoint on a slow disk would take longer than a request may.
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA secure_delete=ON",  # erased words must not stay in the file
)
"""Run on every new connection. The first one makes SQLite open `-wal` and `-shm`."""


class _Connection(sqlite3.Connection):
    """A connection that a WeakSet can hold."""


class SqliteFiles:
    """Opens and closes the connections of one engine, and makes sure that all have the same files.

    SQLite removes `-wal` and `-shm` only when the last connection of all processes closes. If they
    change while one is open, somebody else has removed or replaced them.
    """

    def __init__(self, main: Path) -> None:
        self.main = main
        self._log = Path(f"{main}-wal")
        self._files = (str(main), f"{main}-wal", f"{main}-shm")
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._opened: tuple[Identity, ...] = ()
        """The files of the open connections, in the order of `_files`; empty where none is open."""
        self._is_log_saved = False
        self._guard: sqlite3.Connection | None = None

    def find_lost(self) -> str | None:
        """Return the name of a lost file; None if there is none. Costs three calls of stat."""
        for file, opened in zip(self._files, self._opened, strict=False):
            if _identify(file) != opened:
                return os.path.basename(file)
        return None

    def connect(
        self, _dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]
    ) -> sqlite3.Connection:
        """Open a connection, for SQLAlchemy's event do_connect. Raises sqlite3.OperationalError.

        It refuses while other connections have lost files open: SQLite shares one index between
        all connections of a process.
        """
        with self._lock:
            self._end_if_none_is_open()
            lost = self.find_lost()
            if lost is not None:
                raise sqlite3.OperationalError(f"{lost} was removed or replaced")
            connection = _Connection(*arguments, **options)
            try:
                for pragma in PRAGMAS:
                    connection.execute(pragma)
                self._require_whole_log(connection)
                opened = tuple(_identify(file) for file in self._files)
                if opened[0] is None or (self._opened and self._opened != opened):
                    raise sqlite3.OperationalError(f"{self.main.name} was removed or replaced")
            except BaseException:
                connection.close()
                raise
            self._opened = opened
            self._open.add(connection)
            return connection

    def close(self, connection: _Connection, _record: Any) -> None:
        """Close a connection, for SQLAlchemy's event close. Save a lost file's commits first."""
        with self._lock:
            if self.find_lost() is not None:
                self._let_go(connection)
            connection.close()
            self._open.discard(connection)
            self._end_if_none_is_open()

    def _end_if_none_is_open(self) -> None:
        if not self._open:
            self._opened, self._is_log_saved = (), False
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def _require_whole_log(self, connection: sqlite3.Connection) -> None:
        """Raise OperationalError if `-wal` is new and lacks commits that are in the index.

        Then another process has a lost `-wal` open, and what we wrote would be lost with it.
        """
        if not self._is_log_empty():
            return
        try:
            # With nothing to move this succeeds. Otherwise SQLite misses the commits in the file.
            is_busy, frames, _ = connection.execute(EMPTY_LOG).fetchone()
            is_whole = not (is_busy and frames > 0 and self._is_log_empty())
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_IOERR:
                raise
            is_whole = False
        if not is_whole:
            raise sqlite3.OperationalError(f"{self._log.name} lacks commits: it was removed")

    def _is_log_empty(self) -> bool:
        try:
            return self._log.stat().st_size == 0
        except OSError:
            return True

    def _let_go(self, connection: sqlite3.Connection) -> None:
        """Save the commits of a lost `-wal`, and keep SQLite from removing a new one."""
        main, log, index = map(_identify, self._files)
        if main != self._opened[0]:
            return  # SQLite does not touch the other files of a database that has moved
        is_first = self._is_log_empty() and index in (None, self._opened[2])
        if log != self._opened[1] and is_first and not self._is_log_saved:
            self._save_lost_log(connection)
        if self._guard is None:
            # The last connection to close moves the commits in its index into the database and
            # removes `-wal`, which processes with a newer index still use. While a read-only
            # connection is open, no other one is the last, and it can do neither itself.
            with suppress(sqlite3.Error):
                uri = f"{self.main.as_uri()}?mode=ro"
                self._guard = sqlite3.connect(uri, uri=True, check_same_thread=False)
                self._guard.execute("SELECT 1 FROM sqlite_master").fetchone()

    def _save_lost_log(self, connection: sqlite3.Connection) -> None:
        """Move the commits of a lost `-wal` into the database, and truncate it.

        Other processes may still have it open; from an empty one they can't move old pages later.
        """
        try:
            is_busy, _, _ = connection.execute(EMPTY_LOG).fetchone()
            self._is_log_saved = not is_busy
            outcome = "other connections read them" if is_busy else ""
        except sqlite3.Error as error:
            outcome = describe(error)
        if self._is_log_saved:
            logger.error("%s was removed or replaced: its commits are saved", self._log.name)
        else:
            logger.error("commits in %s are not saved yet: %s", self._log.name, outcome)


EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Moves all commits into the database, then truncates `-wal`."""


def _identify(file: str) -> Identity:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
