"""Copy whole SQLite databases: what `run.py backup` and `run.py restore` share."""

import os
import shlex
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from cli.command_error import CommandError
from core.logs import describe
from core.settings import Settings
from db.engine import name_of, open_database
from db.schema import SCHEMA_VERSION


class Refused(CommandError):
    """Nothing has been changed; the text says why, and what to do."""


def sqlite_file(settings: Settings) -> Path:
    """Tell where the database lies. Raises Refused for PostgreSQL, which has its own programs."""
    file = open_database(settings.database_url).file
    if file is not None:
        return file
    place = shlex.quote(name_of(settings.database_url))
    raise Refused(
        f"The database is PostgreSQL, which has its own programs for that:\n"
        f"  pg_dump --format=custom --file=FILE {place}\n"
        f"  pg_restore --clean --if-exists --single-transaction --dbname={place} FILE"
    )


def open_file(file: Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)


def copy_database(source: sqlite3.Connection, copy: Path) -> None:
    """Copy under another name, then rename: a file that has the name of the copy is complete."""
    handle, name = tempfile.mkstemp(prefix=f"{copy.name}.", suffix=".partial", dir=copy.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with closing(open_file(partial)) as target:
            target.execute("PRAGMA synchronous=FULL")
            target.execute("PRAGMA journal_mode=OFF")  # what fails here is thrown away
            source.backup(target)  # in one step, so of one moment
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it
        require_new(copy)
        partial.rename(copy)
    finally:
        partial.unlink(missing_ok=True)


def require_new(file: Path) -> None:
    if file.exists():
        raise Refused(f"{file} already exists: choose another name, or move that file away.")
    if not file.parent.is_dir():
        raise Refused(f"There is no folder {file.parent}.")


def require_sound(connection: sqlite3.Connection, file: Path) -> int:
    """Count the reviews. Raises Refused where the file isn't an intact database of ours."""
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
            f"{file} is not an intact database of this program: {describe(error)}"
        ) from None
    if state != "ok":
        raise Refused(f"{file} is damaged: {state}")
    if version > SCHEMA_VERSION:
        raise Refused(f"{file} is from a newer program (schema {version}): install that first.")
    return int(reviews)
