"""Advisory locks: one holder at a time, until its transaction ends."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from db import advisory_locks
from db.advisory_locks import AdvisoryLock
from db.engine import Database, open_database
from storage import contact_state


@pytest.fixture
def workers(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    """The same PostgreSQL database, opened as two workers do."""
    one, two = open_database(postgres_url), open_database(postgres_url)
    yield one, two
    one.close()
    two.close()


@pytest.mark.parametrize("which", AdvisoryLock)
def test_a_lock_has_one_holder_until_its_transaction_ends(
    workers: tuple[Database, Database], which: AdvisoryLock
) -> None:
    one, two = workers
    with one.write() as holder, two.write() as other:
        advisory_locks.lock(holder, which)
        assert not advisory_locks.try_lock(other, which)
    with two.write() as other:
        assert advisory_locks.try_lock(other, which)


def test_locks_do_not_exclude_each_other(workers: tuple[Database, Database]) -> None:
    one, two = workers
    with one.write() as holder, two.write() as other:
        advisory_locks.lock(holder, AdvisoryLock.MIGRATION)
        assert advisory_locks.try_lock(other, AdvisoryLock.RETENTION)
        assert contact_state.try_lock(other, ["+15551234567"]) == ["+15551234567"]


def test_a_wait_for_a_lock_ends_with_an_error(workers: tuple[Database, Database]) -> None:
    one, two = workers
    with one.write() as holder, two.write() as other:
        advisory_locks.lock(holder, AdvisoryLock.RETENTION)
        other.exec_driver_sql("SET LOCAL lock_timeout = 50")
        with pytest.raises(sa.exc.OperationalError):
            advisory_locks.lock(other, AdvisoryLock.RETENTION)


def test_sqlite_needs_no_lock(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with database.write() as connection:
        advisory_locks.lock(connection, AdvisoryLock.MIGRATION)
        assert advisory_locks.try_lock(connection, AdvisoryLock.RETENTION)
    database.close()
