"""A start fills in missing search texts, so that a search finds every review."""

import threading

import sqlalchemy as sa

from audit.check import check
from db.engine import Database
from ingest.writer import MessageWriter
from models import Review
from reviews import repository
from reviews.repository import fill_search_text
from storage.end_cache import NoCache
from tests.db.test_schema import insert
from tests.ingest.conftest import TTL


def insert_unfilled(database: Database, count: int) -> None:
    for _ in range(count):
        id_ = insert(database)
        with database.write() as connection:  # else check-data asks for its messages
            change = sa.update(Review).where(Review.id == id_)
            connection.execute(change.values(conversation_id=f"legacy-{id_}"))


def test_a_start_fills_in_what_is_missing(database: Database) -> None:
    insert_unfilled(database, 3)
    assert len(check(database).problems) == 3
    writer = MessageWriter(database, NoCache(), TTL)
    writer.start()
    writer.close()
    assert check(database).problems == []


def test_all_are_filled_by_several_workers_in_steps(database: Database) -> None:
    insert_unfilled(database, 5)
    workers = [threading.Thread(target=fill_search_text, args=(database, 2)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert check(database).problems == []


def test_a_start_finds_out_by_an_index_that_nothing_is_missing(database: Database) -> None:
    insert(database, search_text="lamp")
    plan = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.read() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        dialect = connection.dialect
        query = str(
            repository._UNFILLED.limit(1).compile(
                dialect=dialect, compile_kwargs={"literal_binds": True}
            )
        )
        found = str(connection.exec_driver_sql(plan + query).all())
    assert "ix_reviews_unfilled" in found
