"""Check an earlier program's table `reviews` before its rows are adopted."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import RowMapping
from sqlalchemy.engine import Connection

MAX_NAMED = 5
"""How many values an error message names."""

TEXTS = ("contact_number", "user_name", "product_name", "product_review", "status")

_OF_THE_PROGRAM = re.compile(
    r'CREATE INDEX (?:IF NOT EXISTS )?"?ix_reviews_(\w+)"? ON (?:\S+\.)?"?reviews"?'
    r'(?: USING btree)? ?\("?\1"?\)'
)
"""An index of the earlier program itself. It is dropped with the table."""

_SQLITE_OBJECTS = """
    SELECT type, name, sql FROM sqlite_master WHERE type = 'index' AND lower(tbl_name) = 'reviews'
        AND sql IS NOT NULL
    UNION ALL
    SELECT type, name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')
    UNION ALL
    SELECT 'foreign key of the table', tables.name, 'reviews'
    FROM sqlite_master AS tables, pragma_foreign_key_list(tables.name) AS keys
    WHERE tables.type = 'table' AND lower(keys."table") = 'reviews'
"""

_POSTGRESQL_OBJECTS = """
    SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = 'reviews'::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION ALL
    SELECT DISTINCT 'view', ev_class::regclass::text, 'reviews' FROM pg_rewrite
    JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
    WHERE refobjid = 'reviews'::regclass AND ev_class <> refobjid
    UNION ALL
    SELECT 'rule', rulename, 'reviews' FROM pg_rewrite WHERE ev_class = 'reviews'::regclass
    UNION ALL
    SELECT 'trigger', tgname, 'reviews' FROM pg_trigger
    WHERE tgrelid = 'reviews'::regclass AND NOT tgisinternal
    UNION ALL
    SELECT 'foreign key of the table', conrelid::regclass::text, 'reviews' FROM pg_constraint
    WHERE contype = 'f' AND confrelid = 'reviews'::regclass
"""


def require_nothing_else(connection: Connection) -> None:
    """Raise CommandError if the owner made something on the table that would be lost."""
    is_sqlite = connection.dialect.name == "sqlite"
    objects = connection.exec_driver_sql(_SQLITE_OBJECTS if is_sqlite else _POSTGRESQL_OBJECTS)
    found = [
        f"{kind} {name}"
        for kind, name, sql in objects
        if re.search(r"\breviews\b", sql, re.IGNORECASE)
        and not (kind == "index" and _OF_THE_PROGRAM.fullmatch(" ".join(sql.split())))
    ]
    if found:
        raise CommandError(
            "The database has a table reviews of an earlier program, with objects that would be"
            f" lost: {', '.join(sorted(found))}. Save their definitions, drop them, then start"
            " again. You can make them again afterwards; the table gets more columns. Nothing was"
            " changed."
        )


class OddValues:
    """Collects values of the earlier program's rows that can't be read, by place and kind."""

    def __init__(self) -> None:
        self._count = 0
        self._named: list[str] = []

    def find(self, row: RowMapping) -> bool:
        """Say whether a row has such values, and remember them."""
        found = [*_odd_values(row)]
        self._count += len(found)
        self._named = (self._named + found)[:MAX_NAMED]
        return bool(found)

    def refuse(self) -> None:
        """Raise CommandError if any were found."""
        if self._count:
            more = self._count - len(self._named)
            raise CommandError(
                "The table reviews of an earlier program has values that can't be read:"
                f" {'; '.join(self._named)}{f'; and {more} more' if more else ''}. A time is read"
                " as in 2025-01-31 15:04:05, in UTC if it names no zone; NULL stands for the time"
                " of the start. Change these values, then start again. Nothing was changed."
            )


def _odd_values(row: RowMapping) -> Iterator[str]:
    place = f"id {row['id']}" if isinstance(row["id"], int) else "a row without a number as id"
    for column in TEXTS:
        if not isinstance(row[column], str | None):
            yield f"{place}, {column}: {_kind_of(row[column])}"
    try:
        as_utc(row["created_at"])
    except (TypeError, ValueError, OverflowError):
        yield f"{place}, created_at: {_kind_of(row['created_at'])}"


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "a text that is no ISO 8601 time" if value.strip() else "an empty text"
    if isinstance(value, int | float):
        return "a number"
    return "bytes" if isinstance(value, bytes | memoryview) else type(value).__name__


def as_utc(time: datetime | date | str | None) -> datetime | None:
    """Return a time in UTC; one without a zone is UTC.

    Raises TypeError, ValueError or OverflowError.
    """
    if time is None:
        return None
    if isinstance(time, date) and not isinstance(time, datetime):
        time = time.isoformat()
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if not isinstance(time, datetime):
        raise TypeError("not a time")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def read_rows(connection: Connection) -> sa.CursorResult[Any]:
    """Read the rows by id. PostgreSQL's times are read as text: Python has no dates BC."""
    time = "created_at" if connection.dialect.name == "sqlite" else "CAST(created_at AS TEXT)"
    columns = ", ".join(("id", *TEXTS, f"{time} AS created_at"))
    return connection.execute(sa.text(f"SELECT {columns} FROM adopted_reviews ORDER BY id"))  # noqa: S608
