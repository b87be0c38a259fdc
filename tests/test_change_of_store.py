"""Another CONVERSATION_STORE, and the first again: nobody goes on where they were long before."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from checker import check
from conversation import GREETING
from database import open_database
from main import create_app
from models import LoggedMessage, Review, UnfinishedConversation
from settings import Settings
from simulator import Customer, Simulator
from tests.conftest import listed
from tests.databases import Valkey

CONTACT = "+15551234567"
TTL = timedelta(hours=24)
THANKS = "Thanks Cy -- your review for Rug has been recorded."


@pytest.fixture(params=["database then memory", "redis then memory"])
def stores(request: pytest.FixtureRequest) -> tuple[str, str]:
    first, _, other = request.param.partition(" then ")
    return first, other


class Installation:
    """One database that is served with one store after another, or with two at once."""

    def __init__(self, database_url: str, valkey: Valkey) -> None:
        self._settings: dict[str, Any] = {"database_url": database_url, "redis_url": valkey.url}

    @contextmanager
    def serving(self, store: str) -> Iterator[Customer]:
        """Start with a store, for a customer to write to; stop."""
        settings = {**self._settings, "environment": "local", "conversation_store": store}
        with TestClient(create_app(Settings(**settings))) as client:
            yield Customer(Simulator(client), CONTACT)
            self.reviews = [review["product_review"] for review in listed(client)]

    def hears(self, store: str, *texts: str) -> str:
        """Start with a store, say something, stop; return the last answer."""
        with self.serving(store) as customer:
            return [customer.says(text) for text in texts][-1] if texts else ""


MOMENTS = [
    (LoggedMessage, LoggedMessage.message_sid, "received_at"),
    (UnfinishedConversation, UnfinishedConversation.contact_number, "updated_at"),
    (Review, Review.conversation_id, "created_at"),
    (Review, Review.conversation_id, "updated_at"),
]


def let_pass(time: timedelta, database_url: str) -> None:
    """Move all that was said and recorded back in time."""
    database = open_database(database_url)
    with database.write() as connection:
        for table, key, moment in MOMENTS:
            for id_, at in connection.execute(sa.select(key, getattr(table, moment))).all():
                connection.execute(sa.update(table).where(key == id_).values({moment: at - time}))
    database.close()


def problems(database_url: str) -> list[str]:
    database = open_database(database_url)
    found = check(database).problems
    database.close()
    return found


@pytest.fixture
def installation(database_url: str, valkey: Valkey) -> Installation:
    return Installation(database_url, valkey)


def test_a_conversation_is_over_when_another_was_finished_since(
    installation: Installation, stores: tuple[str, str], database_url: str
) -> None:
    first, other = stores
    installation.hears(first, "Hi", "Lamp", "Ana")
    installation.hears(other, "Hello", "Cup", "Bo", "Fine.", "Hi", "Rug", "Cy", "Soft.")
    assert installation.hears(first, "Hi again") == GREETING
    assert "Hi again" not in installation.reviews
    assert problems(database_url) == []


def test_the_conversation_that_was_begun_last_goes_on(
    installation: Installation, stores: tuple[str, str], database_url: str
) -> None:
    first, other = stores
    installation.hears(first, "Hi", "Lamp")
    let_pass(timedelta(hours=2), database_url)
    installation.hears(other, "Hello", "Cup", "Bo", "Fine.", "Hi", "Rug")
    let_pass(timedelta(hours=10), database_url)
    installation.hears(first)
    assert problems(database_url) == []
    assert installation.hears(first, "Cy", "Soft.") == THANKS


def test_a_conversation_is_over_when_another_was_finished_with_a_store_that_had_started_before(
    installation: Installation, stores: tuple[str, str], database_url: str
) -> None:
    first, other = stores
    with installation.serving(other) as customer:
        installation.hears(first, "Hi", "Lamp")
        for text in ("Hello", "Cup", "Bo", "Fine."):
            customer.says(text)
    assert installation.hears(first, "Hi again") == GREETING
    assert problems(database_url) == []


def test_a_conversation_goes_to_and_fro_between_two_stores_that_serve_at_once(
    installation: Installation, database_url: str
) -> None:
    with installation.serving("database") as one, installation.serving("redis") as other:
        one.says("Hi")
        for customer, text in ((other, "Rug"), (one, "Cy"), (other, "Soft."), (one, "Hi")):
            answer = customer.says(text)
            assert problems(database_url) == []
    assert (answer, installation.reviews) == (GREETING, ["Soft."])


def test_redis_goes_on_where_the_database_store_was_and_back_again(
    installation: Installation,
) -> None:
    installation.hears("database", "Hi", "Rug")
    installation.hears("redis", "Cy")
    assert installation.hears("database", "Soft.") == THANKS
    assert installation.reviews == ["Soft."]


@pytest.mark.parametrize("other", ["memory", "redis"])
def test_a_conversation_begun_with_another_store_goes_on_in_the_database(
    installation: Installation, database_url: str, other: str
) -> None:
    installation.hears(other, "Hi", "Rug")
    let_pass(timedelta(hours=10), database_url)
    installation.hears("database")
    assert problems(database_url) == []
    let_pass(timedelta(hours=13), database_url)
    assert installation.hears("database", "Cy", "Soft.") == THANKS
    assert problems(database_url) == []


def test_a_conversation_begun_elsewhere_is_idle_when_its_customer_is(
    installation: Installation, database_url: str
) -> None:
    installation.hears("memory", "Hi", "Rug")
    let_pass(timedelta(hours=20), database_url)
    installation.hears("database")
    let_pass(timedelta(hours=5), database_url)
    assert installation.hears("database", "Cy") == GREETING
    assert problems(database_url) == []


def test_a_conversation_gone_on_with_elsewhere_is_as_young_as_its_last_message(
    installation: Installation, database_url: str
) -> None:
    installation.hears("database", "Hi")
    let_pass(timedelta(hours=20), database_url)
    installation.hears("redis", "Rug")
    let_pass(timedelta(hours=20), database_url)
    assert installation.hears("database", "Cy", "Soft.") == THANKS
    assert problems(database_url) == []


def test_a_row_given_up_long_ago_hides_no_newer_conversation(
    installation: Installation, database_url: str
) -> None:
    installation.hears("database", "Hi")
    let_pass(timedelta(hours=30), database_url)
    installation.hears("memory", "Hi", "Rug")
    assert installation.hears("database", "Cy", "Soft.") == THANKS
    assert problems(database_url) == []


def test_a_state_of_another_version_is_told_by_the_log(
    installation: Installation, database_url: str
) -> None:
    installation.hears("database", "Hi", "Rug")
    database = open_database(database_url)
    with database.write() as connection:
        connection.execute(sa.update(UnfinishedConversation).values(state="ASK_STARS"))
    database.close()
    assert installation.hears("database", "Cy", "Soft.") == THANKS
    assert problems(database_url) == []
