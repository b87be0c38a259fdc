"""Copy the SQLite database to a file, also while the service runs."""

import sqlite3
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path

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

NAMES_OF_SQLITE = ("-journal", "-wal", "-shm")
"""The endings of the files that SQLite keeps beside the database."""


def back_up(database: Path, copy: Path) -> int:
    """Copy the database as it is at this moment; return how many reviews it had.

    Writers don't wait meanwhile: https://sqlite.org/backup.html. Raises Refused where `copy`
    exists, and sqlite3.Error or OSError where one of the two can't be read or written.
    """
    require_new(copy)
    if not database.is_file():
        raise Refused(f"There is no database {database} yet.")
    if copy.resolve() in [Path(f"{database}{end}") for end in NAMES_OF_SQLITE]:
        raise Refused(f"{copy} is a name that the database itself uses.")
    with closing(open_file(database)) as source:
        reviews = require_sound(source, database)
        copy_database(source, copy)
    return reviews


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the copy; it must not exist yet")


def run(options: Namespace, settings: Settings) -> int:
    database = sqlite_file(settings)
    try:
        reviews = back_up(database, options.file)
    except (sqlite3.Error, OSError) as error:
        raise CommandError(f"The backup failed: {describe(error)}") from None
    tell(f"Backed up {reviews} reviews to {options.file}. Keep it as safe as the database.")
    return 0
