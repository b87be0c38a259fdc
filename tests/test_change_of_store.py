"""Another CONVERSATION_STORE, and the first again: nobody goes on where they were long before."""

from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from checker import check
from conversation import GREETING
from database import open_database
from main import create_app
from message_log import MOST_SKEW
from models import LoggedMessage
from settings import Settings
from simulator import Customer, Simulator
from tests.conftest import listed
from tests.databases import Valkey

CONTACT = "+15551234567"


@pytest.fixture(params=["database then memory", "redis then memory"])
def stores(request: pytest.FixtureRequest) -> tuple[str, str]:
    first, _, other = request.param.partition(" then ")
    return first, other


class Installation:
    """One database that is served with one store after another."""

    def __init__(self, database_url: str, valkey: Valkey) -> None:
        self._settings: dict[str, Any] = {"database_url": database_url, "redis_url": valkey.url}

    def hears(self, store: str, *texts: str) -> str:
        """Start with a store, say something, stop; return the last answer."""
        settings = {**self._settings, "environment": "local", "conversation_store": store}
        with TestClient(create_app(Settings(**settings))) as client:
            customer = Customer(Simulator(client), CONTACT)
            for text in texts:
                answer = customer.says(text)
            self.reviews = [review["product_review"] for review in listed(client)]
        return answer


def let_a_second_pass(database_url: str) -> None:
    """Move all that was said back in time: within a second nothing has a certain order."""
    database = open_database(database_url)
    with database.write() as connection:
        for message in connection.execute(sa.select(LoggedMessage)).all():
            connection.execute(
                sa.update(LoggedMessage)
                .where(LoggedMessage.message_sid == message.message_sid)
                .values(received_at=message.received_at - MOST_SKEW)
            )
    database.close()


@pytest.fixture
def installation(database_url: str, valkey: Valkey) -> Installation:
    return Installation(database_url, valkey)


def test_a_conversation_is_over_when_another_was_finished_since(
    installation: Installation, stores: tuple[str, str], database_url: str
) -> None:
    first, other = stores
    installation.hears(first, "Hi", "Lamp", "Ana")
    let_a_second_pass(database_url)
    installation.hears(other, "Hello", "Cup", "Bo", "Fine.", "Hi", "Rug", "Cy", "Soft.")
    assert installation.hears(first, "Hi again") == GREETING
    assert "Hi again" not in installation.reviews
    database = open_database(database_url)
    assert check(database).problems == []
    database.close()


def test_the_conversation_that_was_begun_last_goes_on(
    installation: Installation, stores: tuple[str, str], database_url: str
) -> None:
    first, other = stores
    installation.hears(first, "Hi", "Lamp")
    let_a_second_pass(database_url)
    installation.hears(other, "Hello", "Cup", "Bo", "Fine.", "Hi", "Rug")
    thanks = installation.hears(first, "Cy", "Soft.")
    assert thanks == "Thanks Cy -- your review for Rug has been recorded."


def test_redis_goes_on_where_the_database_store_was_and_back_again(
    installation: Installation,
) -> None:
    installation.hears("database", "Hi", "Rug")
    installation.hears("redis", "Cy")
    thanks = installation.hears("database", "Soft.")
    assert thanks == "Thanks Cy -- your review for Rug has been recorded."
    assert installation.reviews == ["Soft."]
