"""Open the database, and run transactions on it with time limits."""

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url
from sqlalchemy.exc import (
    DataError,
    DisconnectionError,
    InvalidatePoolError,
    InvalidRequestError,
    OperationalError,
)

from core.logs import describe, is_undecodable, without_text
from core.paths import ROOT
from db import schema
from db.errors import TRANSIENT_ERRORS, DatabaseUnavailable, StartupError
from db.sqlite_files import SqliteFiles

SURELY_ROLLED_BACK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY})
"""SQLite's errors at COMMIT after which nothing was written, not even after a crash."""

LOCK_SECONDS = 3.0
"""How long a thread waits to write to SQLite, or to migrate."""

_json = partial(json.dumps, ensure_ascii=False)
"""Non-ASCII text is not escaped, so a search of the file for erased words finds what is left."""


class Database:
    """Runs transactions. The first one connects and migrates.

    Each method may raise one of TRANSIENT_ERRORS, and can then be called again. The first use may
    also raise StartupError.
    """

    def __init__(self, engine: Engine, files: SqliteFiles | None = None) -> None:
        self.engine = engine
        self.files = files
        self.file = files.main if files else None
        """The database's file, where it is SQLite."""
        self.is_sqlite = files is not None
        self._migrated = False
        # SQLite allows one writer. A lock wakes the next thread at once, SQLite would poll.
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a transaction of its own, which is rolled back."""
        self.migrate()
        with self._connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection in a transaction whose statements all see the same snapshot."""
        with self.read() as connection:
            if not self.is_sqlite:  # SQLite's transactions are all like that
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; commit at the end, roll back on an exception.

        DatabaseUnavailable means that nothing was written. After any other of TRANSIENT_ERRORS from
        the COMMIT itself, the transaction may have been committed.
        """
        self.migrate()
        if not self.is_sqlite:
            with self._connect() as connection, connection.begin():
                yield connection
            return
        with self._alone(), self._connect() as connection:
            connection.execution_options(begin="BEGIN IMMEDIATE")
            try:
                with connection.begin():
                    yield connection
                    if lost := self._find_lost_file():
                        raise DatabaseUnavailable(f"{lost} was removed or replaced")
                if lost := self._find_lost_file():  # lost during COMMIT, so the outcome is unknown
                    raise OperationalError("COMMIT", None, OSError(f"{lost} was replaced"))
            except OperationalError as error:
                if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in SURELY_ROLLED_BACK:
                    raise DatabaseUnavailable(describe(error)) from error
                raise

    def migrate(self) -> None:
        """Migrate the schema once per process, under a lock that all processes share."""
        if self._migrated:
            return
        with self._alone():
            if not self._migrated:
                self._migrate_schema()
                self._migrated = True

    def _migrate_schema(self) -> None:
        try:
            if self.file is not None:
                _make_file(self.file)
            schema.migrate(self.engine)
        except (StartupError, *TRANSIENT_ERRORS):
            raise
        except (OSError, sqlite3.OperationalError) as error:
            raise DatabaseUnavailable(describe(error)) from error
        except Exception as error:
            raise StartupError(
                f"The database's tables can't be migrated: {describe(error)}"
            ) from error

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except InvalidRequestError as error:  # the pool met several connections to a lost file
            raise DatabaseUnavailable(describe(error)) from error

    def save_lost_files(self) -> None:
        """Save the commits in SQLite files that were removed while open. Call it while idle."""
        if self._find_lost_file():
            # At checkout the pool closes connections to lost files, and closing saves them.
            with suppress(*TRANSIENT_ERRORS), self._connect():
                pass

    def _find_lost_file(self) -> str | None:
        return self.files.find_lost() if self.files else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Bounded, or threads of requests that have timed out would pile up here.
        if not self._writer.acquire(timeout=LOCK_SECONDS):
            raise DatabaseUnavailable(f"another thread has been writing for {LOCK_SECONDS} s")
        try:
            yield
        finally:
            self._writer.release()

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Return the database at `url` (Settings.database_url). It connects at its first use."""
    normal = normalise_url(url)
    own_options = str(normal.query.get("options", ""))
    # hide_parameters keeps customers' words out of exceptions, and so out of the log.
    if normal.get_backend_name() == "sqlite":
        file = Path(os.path.realpath(normal.database or ""))  # the file may be a link
        engine = sa.create_engine(
            URL.create("sqlite", database=file.as_uri(), query={"mode": "rw", "uri": "true"}),
            hide_parameters=True,
            json_serializer=_json,
            # The driver must not begin transactions: the begin event below does.
            connect_args={"isolation_level": None, "timeout": 2.0},
        )
        files = SqliteFiles(file)
        event.listen(engine, "do_connect", files.connect)
        event.listen(engine, "close", files.close)
        event.listen(engine, "checkout", partial(_on_checkout, files))
        event.listen(engine, "begin", _begin)
        event.listen(engine, "handle_error", _recognise_unreadable)
        return Database(engine, files)
    engine = sa.create_engine(
        normal,
        hide_parameters=True,
        json_serializer=_json,
        # Each statement sees what was committed before it, so a read under a lock sees what the
        # last holder wrote. The server's default may differ.
        isolation_level="READ COMMITTED",
        pool_timeout=2,
        connect_args={
            "connect_timeout": 3,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 5_000,
            "application_name": "review-collector",
            "client_encoding": "utf8",
            # A worker frozen inside a transaction must release its contacts before others time
            # out, and the server must notice a lost client, whose session may hold locks.
            "options": f"{own_options} -c timezone=UTC -c statement_timeout=5000"
            " -c lock_timeout=4000 -c idle_in_transaction_session_timeout=4500"
            " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2",
        },
    )
    event.listen(engine, "handle_error", _recognise_outage)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ping_if_idle, engine))
    return Database(engine)


def name_of(url: str) -> str:
    """Return the URL of a database without its secrets, for logs and messages."""
    parsed = make_url(url)._replace(password=None)
    parsed = parsed.difference_update_query(["password", "sslpassword", "passfile"])
    if parsed.get_backend_name() in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql")
    return parsed.render_as_string()


def normalise_url(url: str) -> URL:
    """Add the psycopg2 driver's name; resolve a relative SQLite path from the program's folder."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(database=str(ROOT / (parsed.database or "")))
    return parsed.set(drivername="postgresql+psycopg2")


def _recognise_outage(context: ExceptionContext) -> None:
    # Read-only, as after a failover to a standby. The driver calls it an InternalError.
    if getattr(context.original_exception, "pgcode", None) == "25006":
        raise DatabaseUnavailable(describe(context.original_exception))


IDLE_SECONDS = 5.0
"""A pooled connection that was idle for longer is pinged before use, which is a round trip."""


def _note_use(_driver_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_idle(engine: Engine, driver_connection: Any, record: Any, _proxy: Any) -> None:
    """Ping an idle connection; if it is broken, have the pool replace all of them."""
    if time.monotonic() - record.info.get("used_at", math.inf) < IDLE_SECONDS:
        return
    try:
        engine.dialect.do_ping(driver_connection)
    except Exception as error:
        raise InvalidatePoolError(describe(error)) from error


def _recognise_unreadable(context: ExceptionContext) -> None:
    # The driver calls it an OperationalError, but only this row is affected: it is no outage.
    error = context.original_exception
    if is_undecodable(error):
        raise DataError(None, None, ValueError(without_text(str(error))), hide_parameters=True)


def _on_checkout(files: SqliteFiles, _connection: Any, _record: Any, _proxy: Any) -> None:
    if lost := files.find_lost():
        raise DisconnectionError(f"{lost} was removed or replaced")


def _make_file(file: Path) -> None:
    """Create the database file, readable for its owner only, if there is none.

    Connections never create it, so a file that goes missing later is noticed. An existing file is
    not even opened: closing it would drop this process's locks on it
    (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
