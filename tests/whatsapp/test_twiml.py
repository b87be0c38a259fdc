"""Every answer is TwiML with at most one message, and only a confirmation has a callback."""

from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient
from twilio.twiml.messaging_response import MessagingResponse

from conversation.wording import GOT_NAME, GOT_REVIEW
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from simulator.twiml_reader import read_twiml
from tests.conftest import PUBLIC_URL, MakeClient
from whatsapp.twiml import write_reply

MARKUP = "<Response><Message>x</Message></Response> & \"q\" 'r' ]]> &amp; <!DOCTYPE x>"
WIDEST = "\U0010fffd" * 150


@pytest.fixture
def client(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app without a token, on SQLite: TwiML does not depend on the database."""
    return make_client(database_url=sqlite_url, conversation_store="database")


def answers_to(twilio: Simulator, texts: list[str]) -> list[Any]:
    return [twilio.post("/webhook", message_form("+15551234567", text)) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["hi", "Lamp", "Ana", "Bright."], id="plain"),
        pytest.param(["hi", MARKUP, MARKUP, MARKUP], id="markup"),
        pytest.param(["hi", WIDEST, WIDEST, "x" * 8001, "", "Bright."], id="widest"),
        pytest.param(["hi", "\x00\x08\x1bLamp\ufffe", "A\r\nna\x0b", "\uffff!"], id="controls"),
        pytest.param(["hi", "שלום 👋🏽", "نور\u202e", "日本"], id="scripts"),
    ],
)
def test_every_reply_is_a_document_that_twilio_takes(twilio: Simulator, texts: list[str]) -> None:
    for answer in answers_to(twilio, texts):
        assert answer.status_code == 200
        assert answer.headers["content-type"] in {"text/xml; charset=utf-8", "text/xml"}
        assert answer.content.startswith(b'<?xml version="1.0" encoding="UTF-8"?><Response>')
        assert "set-cookie" not in answer.headers
        root = ElementTree.fromstring(answer.content)  # noqa: S314 - our own
        assert [child.tag for child in root] == ["Message"]
        words = root[0].text or ""
        assert 0 < len(words.encode()) < 1600
        assert list(root[0]) == []
        assert all(character >= " " or character == "\n" for character in words)


def test_markup_is_echoed_as_it_was_typed(client: TestClient) -> None:
    customer = Customer(Simulator(client))
    customer.says("hi")
    customer.says(MARKUP)
    assert customer.says("A & <B>") == GOT_NAME.format(product=MARKUP)
    assert customer.says("ok") == GOT_REVIEW.format(name="A & <B>", product=MARKUP)


@pytest.mark.parametrize("confirms", [None, "SM1"])
def test_nothing_to_say_is_an_empty_response(confirms: str | None) -> None:
    root = ElementTree.fromstring(write_reply("", confirms))  # noqa: S314 - our own
    assert (root.tag, list(root), root.text) == ("Response", [], None)


def test_only_the_confirming_message_asks_for_status_callbacks(client: TestClient) -> None:
    answers = answers_to(Simulator(client), ["hi", "", "Lamp", "Ana", "Bright.", "hi"])
    asked = [read_twiml(answer).callback is not None for answer in answers]
    assert asked == [False, False, False, False, True, False]


def confirming_message(twilio: Simulator) -> tuple[ElementTree.Element, str, str]:
    """Finish a review; return the message that confirms it, its document and the opening SID."""
    opening = message_form("+15551234567", "hi")
    twilio.post("/webhook", opening)
    answer = answers_to(twilio, ["A & B", "Ana", "Bright."])[-1]
    return ElementTree.fromstring(answer.content)[0], answer.text, opening["MessageSid"]  # noqa: S314


def test_the_callback_names_the_conversation_in_both_attributes(
    twilio: Simulator,
) -> None:
    message, document, sid = confirming_message(twilio)
    callback = f"{PUBLIC_URL}/twilio-status-callback?review={sid}"
    assert message.attrib == {"action": callback, "statusCallback": callback}
    assert document.count("<Message") == 1
    assert "A &amp; B" in document


@pytest.mark.parametrize("webhook", ["https://h.example/webhook", "https://h.example/bot/webhook"])
def test_without_a_public_address_the_callback_is_found_beside_the_webhook(
    client: TestClient, webhook: str
) -> None:
    message, _, sid = confirming_message(Simulator(client))
    callback = message.attrib["action"]
    assert callback == message.attrib["statusCallback"] == f"twilio-status-callback?review={sid}"
    found = urljoin(webhook, callback)
    assert found == webhook.replace("/webhook", f"/twilio-status-callback?review={sid}")


def test_a_prefix_of_the_public_address_is_in_the_callback(
    make_client: MakeClient, sqlite_url: str
) -> None:
    app = make_client(database_url=sqlite_url, public_url="https://h.example/bot/#rc=2")
    message, _, sid = confirming_message(Simulator(app))
    url = urlsplit(message.attrib["action"])
    assert (url.netloc, url.path) == ("h.example", "/bot/twilio-status-callback")
    assert (url.query, url.fragment) == (f"review={sid}", "")


def test_every_ampersand_of_a_callback_is_escaped() -> None:
    document = write_reply("Hi", "SM1&x=2", "https://h.example")
    assert document.count('?review=SM1&amp;x=2"') == 2


def test_silence_is_written_as_twilios_sdk_writes_it() -> None:
    assert write_reply("") == str(MessagingResponse())
