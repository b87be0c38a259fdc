"""Turns order a contact's messages; the clock, right or wrong, only dates them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from audit.check import check
from conversation.wording import GOT_PRODUCT, GREETING
from db.engine import Database, open_database
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from storage.end_cache import EndCache, NoCache, open_cache
from tests.ingest.conftest import THANKS, TTL, count, message, tell, tell_in_turn
from tests.support.databases import RunningValkey
from tests.support.replaying import differences

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
YEAR = timedelta(days=400)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(database: Database, cache: EndCache, clock: Clock) -> Iterator[MessageWriter]:
    running = MessageWriter(database, cache, TTL, clock)
    yield running
    running.close()


def read(database: Database, *columns: Any) -> list[Any]:
    """Read columns of the log in the order of turns."""
    with database.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(LoggedMessage.turn))
        return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


def require_order(database: Database) -> None:
    assert check(database, kept_for=TTL).problems == []
    assert [*differences(database, TTL)] == []


def test_a_conversation_is_idle_after_the_last_message_and_not_before(
    writer: MessageWriter, database: Database, clock: Clock
) -> None:
    tell(writer, message(1))
    clock.now += TTL
    assert tell(writer, message(2))[0].text == GOT_PRODUCT
    clock.now += TTL + timedelta(microseconds=1)
    assert tell(writer, message(3))[0].text == GREETING
    require_order(database)


def test_a_clock_that_stands_still_keeps_the_order(
    writer: MessageWriter, database: Database
) -> None:
    assert tell(writer, *map(message, range(1, 5)))[-1] == THANKS
    assert read(database, LoggedMessage.turn) == [1, 2, 3, 4]
    assert set(read(database, LoggedMessage.received_at)) == {NOON}
    require_order(database)


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(hours=3)])
def test_a_clock_that_is_set_back_leaves_a_customer_in_the_conversation(
    writer: MessageWriter, database: Database, clock: Clock, back: timedelta
) -> None:
    tell_in_turn(writer, message(1), message(2))
    clock.now -= back
    assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
    assert read(database, LoggedMessage.received_at) == [NOON, NOON, NOON - back, NOON - back]
    require_order(database)


@pytest.mark.parametrize("wrong", [YEAR, -YEAR])
def test_one_message_under_a_clock_a_year_off_is_of_no_consequence_for_the_next(
    writer: MessageWriter, database: Database, clock: Clock, wrong: timedelta
) -> None:
    clock.now += wrong
    tell_in_turn(writer, message(1), message(2))
    clock.now = NOON
    assert tell(writer, message(5))[0].text == GREETING
    assert tell_in_turn(writer, *map(message, (6, 7, 8)))[-1].text == THANKS.text
    clock.now += TTL + timedelta(seconds=1)
    tell(writer, message(9))
    clock.now += TTL + timedelta(seconds=1)
    assert tell(writer, message(10))[0].text == GREETING
    with database.read() as connection:
        assert connection.scalars(sa.select(Review.created_at)).all() == [NOON]
    require_order(database)


def test_a_review_finished_under_a_clock_that_is_ahead_is_followed_by_the_next(
    writer: MessageWriter, database: Database, clock: Clock
) -> None:
    clock.now += YEAR
    assert tell_in_turn(writer, *map(message, range(1, 5)))[-1] == THANKS
    clock.now = NOON
    assert tell_in_turn(writer, *map(message, range(5, 9)))[-1].text == THANKS.text
    assert read(database, LoggedMessage.turn) == [*range(1, 9)]
    require_order(database)


@pytest.mark.parametrize("kind", ["memory", "redis", "database"])
def test_workers_whose_clocks_are_apart_take_turns(
    database_url: str, valkey: RunningValkey, kind: str
) -> None:
    """Each message meets another worker, whose clock is half an hour behind or ahead."""
    databases = [open_database(database_url) for _ in range(3)]
    workers = [
        MessageWriter(each, open_cache(kind, valkey.url), TTL, lambda ahead=ahead: NOON + ahead)  # type: ignore[misc]
        for each, ahead in zip(
            databases, [timedelta(), timedelta(minutes=30), timedelta(minutes=-30)], strict=True
        )
    ]
    for number in range(1, 13):
        [reply] = tell(workers[number % 3], message(number))
    assert reply.text == THANKS.text
    assert count(databases[0], Review) == 3
    require_order(databases[0])
    for worker, database in zip(workers, databases, strict=True):
        worker.close()
        database.close()


def test_workers_a_year_apart_record_what_each_of_them_was_told(database_url: str) -> None:
    """None goes on with the other's conversation, and nothing is lost or doubled."""
    databases = [open_database(database_url) for _ in range(2)]
    clocks = [lambda: NOON, lambda: NOON + YEAR]
    right, ahead = (
        MessageWriter(database, NoCache(), TTL, clock)
        for database, clock in zip(databases, clocks, strict=True)
    )
    for number in range(1, 9, 2):
        assert tell(right, message(number, "hi"))[0].text == GREETING
        assert tell(ahead, message(number + 1, "hi"))[0].text == GREETING
    assert tell_in_turn(ahead, *map(message, (10, 11, 12)))[-1].text == THANKS.text
    require_order(databases[0])
    for worker, database in zip((right, ahead), databases, strict=True):
        worker.close()
        database.close()
