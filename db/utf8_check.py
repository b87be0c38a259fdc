"""Find text in SQLite that is not UTF-8: SQLite keeps any bytes as text, Python can't read them.

This program writes UTF-8 alone, so another one must have written such a row. Most come with a table
that is adopted, so the migrations read everything and refuse. An ordinary start does not look: it
would take seconds for a million rows, and a row that comes later concerns its own contact alone.
"""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Connection

TABLES = ("reviews", "messages", "conversations")

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def problems(connection: Connection) -> Iterator[str]:
    """Yield where such text is: table, rowid and column, never the text. Reads every row."""
    raw: Any = connection.connection.driver_connection
    factory, raw.text_factory = raw.text_factory, _decode
    try:
        there = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
        for table in (table for table in TABLES if table in there):
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
