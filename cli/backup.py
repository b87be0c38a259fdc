"""Copy the SQLite database while it is served, and put a copy back: `run.py backup`, `restore`.

PostgreSQL has pg_dump and pg_restore for that.
"""

import argparse
import os
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from audit.check import check
from core.logs import describe
from core.settings import Settings, SettingsError
from db import integrity
from db.engine import name_of, open_database
from db.errors import TRANSIENT_ERRORS, StartupError
from db.schema import SCHEMA_VERSION

NAMES_OF_SQLITE = ("-journal", "-wal", "-shm")
"""What is put behind the database's name for files that go with it."""


class Refused(Exception):
    """Nothing has been changed; the text says why, and what to do."""


def back_up(database: Path, copy: Path) -> int:
    """Copy the database as it is at this moment; return how many reviews it had.

    Nobody who writes to it waits: https://sqlite.org/backup.html. Raises Refused where `copy`
    exists, and sqlite3.Error or OSError where one of the two can't be read or written.
    """
    _require_new(copy)
    if not database.is_file():
        raise Refused(f"There is no database {database} yet.")
    if copy.resolve() in [Path(f"{database}{end}") for end in NAMES_OF_SQLITE]:
        raise Refused(f"{copy} is a name that the database needs for itself.")
    with closing(_open(database)) as source:
        reviews = _require_sound(source, database)
        _copy(source, copy)
    return reviews


def restore(copy: Path, database: Path) -> Path | None:
    """Put a copy in the place of the database; return the file where that one is kept, if any.

    Raises Refused where `copy` is no backup, or anything has the database open; sqlite3.Error or
    OSError where one of the two can't be read or written. Then the database is as it was.
    """
    if not copy.is_file():
        raise Refused(f"There is no file {copy}.")
    if database.exists() and copy.samefile(database):
        raise Refused(f"{copy} is the database itself.")
    with closing(_open(copy, "ro")) as source:
        _require_sound(source, copy)
        _try_out(source, database.parent)
        if not database.exists():
            # SQLite would take what a lost database left in them for changes to the new one.
            for end in ("-wal", "-journal"):
                _require_new(database.with_name(database.name + end))
            _copy(source, database)
            with closing(_open(database)) as target:
                target.execute("PRAGMA journal_mode=WAL")
            return None
        now = datetime.now(UTC)
        kept = database.with_name(f"{database.name}.{now:%Y%m%dT%H%M%S.%f}.replaced")
        with closing(_open(database)) as target, _alone_in(target):
            _copy(target, kept)
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
        _copy(source, trial)
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


def _open(file: Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)


def _copy(source: sqlite3.Connection, copy: Path) -> None:
    """Copy under another name first: a file with the name of the copy is a whole one."""
    handle, name = tempfile.mkstemp(prefix=f"{copy.name}.", suffix=".partial", dir=copy.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with closing(_open(partial)) as target:
            target.execute("PRAGMA synchronous=FULL")
            target.execute("PRAGMA journal_mode=OFF")  # what fails here is thrown away
            source.backup(target)  # in one step, so of one moment
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it
        _require_new(copy)
        partial.rename(copy)
    finally:
        partial.unlink(missing_ok=True)


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


def _require_new(file: Path) -> None:
    if file.exists():
        raise Refused(f"{file} exists already: take another name, or move that file away.")
    if not file.parent.is_dir():
        raise Refused(f"There is no folder {file.parent}.")


def _require_sound(connection: sqlite3.Connection, file: Path) -> int:
    """Count the reviews. Raises Refused where it is no sound database that we could use."""
    try:
        [state] = connection.execute("PRAGMA integrity_check(1)").fetchone()
        [reviews, _] = connection.execute(
            "SELECT count(*), max(product_review) FROM reviews"
        ).fetchone()
        # An earlier program's database has no version: the next start adopts it.
        if connection.execute("PRAGMA table_info(alembic_version)").fetchall():
            [version] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        else:
            version = ""
        version = str(version)
    except (sqlite3.DatabaseError, TypeError) as error:
        raise Refused(
            f"{file} is not a sound database of this program's: {describe(error)}"
        ) from None
    if state != "ok":
        raise Refused(f"{file} is damaged: {state}")
    if version > SCHEMA_VERSION:
        raise Refused(f"{file} was made by a newer program (schema {version}): install that first.")
    return int(reviews)


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("word", choices=["backup", "restore"])
    parser.add_argument("file", metavar="FILE", type=Path)
    options = parser.parse_args()
    word, copy = options.word, options.file
    try:
        settings = Settings.load()
        database = open_database(settings.database_url)
        if database.file is None:
            raise Refused(_advice_for_postgresql(settings.database_url))
        if word == "backup":
            reviews = back_up(database.file, copy)
        else:
            kept = restore(copy, database.file)
    except (SettingsError, Refused) as error:
        sys.exit(str(error))
    except (sqlite3.Error, OSError, StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        sys.exit(f"The {word} failed: {describe(error)}")
    if word == "backup":
        tell(f"Backed up {reviews} reviews to {copy}. Keep it as safe as the database.")
        return
    tell(f"Restored from {copy}.")
    if kept is not None:
        tell(f"What was there before is kept in {kept}.")
    try:
        found = check(database)
    except (StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        sys.exit(f"It can't be checked just now: {describe(error)}")
    tell(f"It has {found.reviews} reviews and {found.messages} messages.")
    if found.problems:
        sys.exit("It has problems: python3 run.py check-data tells them.")


def tell(line: str) -> None:
    print(line)  # noqa: T201 - this is what people run it for


def _advice_for_postgresql(url: str) -> str:
    place = shlex.quote(name_of(url))
    return (
        f"The database is PostgreSQL, which has programs of its own for that:\n"
        f"  pg_dump --format=custom --file=FILE {place}\n"
        f"  pg_restore --clean --if-exists --single-transaction --dbname={place} FILE"
    )


if __name__ == "__main__":
    main()
