"""One review's page: the whole conversation, the delivery, the number on request, and erasing."""

import re

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from conversation.model import State
from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING, NOT_TEXT, QUESTIONS
from models import Review
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form, photo_form
from tests.conftest import database_of, listed
from tests.reviews.test_query import record


@pytest.fixture
def review(client: TestClient, customer: Customer) -> int:
    """A review of a conversation with a photo, a voice note and nothing in it."""
    simulator = Simulator(client)
    customer.says("Hi")
    simulator.post("/webhook", photo_form("+15551234567"))
    voice = {"NumMedia": "1", "MediaContentType0": "audio/ogg", "MediaUrl0": "https://x.example/1"}
    simulator.post("/webhook", message_form("+15551234567", "", **voice))
    simulator.post("/webhook", message_form("+15551234567", " "))
    for text in ("Lamp & Co", "Ana", "Bright.\nAnd <warm>."):
        customer.says(text)
    [item] = listed(client)
    return int(item["id"])


def test_the_whole_conversation_is_shown_in_order(client: TestClient, review: int) -> None:
    text = client.get(f"/reviews/{review}").text
    said = re.findall(r'<li class="(theirs|ours)">.*?<p[^>]*>(.*?)</p>', text, re.DOTALL)
    again = f"{NOT_TEXT} {QUESTIONS[State.ASK_NAME]}"
    assert said == [
        ("theirs", "Hi"),
        ("ours", GREETING),
        ("theirs", "Photo"),
        ("ours", again),
        ("theirs", "Voice note"),
        ("ours", again),
        ("theirs", "No text"),
        ("ours", again),
        ("theirs", "Lamp &amp; Co"),
        ("ours", GOT_PRODUCT.replace("'", "&#39;")),
        ("theirs", "Ana"),
        ("ours", GOT_NAME.format(product="Lamp &amp; Co")),
        ("theirs", "Bright.\nAnd &lt;warm&gt;."),
        ("ours", GOT_REVIEW.format(name="Ana", product="Lamp &amp; Co")),
    ]
    assert "x.example" not in text  # the address of a photo is nobody's link


def test_the_number_is_whole_on_request(client: TestClient, review: int) -> None:
    text = client.get(f"/reviews/{review}").text
    [(summary, unfolded)] = re.findall(
        r'<details class="number">(.*?)</summary>(.*?)</details>', text, re.DOTALL
    )
    assert "+15551234567" not in summary
    assert "+15551234567" in unfolded
    assert text.count("+15551234567") == 1


def test_a_failed_delivery_is_told_with_its_reason(client: TestClient) -> None:
    number = record(database_of(client), status="undelivered")
    with database_of(client).write() as connection:
        connection.execute(sa.update(Review).values(error_code=63016))
    text = client.get(f"/reviews/{number}").text
    assert "more than 24 hours after the customer" in text
    assert 'href="https://www.twilio.com/docs/api/errors/63016"' in text


def test_a_review_of_an_earlier_program_has_no_conversation(client: TestClient) -> None:
    number = record(database_of(client))
    assert "kept no conversation" in client.get(f"/reviews/{number}").text


def test_erasing_asks_first_takes_the_words_and_leads_back(client: TestClient, review: int) -> None:
    text = client.get(f"/reviews/{review}").text
    [question] = re.findall(r'<details class="erase">(.*?)</details>', text, re.DOTALL)
    assert f'<form method="post" action="../reviews/{review}/erase">' in question
    answer = client.post(f"/reviews/{review}/erase", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "../../?erased=1")
    assert listed(client) == []
    assert "have been deleted" in client.get("/?erased=1").text
    assert client.get(f"/reviews/{review}").status_code == 404
    assert client.post(f"/reviews/{review}/erase").status_code == 404
    with database_of(client).read() as connection:
        words = connection.execute(sa.text("SELECT body || reply FROM messages")).scalars()
        assert set(words) == {""}


def test_a_look_erases_nothing(client: TestClient, review: int) -> None:
    assert client.get(f"/reviews/{review}/erase").status_code == 405
    assert len(listed(client)) == 1


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "x", "+1", "9" * 30, "%31%00"])
def test_what_is_no_id_is_refused(client: TestClient, number: str) -> None:
    for way in (client.get(f"/reviews/{number}"), client.post(f"/reviews/{number}/erase")):
        assert way.status_code == 422
