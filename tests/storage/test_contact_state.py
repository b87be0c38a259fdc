"""Contacts' locks: who writes or erases waits for the others."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Event

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from db.engine import Database, open_database
from db.errors import TRANSIENT_ERRORS
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from privacy import erasure
from storage import contact_state
from storage.end_cache import NoCache
from tests.ingest.conftest import ANA, BEN, TTL, message, tell_in_turn
from tests.support.servers import wait_until

Worker = Callable[[], Database]


@pytest.fixture
def worker(postgres_url: str) -> Iterator[Worker]:
    """A function that opens the same PostgreSQL database as another worker does."""
    with ExitStack() as opened:

        def open_one() -> Database:
            database = open_database(postgres_url)
            opened.callback(database.close)
            return database

        yield open_one


def write_reviews(database: Database, *contacts: str, first: int = 1) -> None:
    writer = MessageWriter(database, NoCache(), TTL)
    for number, contact in enumerate(contacts):
        sid = first + 4 * number
        tell_in_turn(writer, *(message(sid + n, contact=contact) for n in range(4)))
    writer.close()


def test_a_contact_that_another_worker_has_locked_is_left_out(worker: Worker) -> None:
    with worker().write() as first, worker().write() as second:
        assert contact_state.try_lock(first, [ANA]) == [ANA]
        assert contact_state.try_lock(second, [ANA, BEN]) == [BEN]
    with worker().write() as later:
        assert sorted(contact_state.try_lock(later, [ANA, BEN])) == [ANA, BEN]


def test_a_lost_session_releases_its_contacts(worker: Worker) -> None:
    one, two = worker(), worker()
    with suppress(*TRANSIENT_ERRORS), one.write() as lost:
        contact_state.lock(lost, ANA)
        pid = lost.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        with two.write() as connection:
            ended = {"pid": pid}
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), ended)
            assert contact_state.try_lock(connection, [ANA]) == [ANA]


def test_sqlite_has_one_writer_at_a_time(sqlite_url: str) -> None:
    one, two = open_database(sqlite_url), open_database(sqlite_url)
    with one.write() as connection:
        assert contact_state.try_lock(connection, [ANA]) == [ANA]
        with pytest.raises(TRANSIENT_ERRORS), two.write():
            pass
    one.close()
    two.close()


def is_waiting_for_a_lock(database: Database) -> bool:
    query = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    with database.read() as connection:
        return bool(connection.scalar(sa.text(query)))


ERASURES: dict[str, Callable[[Database], object]] = {
    "a review": lambda database: erasure.erase_review(database, 1),
    "a contact": lambda database: erasure.erase_contact(database, ANA, ""),
}


@pytest.mark.parametrize("what", ERASURES)
def test_an_erasure_waits_for_whoever_writes_to_the_contact(worker: Worker, what: str) -> None:
    answering, owner = worker(), worker()
    write_reviews(answering, ANA, BEN)
    with ThreadPoolExecutor(1) as pool:
        erased: Future[object]
        with answering.write() as connection:
            contact_state.lock(connection, ANA)
            erased = pool.submit(ERASURES[what], owner)
            wait_until(lambda: is_waiting_for_a_lock(answering))
            assert erasure.erase_contact(worker(), BEN, "") is not None  # others don't wait
            assert not erased.done()
        assert erased.result(timeout=10)


@pytest.mark.parametrize("what", ERASURES)
def test_an_erasure_that_waits_too_long_changes_nothing(worker: Worker, what: str) -> None:
    answering, owner = worker(), worker()
    write_reviews(answering, ANA)

    @sa.event.listens_for(owner.engine, "begin")
    def _hurry(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 50")

    with answering.write() as connection:
        contact_state.lock(connection, ANA)
        with pytest.raises(OperationalError):
            ERASURES[what](owner)
    with owner.read() as connection:
        assert connection.scalar(sa.select(sa.func.count(Review.id))) == 1
        assert connection.scalars(sa.select(LoggedMessage.erased_at).distinct()).all() == [None]


def test_erasing_a_review_and_its_customer_at_once_ends_for_both(worker: Worker) -> None:
    for turn in range(10):
        write_reviews(worker(), ANA, first=1 + 4 * turn)
        with worker().read() as connection:
            review = connection.scalars(sa.select(Review.id)).one()
        both = Event()

        def erase(action: Callable[[], object], go: Event = both) -> object:
            go.wait(10)
            return action()

        with ThreadPoolExecutor(2) as owners:
            one = owners.submit(erase, lambda id_=review: erasure.erase_review(worker(), id_))  # type: ignore[misc]
            other = owners.submit(erase, lambda: erasure.erase_contact(worker(), ANA, ""))
            both.set()
            one.result(timeout=10)
            assert other.result(timeout=10) is not None
