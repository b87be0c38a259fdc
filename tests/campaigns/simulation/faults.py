"""Where a schedule may go wrong: at every statement, around every COMMIT, in Redis."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.campaigns.simulation.choices import Choices
from tests.campaigns.simulation.virtual import Process, sleep

BUSY_SECONDS = 2.0
"""How long SQLite itself would wait for another process's transaction (db.engine.open_database)."""


LOST, REDIS, STUCK = "COMMITs of unknown outcome", "troubles with Redis", "stuck writers"


class Crashed(BaseException):
    """The process is dead, and goes no further."""


class Trouble:
    """What the choices let go wrong; nothing any more once it is over."""

    def __init__(self, choices: Choices, tell: Callable[[str, str], None], loop: Any) -> None:
        self._choices, self._tell, self._loop = choices, tell, loop
        self.is_over = False
        self.away_until = 0.0
        """The database is away until then."""
        self.writing: Process | None = None
        """Who has SQLite's lock."""
        self.redis_away_until = 0.0

    def end(self) -> None:
        """Let nothing go wrong any more."""
        self.is_over = True
        self.away_until = self.redis_away_until = 0.0

    # Around the statements of a process's threads.

    def before(self, process: Process, statement: str) -> None:
        """Come between two statements: pause, fail, or end the process."""
        self._require_life(process)
        if self.is_over:
            return
        what = statement.partition("(")[0].strip().replace("\n", " ")[:40]
        match self._choices.pick(120, 12, 1, 1, 1):
            case 1:
                sleep(self._choices.one_of(0.001, 0.01, 0.1))
            case 2:
                seconds = self._choices.one_of(0.5, 1.5, 4.0, 7.0, 20.0)
                self._tell(
                    f"{process.name} is stuck for {seconds} s before {what}", "stuck writers"
                )
                sleep(seconds)
            case 3:
                self.away_until = self._loop.time() + self._choices.one_of(0.0, 0.5, 4.0, 30.0)
                self._tell(f"the database is away until {self.away_until:.1f}", "outages")
            case 4:
                self._tell(f"{process.name} is killed before {what}", "killed workers")
                process.kill()
        self._require_life(process)
        if self._loop.time() < self.away_until:
            raise failure(sqlite3.SQLITE_IOERR, statement)
        if statement == "BEGIN IMMEDIATE":
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        end = self._loop.time() + BUSY_SECONDS
        pause = 0.002
        while self.writing is not None and self._loop.time() < end:
            sleep(pause)
            pause = min(2 * pause, 0.1)  # about as SQLite does (sqliteDefaultBusyCallback)

    def commit(self, process: Process, really: Callable[[], None]) -> None:
        """Commit, or fail before or after that, or end the process."""
        self._require_life(process)
        choice = 0 if self.is_over else self._choices.pick(60, 10, 1, 1, 1, 1, 1, 1)
        if choice == 1:
            sleep(self._choices.one_of(0.001, 0.05, 1.0))
        elif choice == 2:
            seconds = self._choices.one_of(4.0, 7.0, 20.0)
            self._tell(f"{process.name} is stuck for {seconds} s in its COMMIT", STUCK)
            sleep(seconds)
        elif choice == 3:
            self._tell(f"{process.name} is killed before COMMIT", "killed workers")
            process.kill()
        elif choice == 4:
            self._tell(f"{process.name}'s COMMIT fails: the disk is full", "failed COMMITs")
            raise failure(sqlite3.SQLITE_FULL, "COMMIT")
        elif choice == 5:
            self._tell(f"{process.name}'s COMMIT fails, and looks as if it might not", LOST)
            raise failure(sqlite3.SQLITE_IOERR, "COMMIT")
        self._require_life(process)
        really()
        if choice == 6:
            self._tell(f"{process.name} is killed after COMMIT", "killed workers")
            process.kill()
            self._require_life(process)
        elif choice == 7:
            self._tell(f"{process.name}'s COMMIT happens, and the answer to it is lost", LOST)
            raise failure(sqlite3.SQLITE_IOERR, "COMMIT")

    def _require_life(self, process: Process) -> None:
        if process.is_dead:
            raise Crashed

    # Redis.

    def redis(self, process: Process, really: Callable[[], Any], forget: Callable[[], None]) -> Any:
        """Ask Redis, or fail before or after that; Redis may forget everything."""
        self._require_life(process)
        choice = 0 if self.is_over else self._choices.pick(60, 10, 1, 1, 1, 1)
        if choice == 1:
            sleep(self._choices.one_of(0.001, 0.1))
        elif choice == 2:
            self._tell("Redis forgets everything", REDIS)
            forget()
        elif choice == 3:
            self.redis_away_until = self._loop.time() + self._choices.one_of(0.0, 3.0, 30.0)
            self._tell(f"Redis is away until {self.redis_away_until:.1f}", REDIS)
        elif choice == 4:
            self._tell(f"{process.name} is killed before it asks Redis", "killed workers")
            process.kill()
        self._require_life(process)
        if self._loop.time() < self.redis_away_until:
            raise ConnectionError("Redis is away")
        answer = really()
        if choice == 5:
            self._tell("the answer of Redis is lost", REDIS)
            raise ConnectionError("the answer is lost")
        return answer


def failure(code: int, statement: str) -> OperationalError:
    """Make the error that SQLAlchemy raises where SQLite fails with this code."""
    error = sqlite3.OperationalError("made to fail")
    error.sqlite_errorcode = code
    return OperationalError(statement, None, error)


def watch(
    engine: sa.Engine, trouble: Callable[[], Trouble], process: Callable[[], Process]
) -> None:
    """Have trouble come between the statements of an engine."""
    dialect: Any = engine.dialect
    really_commit, really_roll_back = dialect.do_commit, dialect.do_rollback

    def on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA busy_timeout=0")  # nobody sleeps in SQLite: time is virtual
        connection.execute("PRAGMA synchronous=OFF")

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        trouble().before(process(), statement)

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            trouble().writing = process()

    def end() -> None:
        if trouble().writing is process():
            trouble().writing = None

    def commit(connection: Any) -> None:
        trouble().commit(process(), lambda: really_commit(connection))
        end()

    def roll_back(connection: Any) -> None:
        really_roll_back(connection)
        end()

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)
    dialect.do_commit, dialect.do_rollback = commit, roll_back


class Redis:
    """A Redis server that keeps values for a while (storage.end_cache)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kept: dict[str, tuple[bytes, float]] = {}

    def forget(self) -> None:
        self._kept.clear()

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        now = self._loop.time()
        kept = (self._kept.get(key, (None, 0.0)) for key in keys)
        return [value if now < until else None for value, until in kept]

    def set_all(self, changes: Sequence[tuple[str, bytes, int]]) -> None:
        for key, value, milliseconds in changes:
            self._kept[key] = (value, self._loop.time() + milliseconds / 1000)
