"""The three files of a SQLite database, and what to do when one is lost while it is open.

Besides the database there are `-wal`, which has the newest commits, and `-shm`, the index of it.
SQLite never asks again whether the files that it has open still have their names. Where one was
removed or replaced it goes on, and what it writes is lost at the latest when the process ends.
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
"""Device and inode of a file; None where there is none of its name."""

PRAGMAS = (
    # FULL: a commit is on disk before the reply that tells of it (https://sqlite.org/pragma.html).
    "PRAGMA synchronous=FULL",
    # Messages' SIDs come in no order, so each dirties a page of its own: twice SQLite's thousand
    # lets more commits share the writing of it. More would keep a slow disk busy past a deadline.
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA secure_delete=ON",  # erased words do not stay in the file
)
"""The first of them reads the file, and with that SQLite opens `-wal` and `-shm` too."""


class _Connection(sqlite3.Connection):
    """A connection that can be in a WeakSet."""


class SqliteFiles:
    """Opens and closes the connections of one engine, all of them to the same three files.

    SQLite removes `-wal` and `-shm` when the last connection of all processes closes. While one is
    open they stay, so another file of that name means that somebody else has interfered.
    """

    def __init__(self, main: Path) -> None:
        self.main = main
        self._log = Path(f"{main}-wal")
        self._files = (str(main), f"{main}-wal", f"{main}-shm")
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._opened: tuple[Identity, ...] = ()
        """Which files the open connections have open."""
        self._is_log_saved = False
        self._guard: sqlite3.Connection | None = None

    def find_lost(self) -> str | None:
        """Name a file that was removed or replaced since the open connections opened it, if any."""
        for file, opened in zip(self._files, self._opened, strict=False):
            if _identify(file) != opened:
                return os.path.basename(file)
        return None

    def connect(
        self, _dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]
    ) -> sqlite3.Connection:
        """Open a connection, for the event do_connect. Raises sqlite3.OperationalError.

        None is opened while others are still open to files that are lost: within a process SQLite
        shares the index between them.
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
        """Close a connection, for the event close. What is in a lost file is saved if it can be."""
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
        """Raise OperationalError where `-wal` is new and lacks commits that `-shm` tells of.

        Another process has the lost one open. What is written behind missing commits is lost too.
        """
        if not self._is_log_empty():
            return
        try:
            # Nothing to do, or SQLite looks for the commits in the file where they are not.
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
        """Save what is in a lost `-wal`, and keep SQLite from removing a new one."""
        main, log, index = map(_identify, self._files)
        if main != self._opened[0]:
            return  # SQLite leaves alone what belongs to a file that has moved
        is_first = self._is_log_empty() and index in (None, self._opened[2])
        if log != self._opened[1] and is_first and not self._is_log_saved:
            self._save_lost_log(connection)
        if self._guard is None:
            # The last connection to close would write what its own index tells of into the
            # database, and remove the `-wal` of those who have opened another index since. One
            # that may only read can do neither, and while it is open none is the last.
            with suppress(sqlite3.Error):
                uri = f"{self.main.as_uri()}?mode=ro"
                self._guard = sqlite3.connect(uri, uri=True, check_same_thread=False)
                self._guard.execute("SELECT 1 FROM sqlite_master").fetchone()

    def _save_lost_log(self, connection: sqlite3.Connection) -> None:
        """Write what is in a lost `-wal` into the database, and empty it.

        Other processes may have it open still: of an empty one they can write nothing back later.
        """
        try:
            is_busy, _, _ = connection.execute(EMPTY_LOG).fetchone()
            self._is_log_saved = not is_busy
            outcome = "others read them" if is_busy else ""
        except sqlite3.Error as error:
            outcome = describe(error)
        if self._is_log_saved:
            logger.error("%s was removed or replaced: its commits are saved", self._log.name)
        else:
            logger.error("commits in %s are not saved yet: %s", self._log.name, outcome)


EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Writes all commits into the database, then makes `-wal` an empty file."""


def _identify(file: str) -> Identity:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
