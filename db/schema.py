"""The schema, brought up to date by Alembic under a lock that all processes share."""

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
"""The newest revision in migrations/versions, known without a second spent importing Alembic."""

WAL_SECONDS = 3.0
"""How long several processes may take to choose SQLite's write-ahead log."""

MAX_NAMED = 5
"""How many places a message names."""

SPACE_TO_MIGRATE = 5
"""How many times its size a SQLite database needs in free disk space to migrate: 3.9 was measured.

The write-ahead log holds the new table and the old one's overwritten pages until the file does.
"""


def migrate(engine: Engine) -> None:
    """Bring the schema up to date, or do nothing if it is.

    Raises StartupError if it is newer, if the database can't keep every text, if the disk is too
    full to migrate, or if there is a table of another program in the way.
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
    # ServicesDep only: importing Alembic takes a second that an up-to-date start need not pay.
    from alembic.config import Config
    from alembic.util import CommandError

    if engine.dialect.name == "sqlite":
        engine.dispose()  # a connection that has read can't empty the log
        _choose_write_ahead_log(engine)
        _empty_write_ahead_log(engine)  # its space is needed
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        has_old_messages = _upgrade(engine, config)
    except CommandError as error:
        raise StartupError(str(error)) from error
    except DataError as error:
        _refuse_unreadable_text(engine)
        raise StartupError(f"The tables can't be migrated: {describe(error)}") from error
    if has_old_messages and engine.dialect.name == "sqlite":
        _empty_write_ahead_log(engine)  # it is as large as the tables were


def _upgrade(engine: Engine, config: "Config") -> bool:
    """Run the migrations in one transaction, under the lock; say whether they copied messages."""
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


def _refuse_unreadable_text(engine: Engine) -> None:
    """Raise StartupError where text in a SQLite file is not UTF-8, and say where."""
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
    """Raise StartupError where the database can't keep every text; SQLite can."""
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
    """Choose WAL, a property of the file that can't be chosen inside a transaction.

    Where another process chooses it at this moment SQLite does not wait, so we do.
    """
    end = time.monotonic() + WAL_SECONDS
    while True:
        with closing(engine.raw_connection()) as raw:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL").fetchall()
                raw.invalidate()  # it has not opened the log that the next one will
                return
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
        time.sleep(0.02)


def _empty_write_ahead_log(engine: Engine) -> None:
    """Move what is in the log into the file, as far as readers let us."""
    with closing(engine.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def schema_version(engine: Engine) -> str | None:
    """Read which schema the database has, None for none of ours; changes nothing."""
    with engine.connect() as connection:
        return _read_version(connection)


def _read_version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _has_old_messages(connection: Connection) -> bool:
    """Say whether there are messages that migrating will copy; another process may have done so."""
    if _read_version(connection) not in {"0001", "0002"}:
        return False
    return connection.scalar(sa.text("SELECT 1 FROM messages LIMIT 1")) is not None


def _require_space(connection: Connection) -> None:
    """Raise StartupError where the disk is too full to migrate a SQLite file.

    The disk of a PostgreSQL server can't be seen from here, so a line in the log has to do.
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
