"""The tables, and the door to them: engine, pragmas, time-outs, the schema kept up to date."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    JSON,
    DateTime,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine import URL, Connection, Dialect, Engine, make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

FOLDER = Path(__file__).resolve().parent

SCHEMA_VERSION = "0001"
"""The newest revision in migrations/versions, known without a second spent importing Alembic."""

OUTAGES = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""Errors that say "not now" (away, slow, locked, read-only, full): worth trying again."""


class CannotStart(Exception):
    """What no second try mends; the text says in a sentence what to do."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in, an aware time in UTC out, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is not stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BigInt = sa.BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UtcDateTime}  # noqa: RUF012 - SQLAlchemy's own API


class Review(Base):
    """A finished review. `conversation_id` makes it the only one of its conversation."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index(None, "created_at", "id"),
        # An id that was erased is never given to another review.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    contact_number: Mapped[str]
    user_name: Mapped[str]
    product_name: Mapped[str]
    product_review: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    created_at: Mapped[datetime]
    conversation_id: Mapped[str] = mapped_column(unique=True)
    message_sid: Mapped[str | None] = mapped_column(index=True)
    error_code: Mapped[int | None]
    updated_at: Mapped[datetime]


class LoggedMessage(Base):
    """A message and what we answered: the log is the truth, and the transcript."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        Index(None, "contact_number", "received_at"),
    )

    message_sid: Mapped[str] = mapped_column(primary_key=True)
    contact_number: Mapped[str]
    conversation_id: Mapped[str]
    position: Mapped[int]
    body: Mapped[str]
    media: Mapped[list[Any]] = mapped_column(JSON)
    reply: Mapped[str]
    finished: Mapped[bool]
    rules: Mapped[int]
    received_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class UnfinishedConversation(Base):
    """Where a contact stands, as the database store keeps it; nothing is kept of the finished."""

    __tablename__ = "conversations"

    contact_number: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str]
    state: Mapped[str]
    product_name: Mapped[str]
    user_name: Mapped[str]
    position: Mapped[int]
    updated_at: Mapped[datetime]


class Database:
    """The one door to the tables. Nothing is opened before the first use, which migrates.

    All its methods may raise one of OUTAGES and be called again.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._migrated = False
        # SQLite takes one writer; in this process they queue here, not in its sleeping busy loop.
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a transaction of its own; what it writes is lost."""
        self.migrate()
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; a clean end commits, an exception rolls back."""
        self.migrate()
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._one_at_a_time, self.engine.connect() as connection:
            connection.execution_options(begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    def migrate(self) -> None:
        """Bring the schema up to date, once per process, under a lock that all processes share."""
        if self._migrated:
            return
        with self._one_at_a_time:
            if not self._migrated:
                _migrate(self.engine)
                self._migrated = True

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Make the door to the database at `url` (Settings.database_url); it connects when used."""
    normal = normalise_url(url)
    # hide_parameters: customers' words must not travel to the log inside an exception.
    if normal.get_backend_name() == "sqlite":
        engine = sa.create_engine(
            normal,
            hide_parameters=True,
            # autocommit off the driver: SQLAlchemy's begin event below says when and how.
            connect_args={"isolation_level": None, "timeout": 2.0},
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    else:
        engine = sa.create_engine(
            normal,
            hide_parameters=True,
            pool_pre_ping=True,
            # A later snapshot for each statement: what is read under a lock is what its last holder
            # committed, whatever default the server was given.
            isolation_level="READ COMMITTED",
            pool_timeout=3,
            connect_args={
                "connect_timeout": 3,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": 5_000,
                "application_name": "review-collector",
                "client_encoding": "utf8",
                # A worker frozen inside a transaction must give its contacts back.
                "options": "-c timezone=UTC -c statement_timeout=5000 -c lock_timeout=4000"
                " -c idle_in_transaction_session_timeout=10000",
            },
        )
    return Database(engine)


def normalise_url(url: str) -> URL:
    """Name the psycopg2 driver, and resolve a relative SQLite path beside this file."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.set(database=str(FOLDER / (parsed.database or "")))
    return parsed.set(drivername="postgresql+psycopg2")


def _set_pragmas(driver_connection: Any, _record: Any) -> None:
    # FULL: a commit is on disk before the reply that tells of it (https://sqlite.org/pragma.html).
    driver_connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _migrate(engine: Engine) -> None:
    version = _schema_version(engine)
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
        # WAL is a property of the file, and can't be chosen inside a transaction.
        with closing(engine.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA journal_mode=WAL")
    config = Config()
    config.set_main_option("script_location", str(FOLDER / "migrations"))
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1919247729, 1)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _schema_version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return version
