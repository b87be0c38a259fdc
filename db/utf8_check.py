"""Find text in SQLite that is not UTF-8: SQLite stores any bytes as text, Python can't read them.

Only another program can have written such a row. Most come with a table that is adopted, so the
migrations read all rows and refuse. An ordinary start does not look: it would take seconds for a
million rows, and a row that comes later affects only its own contact.
"""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Connection

TABLES = ("reviews", "messages", "conversations")

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def problems(connection: Connection) -> Iterator[str]:
    """Yield the table, rowid and column of each such text, never the text. Reads all rows."""
    raw: Any = connection.connection.driver_connection
    factory, raw.text_factory = raw.text_factory, _decode
    try:
        existing = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
        for table in (table for table in TABLES if table in existing):
            rows = raw.execute(f"SELECT rowid AS the_rowid, * FROM {table}")  # noqa: S608
            columns = [column for column, *_ in rows.description]
            for row in rows:
                for column, value in zip(columns[1:], row[1:], strict=True):
                    if _is_broken(value):
                        yield f"table {table}, rowid {row[0]}, column {column}: no UTF-8"
    finally:
        raw.text_factory = factory


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _is_broken(value: Any) -> bool:
    is_text = isinstance(value, str) and not value.isascii()
    return is_text and _ESCAPED_BYTE.search(value) is not None
