"""`run.py doctor` on the database: its file, its schema, and whether a message can be written."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError

from cli.doctor_clocks import examine_clock
from cli.findings import Finding, others_can_read, problem
from core.logs import describe
from db import schema
from db.engine import Database, name_of
from db.errors import TRANSIENT_ERRORS, StartupError
from db.schema import SCHEMA_VERSION
from storage import message_log

MIN_FREE_BYTES = 200_000_000


def _is_read_only(file: Path) -> bool:
    """Say whether a file exists that this user can't write to; root can, whatever its mode."""
    return file.exists() and not (file.stat().st_mode & stat.S_IWUSR and os.access(file, os.W_OK))


def examine_database(database: Database, url: str) -> Iterator[Finding]:
    place = name_of(url)
    try:
        if database.file is not None:
            yield from _examine_file(database.file)
            if not database.file.exists():
                return
        version = schema.schema_version(database.engine)
        yield Finding("database", f"{place} answers")
        schema.require_unicode(database.engine)
        yield from _examine_schema(database, version)
        if version == SCHEMA_VERSION:
            with database.write() as connection:
                message_log.prove_writable(connection)
            yield Finding("database", "a message can be written")
            yield from examine_clock(database)
    except StartupError as error:
        yield problem("database", f"{place} can't be used", str(error))
    except (TypeError, ValueError, DataError) as error:  # put there by hand
        yield problem(
            "database",
            f"{place} has a value that can't be read: {type(error).__name__}",
            "python3 run.py check-data names it.",
        )
    except (OSError, DBAPIError, *TRANSIENT_ERRORS) as error:
        yield problem(
            "database",
            f"{place} can't be used: {describe(error)}",
            "Is it running, is DATABASE_URL right, may this user write there?",
        )


def _examine_file(file: Path) -> Iterator[Finding]:
    if not file.parent.is_dir():
        yield problem(
            "database", f"there is no folder {file.parent}", "Create it, or correct DATABASE_URL."
        )
        return
    if not file.exists():
        yield Finding("database", f"{file} doesn't exist yet: the first start creates it")
    elif others_can_read(file):
        yield Finding(
            "database", f"{file} can be read by other users of this machine", f"chmod 600 {file}"
        )
    for part in filter(_is_read_only, (file, Path(f"{file}-wal"), Path(f"{file}-shm"))):
        yield problem(
            "database",
            f"{part} can't be written to",
            f"Stop the service, make its user the file's owner, chmod u+w {part}, start again.",
        )
    free = shutil.disk_usage(file.parent).free
    if free < MIN_FREE_BYTES:
        yield problem(
            "database",
            f"only {free // 1_000_000} MB are free on its disk",
            "Free some space: on a full disk nothing is recorded, and customers must send again.",
        )


def _examine_schema(database: Database, version: str | None) -> Iterator[Finding]:
    if version == SCHEMA_VERSION:
        yield Finding("schema", f"up to date ({version})")
    elif version is None and not sa.inspect(database.engine).has_table("reviews"):
        yield Finding("schema", "no tables yet: the first start creates them")
    elif version is None and _columns_of_reviews(database) != EARLIER_COLUMNS:
        yield problem(
            "schema",
            "the table reviews has unknown columns: it belongs to another program",
            "Rename that table, or use another database.",
        )
    elif version is None or version < SCHEMA_VERSION:
        yield Finding(
            "schema",
            f"{version or 'from an earlier program'}; this program needs {SCHEMA_VERSION}",
            "The next start updates it; make a backup first.",
        )
    else:
        yield problem(
            "schema",
            f"{version}, from a newer program; this program needs {SCHEMA_VERSION}",
            "Install the newer program again, or restore the backup from before its update.",
        )


EARLIER_COLUMNS = {
    *("id", "contact_number", "user_name", "product_name", "product_review", "status"),
    "created_at",
}
"""The columns of an earlier program's `reviews` table that the first start adopts."""


def _columns_of_reviews(database: Database) -> set[str]:
    return {column["name"] for column in sa.inspect(database.engine).get_columns("reviews")}
