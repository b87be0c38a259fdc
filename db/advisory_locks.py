"""PostgreSQL's advisory locks: every number that this program locks, so that no two clash.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS. COMMIT, ROLLBACK and
a lost connection release them. SQLite needs none: a transaction that writes locks the whole file.

There are two spaces of numbers that never meet: pairs of 32-bit numbers, for AdvisoryLock, and
64-bit numbers, for contacts: storage.contact_state hashes them with CONTACT_SEED.
"""

from enum import IntEnum, unique

import sqlalchemy as sa
from sqlalchemy.engine import Connection

NAMESPACE = 1919247729
"""The first number of each pair, as in version 1: other programs may use the same database."""

CONTACT_SEED = 0
"""The seed of `hashtextextended(contact, seed)`. Workers that run side by side must agree on it."""


@unique
class AdvisoryLock(IntEnum):
    """The second number of each pair. 2 was version 1's and is not given again."""

    MIGRATION = 1
    RETENTION = 3


_LOCK = sa.text("SELECT pg_advisory_xact_lock(:namespace, :number)")
_TRY_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(:namespace, :number)")


def lock(connection: Connection, which: AdvisoryLock) -> None:
    """Lock until the transaction ends; wait while another transaction has the lock.

    Raises OperationalError after PostgreSQL's lock_timeout.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK, {"namespace": NAMESPACE, "number": which.value})


def try_lock(connection: Connection, which: AdvisoryLock) -> bool:
    """Lock until the transaction ends, without waiting; return whether the lock was free."""
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.scalar(_TRY_LOCK, {"namespace": NAMESPACE, "number": which.value}))
