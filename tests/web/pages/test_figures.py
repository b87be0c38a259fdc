"""The figures at the top: counted by hand on both databases, and bounded."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from conversation.model import Message, Outcome, State, Turn
from conversation.state_machine import replay
from db.engine import Database, open_database
from models import LoggedMessage
from privacy import message_erasure
from reviews import funnel
from storage import batch, message_log
from tests.conftest import database_of
from tests.reviews.test_query import record
from tests.test_api import NOON
from web.pages import rendering

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def converse(
    database: Database, *texts: str, at: datetime = NOON, pause: timedelta = MINUTE
) -> str:
    """Log a conversation as the bot has it, a pause between messages; return its id."""
    contact = f"+1{uuid.uuid4().int % 10**10}"
    messages = [Message(f"SM{uuid.uuid4().hex}", contact, text) for text in texts]
    turns = replay(messages)
    times = [at + number * pause for number in range(len(texts))]
    with database.write() as connection:
        rows = [message_log.row_of(*each) for each in zip(messages, turns, times, strict=True)]
        batch.write(connection, {"messages": rows})
    return turns[0].conversation_id


WHOLE = ("Hi", "Lamp", "Ana", "Bright.")


def test_where_customers_stop_is_counted_by_question(database: Database) -> None:
    before = NOON - 2 * DAY
    for said, times in ((WHOLE[:1], 1), (WHOLE[:2], 2), (WHOLE[:3], 3), (WHOLE, 4)):
        for _ in range(times):
            converse(database, *said, at=before)
    converse(database, "Hi", "", "x" * 151, "Lamp", "", at=before)  # asked again three times
    converse(database, "Hi", "", "", "", "", at=before)
    converse(database, "Hi", "Sorry, Lamp", "Sorry, Ana", at=before)
    converse(database, *WHOLE[:2], at=NOON - 20 * MINUTE)
    converse(database, *WHOLE, at=NOON - 60 * DAY)
    found = funnel.read(database, NOON).conversations
    assert found.stopped == (2, 3, 4)
    assert (found.finished, found.under_way, found.started) == (4, 1, 14)


def test_who_was_asked_before_there_were_facts_owes_what_was_asked_first(
    database: Database,
) -> None:
    """A migration knows of such a conversation that it is unfinished, and no message of it."""
    turn = Turn(1, "SM1", 1, Outcome.MIGRATED, State.ASK_NAME, {}, "")
    row = message_log.row_of(Message("migrated-SM1", "+1", ""), turn, NOON - 2 * DAY)
    with database.write() as connection:
        batch.write(connection, {"messages": [row]})
    assert funnel.read(database, NOON).conversations.stopped == (1, 0, 0)


def test_the_time_to_finish_is_the_median(database: Database) -> None:
    assert funnel.read(database, NOON).conversations.median_seconds is None
    for minutes in (1, 2, 30):
        converse(database, *WHOLE, at=NOON - DAY, pause=minutes * MINUTE)
    assert funnel.read(database, NOON).conversations.median_seconds == 6 * 60
    assert [rendering.duration(seconds) for seconds in (0.4, 59, 360, 3600, 9000)] == [
        *("0 s", "59 s", "6 min", "1 h 0 min", "2 h 30 min")
    ]


def test_erased_conversations_are_not_counted(database: Database) -> None:
    converse(database, *WHOLE, at=NOON - DAY)
    gone = converse(database, *WHOLE, at=NOON - DAY)
    with database.write() as connection:
        which = LoggedMessage.conversation_id == gone
        message_erasure.erase_words(connection, which, NOON)
    assert funnel.read(database, NOON).conversations.started == 1


def test_reviews_are_counted_by_week_day_and_product(database: Database) -> None:
    for days, product in ((0, "Lamp"), (1, "Lamp"), (6, "Sofa"), (8, "Sofa"), (13, "Sofa")):
        record(database, product=product, at=NOON - days * DAY)
    record(database, product="Old", at=NOON - 40 * DAY)
    found = funnel.read(database, NOON)
    assert (found.total, found.week, found.week_before) == (6, 3, 2)
    assert found.products == [("Sofa", 3), ("Lamp", 2)]
    assert len(found.by_day) == 30
    assert found.by_day[-1] == (NOON.date(), 1)
    assert [number for _, number in found.by_day[-14:]] == [
        *(1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1)
    ]


def test_of_very_many_only_the_latest_are_looked_at(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funnel, "MAX_MESSAGES", 8)
    monkeypatch.setattr(funnel, "MAX_REVIEWS", 2)
    for hours in range(5):
        converse(database, *WHOLE, at=NOON - timedelta(hours=hours + 1))
        record(database, product=f"No. {hours}", at=NOON - timedelta(hours=hours))
    found = funnel.read(database, NOON)
    assert found.conversations.started == 2
    assert found.conversations.since > NOON - timedelta(hours=4)
    assert [name for name, _ in found.products] == ["No. 0", "No. 1", "No. 2"]
    assert found.total == 5


def test_nothing_is_read_of_the_log_but_its_end(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    queries: list[tuple[str, Any]] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def note(_1: Any, _2: Any, query: str, values: Any, *_: Any) -> None:
        if "FROM messages" in query:
            queries.append((query, values))

    funnel.read(database, NOON)
    assert len(queries) == 2
    with database.read() as connection:
        for query, values in [*queries]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
            assert "ix_messages_unerased" in plan[0].detail
    database.close()


def test_the_page_shows_the_figures_unless_it_is_filtered(client: TestClient) -> None:
    record(database_of(client), at=NOON)
    text = client.get("/").text
    assert 'id="figures"' in text
    assert "Total reviews" in text
    assert 'id="figures"' not in client.get("/?q=fine").text
