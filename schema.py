"""The schema, brought up to date by Alembic under a lock that all processes share."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

FOLDER = Path(__file__).resolve().parent

SCHEMA_VERSION = "0002"
"""The newest revision in migrations/versions, known without a second spent importing Alembic."""

WAL_SECONDS = 3.0
"""How long several processes may take to choose SQLite's write-ahead log."""


class CannotStart(Exception):
    """What no second try mends; the text says in a sentence what to do."""


def migrate(engine: Engine) -> None:
    """Bring the schema up to date, or do nothing if it is.

    Raises CannotStart if it is newer, or the database is one that can't keep every text.
    """
    insist_on_unicode(engine)
    version = schema_version(engine)
    if version == SCHEMA_VERSION:
        return
    if version is not None and version > SCHEMA_VERSION:
        raise CannotStart(
            f"The database has schema {version}, this program knows {SCHEMA_VERSION} at most:"
            " install the newer program again, or restore the backup made before it."
        )
    # Here only: importing Alembic takes a second that an up-to-date start need not pay.
    from alembic import command
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        _choose_write_ahead_log(engine)
    config = Config()
    config.set_main_option("script_location", str(FOLDER / "migrations").replace("%", "%%"))
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1919247729, 1)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def insist_on_unicode(engine: Engine) -> None:
    """Raise CannotStart where the database can't keep every text; SQLite can."""
    if engine.dialect.name == "sqlite":
        return
    with engine.connect() as connection:
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise CannotStart(
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
                raw.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
        time.sleep(0.02)


def schema_version(engine: Engine) -> str | None:
    """Read which schema the database has, None for none of ours; changes nothing."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return None if version is None else str(version)
