"""Check the database itself: an undamaged file, readable text, and all unique keys."""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db import utf8_check
from db.engine import Database
from models import Base


def problems(database: Database) -> Iterator[str]:
    """Yield a sentence for each problem. Reads all rows. Raises one of TRANSIENT_ERRORS."""
    with database.read() as connection:
        if database.is_sqlite:
            yield from _damage(connection)
            yield from utf8_check.problems(connection)
        yield from _missing_keys(connection)


def _damage(connection: Connection) -> Iterator[str]:
    """Run SQLite's check: an index that lacks rows would let a message in twice."""
    for found in connection.exec_driver_sql("PRAGMA integrity_check(100)").scalars():
        if found != "ok":
            yield f"the file is damaged: {found}"


def _missing_keys(connection: Connection) -> Iterator[str]:
    """Find unique keys that are missing, for example after an incomplete restore."""
    inspector = sa.inspect(connection)
    for table in Base.metadata.sorted_tables:
        existing = [inspector.get_pk_constraint(table.name)["constrained_columns"]]
        existing += [each["column_names"] for each in inspector.get_unique_constraints(table.name)]
        unique = (each for each in table.constraints if isinstance(each, sa.UniqueConstraint))
        for key in (table.primary_key, *unique):
            columns = [column.name for column in key.columns]
            if columns not in existing:
                yield f"the table {table.name} has no unique key ({', '.join(columns)})"
