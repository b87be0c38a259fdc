"""Put a copy that `run.py backup` made in the place of the SQLite database."""

import sqlite3
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from audit.check import check
from cli.command_error import CommandError
from cli.sqlite_copy import (
    Refused,
    copy_database,
    open_file,
    require_new,
    require_sound,
    sqlite_file,
)
from core.console import tell
from core.logs import describe
from core.settings import Settings
from db import integrity
from db.engine import open_database
from db.errors import TRANSIENT_ERRORS, StartupError


def restore(copy: Path, database: Path) -> Path | None:
    """Put a copy in the place of the database; return the file where that one is kept, if any.

    Raises Refused where `copy` is no backup, or anything has the database open; sqlite3.Error or
    OSError where one of the two can't be read or written. Then the database is as it was.
    """
    if not copy.is_file():
        raise Refused(f"There is no file {copy}.")
    if database.exists() and copy.samefile(database):
        raise Refused(f"{copy} is the database itself.")
    with closing(open_file(copy, "ro")) as source:
        require_sound(source, copy)
        _try_out(source, database.parent)
        if not database.exists():
            # SQLite would take what a lost database left in them for changes to the new one.
            for end in ("-wal", "-journal"):
                require_new(database.with_name(database.name + end))
            copy_database(source, database)
            with closing(open_file(database)) as target:
                target.execute("PRAGMA journal_mode=WAL")
            return None
        now = datetime.now(UTC)
        kept = database.with_name(f"{database.name}.{now:%Y%m%dT%H%M%S.%f}.replaced")
        with closing(open_file(database)) as target, _alone_in(target):
            copy_database(target, kept)
            try:
                source.backup(target)  # one transaction: all of it or nothing, whatever crashes
            except BaseException:
                with suppress(sqlite3.Error):  # else it may be the only sound one
                    if target.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",):
                        kept.unlink()
                raise
    return kept


def _try_out(source: sqlite3.Connection, folder: Path) -> None:
    """Bring a copy of the copy up to date, and check its log. Raises Refused where that fails."""
    with tempfile.TemporaryDirectory(prefix="restore-", dir=folder) as beside:
        trial = Path(beside) / "trial.db"
        copy_database(source, trial)
        database = open_database(f"sqlite:///{trial}")
        try:
            unsound = [*integrity.problems(database)]
            check(database)
        except (StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
            raise Refused(f"It can't be used: {describe(error)}") from None
        finally:
            database.close()
    if unsound:
        raise Refused(f"It can't be used: {unsound[0]}")


@contextmanager
def _alone_in(database: sqlite3.Connection) -> Iterator[None]:
    """Keep everybody else out of a database, idle connections too."""
    try:
        database.execute("PRAGMA synchronous=FULL")
        # SQLite leaves WAL mode only where no other connection is open.
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise
        raise Refused(f"Something has the database open ({error}): stop the service.") from None
    except sqlite3.DatabaseError as error:
        raise Refused(
            f"The database that is there can't be kept ({error}): move it and its -wal file away."
        ) from None
    try:
        yield
    finally:
        database.execute("PRAGMA locking_mode=NORMAL")
        database.execute("PRAGMA journal_mode=WAL")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the copy to put back")


def run(options: Namespace, settings: Settings) -> int:
    file = sqlite_file(settings)
    try:
        kept = restore(options.file, file)
    except (sqlite3.Error, OSError, StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        raise CommandError(f"The restore failed: {describe(error)}") from None
    tell(f"Restored from {options.file}.")
    if kept is not None:
        tell(f"What was there before is kept in {kept}.")
    with closing(open_database(settings.database_url)) as database:
        found = check(database)
    tell(f"It has {found.reviews} reviews and {found.messages} messages.")
    if found.problems:
        raise CommandError("It has problems: python3 run.py check-data lists them.")
    return 0
