"""Lock contacts.

Whatever writes or erases a contact's words takes the contact's lock first, then reads. Each
statement of PostgreSQL sees what was committed before it (READ COMMITTED), so a read under the
lock sees what its last holder committed. On SQLite a writing transaction is the lock of everybody.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_TRY_LOCK = sa.text(
    "SELECT contact FROM unnest(CAST(:contacts AS text[])) AS contact"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(contact, 0))"
)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:contact, 0))")


def try_lock(connection: Connection, contacts: Collection[str]) -> Collection[str]:
    """Lock those contacts that nobody else has locked until the transaction ends; return them.

    Trying never waits, so it can't deadlock. COMMIT, ROLLBACK and a lost connection release.
    """
    if connection.dialect.name == "sqlite" or not contacts:
        return contacts
    return connection.scalars(_TRY_LOCK, {"contacts": sorted(contacts)}).all()


def lock(connection: Connection, contact: str) -> None:
    """Lock a contact until the transaction ends; wait while another transaction has it.

    The first lock of a transaction, or two could wait for each other. Raises OperationalError
    after PostgreSQL's lock_timeout.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"contact": contact})
