"""The feed: what is told of arrivals and changes, to whom, and that it ends by itself."""

import asyncio
import json
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from core.clock import utc_now
from models import Review
from reviews import query as reviews_query
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import MakeClient, database_of, make_app
from tests.core.test_shutdown import handled
from tests.reviews.test_query import record
from tests.support.servers import serve, wait_until
from web.pages import live_feed

__all__ = ["handled"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stream end after its first reading."""
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.0)


def events(client: TestClient, query: str = "") -> list[tuple[str, dict[str, Any]]]:
    answer = client.get(f"/events?{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    form = r"id: (\S+)\nevent: (\w+)\ndata: (.*)\n\n"
    assert re.fullmatch(f"({form})*", answer.text)
    return [(name, json.loads(data)) for _, name, data in re.findall(form, answer.text)]


def told(client: TestClient, query: str = "") -> list[int]:
    *reviews, end = events(client, query)
    assert end == ("end", {})
    assert {name for name, _ in reviews} <= {"review"}
    return [data["id"] for _, data in reviews]


def ago(seconds: float) -> Any:
    return utc_now() - timedelta(seconds=seconds)


def test_what_arrived_within_30_seconds_is_told_again_oldest_first(client: TestClient) -> None:
    database = database_of(client)
    record(database, at=ago(35))
    ids = [record(database, at=ago(seconds)) for seconds in (25, 10, 0)]
    assert told(client) == ids
    assert told(client) == ids


def test_a_card_comes_with_an_event_as_on_the_page(client: TestClient) -> None:
    number = record(database_of(client), "<b>Fine</b>\r\nindeed", product="Lamp", at=ago(1))
    [(name, data), _] = events(client)
    assert (name, data["id"], data["product"]) == ("review", number, "Lamp")
    assert "&lt;b&gt;Fine" in data["card"]
    assert "".join(data["card"].split()) in "".join(client.get("/").text.split())


def test_a_change_is_told_of_the_reviews_that_are_shown(client: TestClient) -> None:
    database = database_of(client)
    old, other = record(database, at=ago(5000)), record(database, at=ago(4000))
    with database.write() as connection:
        connection.execute(sa.update(Review).values(updated_at=utc_now()))
    assert told(client) == []
    assert told(client, f"shown={old}") == [old]
    assert told(client, f"shown={other},{old}") == [old, other]


def test_who_was_away_is_told_what_came_meanwhile(client: TestClient) -> None:
    database = database_of(client)
    number, _ = record(database, at=ago(100)), record(database, at=ago(900))
    assert told(client) == []
    last = ago(80).isoformat().replace("+", "%2B")
    assert told(client, f"last={last}") == [number]
    long_ago = ago(9000).isoformat().replace("+", "%2B")
    assert told(client, f"last={long_ago}") == [number]  # five minutes at most
    ahead = (utc_now() + timedelta(days=1)).isoformat().replace("+", "%2B")
    assert told(client, f"last={ahead}") == []


def test_only_what_the_filters_leave_is_told(client: TestClient) -> None:
    database = database_of(client)
    lamp, _ = record(database, product="Lamp", at=ago(2)), record(database, "x", product="Sofa")
    record(database, product="Sofa", at=ago(1))
    assert told(client, "product=Lamp") == [lamp]
    assert told(client, "q=lamp&status=") == [lamp]
    assert told(client, "q=nothing") == []
    # What is on the page may fit its filters no longer, and must not tell an old status.
    assert told(client, f"q=nothing&shown={lamp}") == [lamp]


@pytest.mark.parametrize("query", ["shown=x", "shown=1,", "last=x", "shown=" + "1," * 300 + "1"])
def test_what_cannot_be_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/events?{query}").status_code == 422


def test_a_stream_tells_each_version_once_and_what_was_committed_late(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.3)
    monkeypatch.setattr(live_feed, "EVERY_SECONDS", 0.05)
    first = record(database_of(client), at=ago(1))
    late = changing(reviews_query.changes_since, 2, lambda: record(database_of(client), at=ago(20)))
    monkeypatch.setattr(reviews_query, "changes_since", late)
    assert told(client) == [first, first + 1]


def test_a_stream_that_stood_still_tells_what_came_meanwhile(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.01)
    monkeypatch.setattr(live_feed, "EVERY_SECONDS", 0.05)
    moments = iter([ago(60), utc_now()])
    monkeypatch.setattr(live_feed, "utc_now", lambda: next(moments))
    meanwhile = changing(
        reviews_query.changes_since, 2, lambda: record(database_of(client), at=ago(45))
    )
    monkeypatch.setattr(reviews_query, "changes_since", meanwhile)
    assert told(client) == [1]


def test_after_more_than_can_be_told_the_page_is_to_load_its_list_anew(client: TestClient) -> None:
    database = database_of(client)
    for _ in range(reviews_query.MAX_CHANGES - 1):
        record(database, at=ago(2))
    assert [name for name, _ in events(client)].count("many") == 0
    second_to_last, _ = (record(database, at=ago(1)) for _ in range(2))
    assert [name for name, _ in events(client)].count("many") == 1
    # A page that has the latest has missed nothing, and is not to load its list for ever.
    shown = f"shown={second_to_last}"
    assert [name for name, _ in events(client, shown)].count("many") == 0


def test_what_is_erased_is_told_of_the_reviews_that_are_shown(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.3)
    monkeypatch.setattr(live_feed, "EVERY_SECONDS", 0.05)
    first, second = (record(database_of(client), at=ago(5000)) for _ in range(2))
    assert client.delete(f"/api/reviews/{second}").status_code == 204
    assert events(client, f"shown={first},{second}") == [("gone", {"id": second}), ("end", {})]


def test_a_review_that_comes_to_fit_by_its_status_is_told(client: TestClient) -> None:
    database = database_of(client)
    number, _ = (record(database, at=ago(5000), status="sent") for _ in range(2))
    record(database, at=ago(100_000), status="failed")
    assert told(client, "status=failed") == []
    with database.write() as connection:
        changes = {"status": "failed", "updated_at": utc_now()}
        connection.execute(sa.update(Review).where(Review.id != number + 1).values(changes))
    assert told(client, "status=failed") == [number]
    assert told(client, "status=failed&q=nothing") == []


def test_of_many_that_come_to_fit_by_their_status_the_latest_are_told(client: TestClient) -> None:
    database = database_of(client)
    numbers = [record(database, at=ago(5000 + n), status="sent") for n in range(101)]
    for number in numbers:
        with database.write() as connection:
            changes = {"status": "read", "updated_at": utc_now()}
            connection.execute(sa.update(Review).where(Review.id == number).values(changes))
    news = events(client, "status=read")
    assert [name for name, _ in news].count("many") == 1
    assert {data["id"] for name, data in news if name == "review"} == {*numbers[1:]}


def changing(read: Callable[..., Any], at_call: int, change: Callable[[], Any]) -> Any:
    """Have something happen just before the reading with this number."""
    calls = iter(range(1, 1000))

    def read_after(*arguments: Any) -> Any:
        if next(calls) == at_call:
            change()
        return read(*arguments)

    return read_after


def test_a_database_that_goes_away_ends_the_stream_with_a_word(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("SELECT", None, OSError("gone"))

    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 5.0)
    monkeypatch.setattr(live_feed, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(
        reviews_query, "changes_since", changing(reviews_query.changes_since, 2, away)
    )
    assert events(client) == [("away", {})]


def test_a_database_that_is_away_is_a_503(make_client: MakeClient) -> None:
    away = "postgresql://postgres@127.0.0.1:1/nowhere"
    client = make_client(database_url=away, conversation_store="database")
    assert client.get("/events").status_code == 503


def test_without_the_key_nothing_is_told(production: TestClient) -> None:
    stream = {"Accept": "text/event-stream"}
    assert production.get("/events", headers=stream).status_code == 401


@pytest.mark.usefixtures("handled")
def test_a_stream_ends_whatever_handles_the_signal_that_ends_the_server(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 3600.0)
    monkeypatch.setattr(live_feed, "EVERY_SECONDS", 0.05)
    told_to_stop = changing(
        reviews_query.changes_since, 2, lambda: signal.raise_signal(signal.SIGTERM)
    )
    monkeypatch.setattr(reviews_query, "changes_since", told_to_stop)
    app = make_app(database_url=sqlite_url)

    async def follow() -> str:
        line = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=line, base_url="http://localhost") as client,
            asyncio.timeout(10),  # which is far longer than two readings take
        ):
            return (await client.get("/events")).text

    assert "event: end" in asyncio.run(follow())


@pytest.mark.usefixtures("processes")
def test_a_server_that_is_told_to_end_does_not_wait_for_streams(
    sqlite_url: str, tmp_path: Path
) -> None:
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url) as server:
        with httpx.stream("GET", f"{server.base_url}/events", trust_env=False) as stream:
            assert stream.status_code == 200
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert "event: end" in "".join(stream.iter_text())
        server.process.wait(30)
        assert time.monotonic() - started < 10


@pytest.mark.usefixtures("processes")
def test_what_one_worker_records_another_tells(database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_url, "CONVERSATION_STORE": "database"}
    with serve(tmp_path / "log", 2, **settings) as server:
        wait_until(lambda: len(server.workers()) == 2)
        clients = [httpx.Client(base_url=server.base_url, trust_env=False) for _ in range(4)]
        with ExitStack() as open_streams:
            told = [
                open_streams.enter_context(client.stream("GET", "/events", timeout=30)).iter_lines()
                for client in map(open_streams.enter_context, clients)
            ]
            with httpx.Client(base_url=server.base_url, trust_env=False, timeout=30) as client:
                for text in ("Hi", "Lamp", "Ana", "Bright."):
                    Customer(Simulator(client), "+15551234567").says(text)
            for lines in told:
                assert any("Bright." in line for line in lines)
