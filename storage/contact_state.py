"""Lock contacts, on PostgreSQL; on SQLite a transaction that writes locks out all other writers.

Whatever writes or erases a contact's words takes the contact's lock first, then reads: under READ
COMMITTED each statement sees what was committed before it, so it sees what the last holder wrote.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.advisory_locks import CONTACT_SEED

_TRY_LOCK = sa.text(
    "SELECT contact FROM unnest(CAST(:contacts AS text[])) AS contact"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(contact, :seed))"
).bindparams(seed=CONTACT_SEED)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:contact, :seed))").bindparams(
    seed=CONTACT_SEED
)


def try_lock(connection: Connection, contacts: Collection[str]) -> Collection[str]:
    """Lock the contacts that are free until the transaction ends; return those.

    It never waits, so it can't deadlock.
    """
    if connection.dialect.name == "sqlite" or not contacts:
        return contacts
    return connection.scalars(_TRY_LOCK, {"contacts": sorted(contacts)}).all()


def lock(connection: Connection, contact: str) -> None:
    """Lock a contact until the transaction ends; wait while another transaction has the lock.

    It must be the first lock of its transaction, or two transactions could wait for each other.
    Raises OperationalError after PostgreSQL's lock_timeout.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"contact": contact})
