"""The servers that are measured against each other, each a fresh process on a fresh database."""

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.check import check
from bench.traffic import API_KEY, PUBLIC_URL, TOKEN, Tally, Void
from db.engine import open_database
from simulator.fake_twilio import ACCOUNT_SID
from tests.support.databases import Postgres, Valkey
from tests.support.servers import Uvicorn, wait_until


@dataclass(frozen=True, slots=True)
class Subject:
    """An app to serve with one uvicorn worker; `database` is None where it keeps nothing."""

    name: str
    app: str = "main:app"
    database: str | None = None
    store: str = ""

    @property
    def is_ours(self) -> bool:
        return self.app == "main:app"


BARE = Subject("asgi", "bench.bare:app")
NOOP = Subject("noop", "bench.noop:app")
TUTORIAL = Subject("tutorial", "bench.tutorial:app", "sqlite")
OURS = [
    Subject(f"{database} {store}", database=database, store=store)
    for database in ("sqlite", "postgresql")
    for store in ("database", "memory", "redis")
]
SQLITE, SQLITE_IN_MEMORY, POSTGRESQL = OURS[0], OURS[1], OURS[3]
SUBJECTS = [BARE, NOOP, TUTORIAL, *OURS]


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that serves."""

    subject: Subject
    server: Uvicorn
    url: str

    def megabytes(self) -> float:
        """Read how much memory its only worker has, as Linux tells."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def require_recorded(self, tally: Tally) -> None:
        """Compare the database with what was sent. Raises Void."""
        if self.subject.database is None:
            return
        self._require_count("reviews", tally.least_reviews, tally.most_reviews)
        if self.subject.is_ours:
            self._require_count("messages", tally.messages, tally.messages + tally.unanswered)
            database = open_database(self.url)
            problems = check(database).problems
            database.close()
            if problems:
                raise Void(f"{self.subject.name}: {problems[0]}")

    def _require_count(self, kind: str, least: int, most: int) -> None:
        count = self.count(kind)
        if not least <= count <= most:
            raise Void(f"{self.subject.name}: {count} {kind}, not {least} to {most}")

    def count(self, kind: str) -> int:
        """Count the reviews or the messages in its database."""
        database = open_database(self.url)
        try:
            with database.engine.connect() as connection:
                return int(connection.scalar(sa.text(f"SELECT count(*) FROM {kind}")) or 0)
        finally:
            database.close()


class Laboratory:
    """Where subjects run: a folder, PostgreSQL on disk, Valkey, and a core for the one measured.

    Where there are two cores, the subject has the first to itself; PostgreSQL, Valkey and who
    sends the requests share the others. Linux only: other systems don't tell or take cores.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cores = os.sched_getaffinity(0)
        self._subjects_cores = {min(self._cores)}
        if len(self._cores) > 1:  # the servers started here inherit it
            os.sched_setaffinity(0, self._cores - self._subjects_cores)
        self._postgres = Postgres(is_durable=True).start()
        self._valkey = Valkey().start()

    def close(self) -> None:
        self._valkey.kill()
        self._postgres.close()

    @contextmanager
    def serve(
        self,
        subject: Subject,
        workers: int = 1,
        url: str | None = None,
        *,
        has_a_core: bool = True,
    ) -> Iterator[Running]:
        """Serve a subject, signatures checked where it can, for as long as the block does.

        Without the `url` of a database it gets a new one; without a core it shares all of them.
        """
        url = url or self.new_database(subject)
        server = Uvicorn(
            self.folder / f"{subject.name}.log",
            workers,
            subject.app,
            ENVIRONMENT="production",
            DATABASE_URL=url,
            CONVERSATION_STORE=subject.store,
            REDIS_URL=self._valkey.url,
            TWILIO_AUTH_TOKEN=TOKEN,
            TWILIO_ACCOUNT_SID=ACCOUNT_SID,
            PUBLIC_URL=PUBLIC_URL,
            API_KEY=API_KEY,
            SECRET_KEY=2 * API_KEY,
            LOG_LEVEL="",  # whoever measures may have set these
            CORS_ORIGINS="",
            RETENTION_DAYS="",
            CONVERSATION_TTL_HOURS="",
        )
        cores = self._subjects_cores if has_a_core else self._cores
        os.sched_setaffinity(server.process.pid, cores)
        try:
            wait_until(lambda: server.is_up() if subject.is_ours else accepts(server.port))
            yield Running(subject, server, url)
        finally:
            server.stop()

    def new_database(self, subject: Subject) -> str:
        """Make an empty database of the subject's kind, and have Valkey forget everything."""
        name = f"bench_{uuid.uuid4().hex}"
        with redis.Redis.from_url(self._valkey.url) as client:
            client.flushall()
        if subject.database == "postgresql":
            self._postgres.run_sql(f"CREATE DATABASE {name}")
            return self._postgres.url(name)
        return f"sqlite:///{self.folder / name}.db"

    @contextmanager
    def filling(self, subject: Subject) -> Iterator[tuple[str, Connection]]:
        """Yield a new database with our tables, and a transaction that takes its time."""
        url = self.new_database(subject)
        database = open_database(url)
        with database.write() as connection:
            if not database.is_sqlite:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield url, connection
        if not database.is_sqlite:  # as its own autovacuum does before long
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM ANALYZE")
        database.close()


@contextmanager
def open_laboratory() -> Iterator[Laboratory]:
    """Make a laboratory in a temporary folder, and end its servers after the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        laboratory = Laboratory(Path(folder))
        try:
            yield laboratory
        finally:
            laboratory.close()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
