"""Migrate the schema with Alembic, one process at a time."""

import shutil
import sqlite3
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError

from core.logs import describe, logger
from db import advisory_locks, utf8_check
from db.advisory_locks import AdvisoryLock
from db.errors import StartupError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent / "migrations"

SCHEMA_VERSION = "0004"
"""The newest revision in migrations/versions. Asking Alembic for it would take a second."""

WAL_SECONDS = 3.0
"""How long to wait for another process that is switching SQLite to its write-ahead log."""

MAX_NAMED = 5
"""How many places an error message names."""

SPACE_TO_MIGRATE = 5
"""Free disk space needed to migrate a SQLite database, in multiples of its size (measured: 3.9).

The write-ahead log holds the new table and the overwritten pages of the old one.
"""


def migrate(engine: Engine) -> None:
    """Migrate the schema to SCHEMA_VERSION; do nothing where it is there.

    Raises StartupError if the schema is newer, if the database can't store every text, if the disk
    is too full to migrate, or if another program's table is in the way.
    """
    require_unicode(engine)
    version = schema_version(engine)
    if version == SCHEMA_VERSION:
        return
    if version is not None and version > SCHEMA_VERSION:
        raise StartupError(
            f"The database has schema {version}, this program knows {SCHEMA_VERSION} at most:"
            " install the newer program again, or restore the backup made before it."
        )
    # Imported here because it takes a second, and most starts have nothing to migrate.
    from alembic.config import Config
    from alembic.util import CommandError

    if engine.dialect.name == "sqlite":
        engine.dispose()  # a connection that has read can't truncate the log
        _choose_write_ahead_log(engine)
        _empty_write_ahead_log(engine)  # the migration needs its space
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        has_old_messages = _upgrade(engine, config)
    except CommandError as error:
        raise StartupError(str(error)) from error
    except DataError as error:
        _require_readable_text(engine)
        raise StartupError(f"The tables can't be migrated: {describe(error)}") from error
    if has_old_messages and engine.dialect.name == "sqlite":
        _empty_write_ahead_log(engine)  # it has grown as large as the tables


def _upgrade(engine: Engine, config: "Config") -> bool:
    """Run the migrations in one transaction under the lock; return whether they copied messages."""
    from alembic import command

    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                advisory_locks.lock(connection, AdvisoryLock.MIGRATION)
            has_old_messages = _has_old_messages(connection)
            if has_old_messages:
                _require_space(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return has_old_messages


def _require_readable_text(engine: Engine) -> None:
    """Raise StartupError, with the places, if a SQLite file has text that is not UTF-8."""
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        found = [*islice(utf8_check.problems(connection), MAX_NAMED + 1)]
    if found:
        more = "; and more" if len(found) > MAX_NAMED else ""
        raise StartupError(
            "Another program has written text to the database that is not UTF-8"
            f" ({'; '.join(found[:MAX_NAMED])}{more}). Correct these texts or delete their rows,"
            " then start again. Nothing was changed."
        )


def require_unicode(engine: Engine) -> None:
    """Raise StartupError if a PostgreSQL database can't store every text."""
    if engine.dialect.name == "sqlite":
        return
    with engine.connect() as connection:
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StartupError(
            f"The database's encoding is {encoding}, which has not all that customers write: make"
            " another with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."
        )


def _choose_write_ahead_log(engine: Engine) -> None:
    """Switch the file to WAL mode, which is not possible inside a transaction.

    SQLite does not wait for another process that is doing the same, so we do.
    """
    end = time.monotonic() + WAL_SECONDS
    while True:
        with closing(engine.raw_connection()) as raw:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL").fetchall()
                raw.invalidate()  # this connection has not opened the log
                return
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
        time.sleep(0.02)


def _empty_write_ahead_log(engine: Engine) -> None:
    """Move the log's pages into the database file, as far as readers allow it."""
    with closing(engine.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def schema_version(engine: Engine) -> str | None:
    """Return the schema's revision; None for a database without our tables. Changes nothing."""
    with engine.connect() as connection:
        return _read_version(connection)


def _read_version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _has_old_messages(connection: Connection) -> bool:
    """Say whether the migration will copy messages. Read under the lock."""
    if _read_version(connection) not in {"0001", "0002"}:
        return False
    return connection.scalar(sa.text("SELECT 1 FROM messages LIMIT 1")) is not None


def _require_space(connection: Connection) -> None:
    """Raise StartupError if the disk is too full to migrate a SQLite file.

    For PostgreSQL it only logs the size: the server's disk can't be seen from here.
    """
    if connection.dialect.name == "postgresql":
        size = connection.scalar(sa.text("SELECT pg_total_relation_size('messages')")) or 0
        logger.info("migrating the table messages, which has %s", _megabytes(size))
        return
    query = sa.text("SELECT file FROM pragma_database_list WHERE name = 'main'")
    file = Path(connection.execute(query).scalar_one())
    size = sa.text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    needed = int(connection.scalar(size) or 0) * SPACE_TO_MIGRATE
    free = shutil.disk_usage(file.parent).free
    if free < needed:
        raise StartupError(
            f"Migrating the database {file} needs {_megabytes(needed)} of free disk space, and"
            f" {_megabytes(free)} is free. Free some space on that disk, then start again. Nothing"
            " was changed."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
