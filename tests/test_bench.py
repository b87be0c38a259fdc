"""The measuring itself: it sends what Twilio sends, and a run that proves nothing is void."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench import client, hostile
from bench.report import bars, spread, table
from bench.subjects import SQLITE, TUTORIAL, Running, accepts
from bench.traffic import API_KEY, PUBLIC_URL, TOKEN, Tally, Traffic, Void, make_traffic
from simulator.fake_twilio import ACCOUNT_SID
from tests.support.servers import Uvicorn, serve, wait_until


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return make_traffic(64, group=8)


@pytest.fixture
def server(tmp_path: Path, sqlite_url: str) -> Iterator[Uvicorn]:
    """The production app, which believes signed requests only."""
    with serve(
        tmp_path / "log",
        ENVIRONMENT="production",
        DATABASE_URL=sqlite_url,
        TWILIO_AUTH_TOKEN=TOKEN,
        TWILIO_ACCOUNT_SID=ACCOUNT_SID,
        PUBLIC_URL=PUBLIC_URL,
        API_KEY=API_KEY,
    ) as started:
        yield started


def test_every_request_is_a_message_that_the_service_takes(
    traffic: Traffic, server: Uvicorn, sqlite_url: str
) -> None:
    sent = client.send_all(server.port, traffic.requests[:40], 4)
    steady = client.send_steadily(server.port, traffic.requests[40:], 200)
    assert (sent.answered, steady.answered, len(steady.latencies)) == (40, 24, 24)
    assert sent.refused == steady.refused == 0
    listed = httpx.get(
        f"{server.base_url}/api/reviews", headers={"X-API-Key": API_KEY}, trust_env=False
    ).json()
    assert len(listed) == 16
    running = Running(SQLITE, server, sqlite_url)
    running.require_recorded(Tally(traffic, 64, 0, 16, 16))
    running.require_recorded(Tally(traffic, 60, 4, 15, 17))
    for wrong in ((64, 0, 15, 15), (64, 0, 17, 17), (63, 0, 16, 16), (65, 0, 16, 16)):
        with pytest.raises(Void, match="not"):
            running.require_recorded(Tally(traffic, *wrong))


def test_an_answer_that_is_no_message_is_counted_as_refused(
    traffic: Traffic, server: Uvicorn
) -> None:
    forged = [request.replace(b"X-Twilio-Signature: ", b"X: ") for request in traffic.requests]
    load = client.send_all(server.port, forged, 4)
    assert load.refused == len(forged)
    with pytest.raises(Void, match="64 answers"):
        Tally(traffic).add(load)


def test_a_log_that_does_not_make_its_reviews_voids_the_run(
    traffic: Traffic, server: Uvicorn, sqlite_url: str
) -> None:
    client.send_all(server.port, traffic.requests[:32], 4)
    key = {"X-API-Key": API_KEY}
    [review, *_] = httpx.get(f"{server.base_url}/api/reviews", headers=key, trust_env=False).json()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE reviews SET user_name = 'x' WHERE id = ?", [review["id"]])
    connection.close()
    with pytest.raises(Void, match=review["conversation_id"]):
        Running(SQLITE, server, sqlite_url).require_recorded(Tally(traffic, 32, 0, 8, 8))


def test_a_crowd_and_one_who_floods_are_all_answered_and_recorded(
    server: Uvicorn, sqlite_url: str
) -> None:
    crowd = hostile.gather(1_000, 1)
    assert (crowd.messages, crowd.reviews) == (1_000 + 100 + 40, 25)
    rows = hostile.besiege(Running(SQLITE, server, sqlite_url), crowd)
    assert [row[:2] for row in rows] == [[SQLITE.name, "0"], [SQLITE.name, "1,000"]]
    again = hostile.gather(1_000, 1)
    with pytest.raises(Void, match="reviews, not 25"):  # the database has the first crowd's too
        hostile.besiege(Running(SQLITE, server, sqlite_url), again)


@pytest.mark.parametrize(
    ("count", "reviews"), [(0, 0), (24, 0), (25, 1), (32, 8), (56, 8), (60, 12), (64, 16)]
)
def test_reviews_are_finished_by_the_last_messages_of_a_group(
    traffic: Traffic, count: int, reviews: int
) -> None:
    assert traffic.reviews_after(count) == reviews


@pytest.mark.parametrize(("place", "group"), [(0, 0), (1, 32), (32, 32), (33, 64)])
def test_the_next_run_begins_with_a_group(traffic: Traffic, place: int, group: int) -> None:
    assert traffic.next_group(place) == group


def test_figures_are_told_with_their_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00-3.00)"
    rows = [["subject", "x"], ["noop", "1.00"]]
    assert table(rows) == "| subject | x    |\n| ------- | ---- |\n| noop    | 1.00 |"
    picture = bars("Pace", {"noop": [1.0], "sqlite database": [1.1, 1.2, 1.3]}, {"1": 1.0})
    assert ">1.20</text>" in picture
    assert picture.startswith("<svg ")


def test_the_usual_design_does_its_work_without_asking_who_calls(
    traffic: Traffic, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'tutorial.db'}"
    tutorial = Uvicorn(tmp_path / "log", app=TUTORIAL.app, DATABASE_URL=url)
    forged = [request.replace(b"X-Twilio-Signature: ", b"X: ") for request in traffic.requests]
    try:
        wait_until(lambda: accepts(tutorial.port))
        tally = Tally(traffic)
        tally.add(client.send_all(tutorial.port, forged, 1))
        Running(TUTORIAL, tutorial, url).require_recorded(tally)
    finally:
        tutorial.stop()
