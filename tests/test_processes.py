"""The promise, kept by real processes: uvicorn's workers, killed or not, on a real database."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from audit.check import check
from audit.client_history import ClientHistory
from db.engine import open_database
from simulator.demo import read_examples
from simulator.fake_twilio import Simulator, message_form
from simulator.twiml_reader import NotAnswered
from tests.campaigns.faults.aftermath import require_exactly
from tests.campaigns.faults.load import ForgetfulTwilio, Review
from tests.support.servers import Uvicorn, serve

CUSTOMERS_AT_ONCE = 20


@pytest.fixture
def reviews(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    """The example reviews, or those of the file that `--reviews` names."""
    file = request.config.getoption("--reviews")
    return read_examples(Path(file)) if file else read_examples()


def play_all(
    server: Uvicorn, reviews: list[dict[str, str]]
) -> tuple[dict[str, Review], ClientHistory]:
    """Play every review by a customer of its own; return who wrote what, and was told what."""
    written: dict[str, Review] = {f"+1555{n:07}": review for n, review in enumerate(reviews)}
    with httpx.Client(base_url=server.base_url, timeout=15, trust_env=False) as client:
        twilio = Simulator(client, attempts=100)
        with ThreadPoolExecutor(CUSTOMERS_AT_ONCE) as customers:
            played = [
                customers.submit(ForgetfulTwilio(twilio, contact, seed).play, review)
                for seed, (contact, review) in enumerate(written.items())
            ]
            for each in played:
                each.result()
    return written, twilio.client_history


def test_every_review_is_recorded_once_by_two_workers(
    tmp_path: Path, postgres_url: str, reviews: list[dict[str, str]]
) -> None:
    environment = {"DATABASE_URL": postgres_url, "CONVERSATION_STORE": "database"}
    with serve(tmp_path / "log", workers=2, **environment) as server:
        written, client_history = play_all(server, reviews)
    require_exactly(written.items(), postgres_url, client_history)
    assert all(len({*told} - {None}) == 1 for told in client_history.answers.values())


def test_a_server_stops_in_good_order_under_load(tmp_path: Path, sqlite_url: str) -> None:
    """SIGTERM: what was asked is answered, and what was answered is on disk."""
    client_history = ClientHistory()
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url) as server:
        enough = threading.Event()

        def write_on(contact: str) -> None:
            with httpx.Client(base_url=server.base_url, timeout=15, trust_env=False) as client:
                twilio = Simulator(client, client_history=client_history)
                while True:
                    try:
                        twilio.deliver(message_form(contact, "Again"))
                    except NotAnswered:  # no connection any more
                        return
                    if len(client_history.answers) > 50:
                        enough.set()

        with ThreadPoolExecutor(8) as customers:
            writing = [customers.submit(write_on, f"+1555000000{n}") for n in range(8)]
            assert enough.wait(30)
            assert server.stop() in {0, -signal.SIGTERM}
            for each in writing:
                each.result()
    database = open_database(sqlite_url)
    assert check(database, history=client_history).problems == []
    database.close()
