"""The door to the database: engine, time-outs, transactions."""

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
"""What SQLite answers to a COMMIT that has not happened, and will not after a crash either."""

TURN_SECONDS = 3.0
"""How long a thread waits for its turn to write to SQLite, or to migrate."""

_json = partial(json.dumps, ensure_ascii=False)
"""Words are kept as they are: what is searched for in the file is found there, or is not there."""


class Database:
    """The one door to the tables. Nothing is opened before the first use, which migrates.

    All its methods may raise one of TRANSIENT_ERRORS and be called again.
    """

    def __init__(self, engine: Engine, files: SqliteFiles | None = None) -> None:
        self.engine = engine
        self.files = files
        self.file = files.main if files else None
        """The file of a SQLite database."""
        self.is_sqlite = files is not None
        self._migrated = False
        # SQLite takes one writer; in this process they queue here, not in its sleeping busy loop.
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a transaction of its own; what it writes is lost."""
        self.migrate()
        with self._connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection in a transaction whose statements all see one moment."""
        with self.read() as connection:
            if not self.is_sqlite:  # where every transaction is like that
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; a clean end commits, an exception rolls back."""
        self.migrate()
        if not self.is_sqlite:
            with self._connect() as connection, connection.begin():
                yield connection
            return
        with self._turn(), self._connect() as connection:
            connection.execution_options(begin="BEGIN IMMEDIATE")
            try:
                with connection.begin():
                    yield connection
                    if lost := self._find_lost_file():
                        raise DatabaseUnavailable(f"{lost} was removed or replaced")
                if lost := self._find_lost_file():  # during the COMMIT: it may be in either file
                    raise OperationalError("COMMIT", None, OSError(f"{lost} is another now"))
            except OperationalError as error:
                if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in SURELY_ROLLED_BACK:
                    raise DatabaseUnavailable(describe(error)) from error
                raise

    def migrate(self) -> None:
        """Bring the schema up to date, once per process, under a lock that all processes share."""
        if self._migrated:
            return
        with self._turn():
            if not self._migrated:
                self._bring_up_to_date()
                self._migrated = True

    def _bring_up_to_date(self) -> None:
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
                f"The database's tables can't be brought up to date: {describe(error)}"
            ) from error

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except InvalidRequestError as error:  # several connections in a row were to a lost file
            raise DatabaseUnavailable(describe(error)) from error

    def save_lost_files(self) -> None:
        """Save what is in lost files of SQLite, before an idle process is killed with them open."""
        if self._find_lost_file():
            with suppress(*TRANSIENT_ERRORS), self._connect():
                """The pool gives up the connection that has them open."""

    def _find_lost_file(self) -> str | None:
        return self.files.find_lost() if self.files else None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # Bounded, or the threads of requests that were given up would pile up here.
        if not self._one_at_a_time.acquire(timeout=TURN_SECONDS):
            raise DatabaseUnavailable(f"no turn within {TURN_SECONDS} s")
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Make the door to the database at `url` (Settings.database_url); it connects when used."""
    normal = normalise_url(url)
    own_options = str(normal.query.get("options", ""))
    # hide_parameters: customers' words must not travel to the log inside an exception.
    if normal.get_backend_name() == "sqlite":
        file = Path(os.path.realpath(normal.database or ""))  # a link may lead to where it will be
        engine = sa.create_engine(
            URL.create("sqlite", database=file.as_uri(), query={"mode": "rw", "uri": "true"}),
            hide_parameters=True,
            json_serializer=_json,
            # autocommit off the driver: SQLAlchemy's begin event below says when and how.
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
        # A later snapshot for each statement: what is read under a lock is what its last holder
        # committed, whatever default the server was given.
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
            # A worker frozen inside a transaction must give its contacts back before another's
            # deadline, and the server must notice a client that is gone, whose session may hold
            # locks.
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
    """Name the database at `url` without the secrets that the URL may have."""
    parsed = make_url(url)._replace(password=None)
    parsed = parsed.difference_update_query(["password", "sslpassword", "passfile"])
    if parsed.get_backend_name() in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql")
    return parsed.render_as_string()


def normalise_url(url: str) -> URL:
    """Name the psycopg2 driver, and resolve a relative SQLite path beside this file."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(database=str(ROOT / (parsed.database or "")))
    return parsed.set(drivername="postgresql+psycopg2")


def _recognise_outage(context: ExceptionContext) -> None:
    # Read-only, as after a failover to a standby: an InternalError to the driver.
    if getattr(context.original_exception, "pgcode", None) == "25006":
        raise DatabaseUnavailable(describe(context.original_exception))


IDLE_SECONDS = 5.0
"""A pooled connection that was idle for longer is tried before it is used: a round trip."""


def _note_use(_driver_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_idle(engine: Engine, driver_connection: Any, record: Any, _proxy: Any) -> None:
    """Let the pool replace all its connections where an idle one is broken."""
    if time.monotonic() - record.info.get("used_at", math.inf) < IDLE_SECONDS:
        return
    try:
        engine.dialect.do_ping(driver_connection)
    except Exception as error:
        raise InvalidatePoolError(describe(error)) from error


def _recognise_unreadable(context: ExceptionContext) -> None:
    # An OperationalError to the driver, but no outage: only who needs this row is concerned.
    error = context.original_exception
    if is_undecodable(error):
        raise DataError(None, None, ValueError(without_text(str(error))), hide_parameters=True)


def _on_checkout(files: SqliteFiles, _connection: Any, _record: Any, _proxy: Any) -> None:
    if lost := files.find_lost():
        raise DisconnectionError(f"{lost} was removed or replaced")


def _make_file(file: Path) -> None:
    """Make a database file for its owner alone; only here: one that goes missing is an outage.

    A file that exists must not even be opened: closing it would drop the locks that SQLite holds
    on it for this process (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
