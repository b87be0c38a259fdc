"""A customer's message from Twilio's form to our words: nothing is lost, nothing falls silent."""

from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from conversation import wording
from conversation.model import State
from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING, NOT_TEXT
from core.text import clean
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from simulator.twiml_reader import read_twiml
from tests.conftest import MakeClient, listed
from tests.support.captures import (
    BUTTON,
    LOCATION,
    PHOTO,
    TEXT,
    TEXT_WITH_PROFILE,
    logged,
    post,
    post_unsigned,
)

ANSWERS = ["hi", "Lamp", "Ana", "Bright."]
QUESTIONS = {state: asked.format(product="Lamp") for state, asked in wording.QUESTIONS.items()}
CONTACT = "+15551234567"


@pytest.fixture
def client(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app without a token, on SQLite: the edge is the same on either database."""
    return make_client(database_url=sqlite_url, conversation_store="database")


@pytest.mark.parametrize(
    ("body", "contact"),
    [
        pytest.param(TEXT, "+31612345678", id="text"),
        pytest.param(TEXT_WITH_PROFILE, "+919900000000", id="text-with-profile"),
        pytest.param(PHOTO, "+31612345678", id="photo"),
        pytest.param(LOCATION, "+31612345678", id="location"),
        pytest.param(BUTTON, "+6281100000035", id="button"),
    ],
)
def test_whatever_twilio_really_sent_opens_a_conversation(
    production: TestClient, body: str, contact: str
) -> None:
    assert read_twiml(post(production, "/webhook", body)).text == GREETING
    assert [who for who, _ in logged(production)] == [contact]


@pytest.mark.parametrize(
    ("body", "product"),
    [(TEXT, "test"), (TEXT_WITH_PROFILE, "hey"), (BUTTON, "Konfirmasi")],
    ids=["text", "text-with-profile", "button"],
)
def test_text_and_button_that_twilio_really_sent_are_answers(
    production: TestClient, twilio: Simulator, body: str, product: str
) -> None:
    contact = body.partition("From=whatsapp%3A%2B")[2].partition("&")[0]
    customer = Customer(twilio, f"+{contact}")
    customer.says("hi")
    assert read_twiml(post(production, "/webhook", body)).text == GOT_PRODUCT
    assert customer.says("Ana") == GOT_NAME.format(product=product)


@pytest.mark.parametrize("body", [PHOTO, LOCATION], ids=["photo", "location"])
@pytest.mark.parametrize("state", QUESTIONS)
def test_a_photo_or_place_that_twilio_really_sent_is_asked_for_again(
    production: TestClient, twilio: Simulator, state: State, body: str
) -> None:
    customer = Customer(twilio, "+31612345678")
    steps = 1 + list(QUESTIONS).index(state)
    for text in ANSWERS[:steps]:
        customer.says(text)
    answer = read_twiml(post(production, "/webhook", body))
    assert answer.text == f"{NOT_TEXT} {QUESTIONS[state]}"
    for text in ANSWERS[steps:]:
        reply = customer.says(text)
    assert reply == GOT_REVIEW.format(name="Ana", product="Lamp")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"MessageType": "audio", "NumMedia": "1"}, id="voice-note"),
        pytest.param({"MessageType": "sticker", "NumMedia": "1"}, id="sticker"),
        pytest.param({"MessageType": "contacts"}, id="contact-card"),
        pytest.param({"Body": None}, id="no-body"),
        pytest.param({"Body": "   \n"}, id="spaces"),
        pytest.param({"Body": "\u200b\u200d\ufeff"}, id="zero-width"),
        pytest.param({"Body": "\x00\x08"}, id="controls"),
        pytest.param({"ButtonText": " ", "ListTitle": "\u3164"}, id="blank-button"),
    ],
)
def test_a_message_without_text_is_asked_for_again(
    customer: Customer, changes: dict[str, str | None]
) -> None:
    customer.says("hi")
    reply = customer.sends(message_form(customer.contact, "", **changes))
    assert reply == f"{NOT_TEXT} {QUESTIONS[State.ASK_NAME]}"
    assert customer.says("Lamp") == GOT_PRODUCT


@pytest.mark.parametrize(
    ("changes", "product"),
    [
        ({"Body": "Lamp", "ButtonText": "Yes", "ListTitle": "One"}, "Lamp"),
        ({"Body": "", "ButtonText": "Yes", "ListTitle": "One"}, "Yes"),
        ({"Body": " \u200b", "ButtonText": "Yes"}, "Yes"),
        ({"Body": None, "ListTitle": "One"}, "One"),
        ({"Body": "", "ButtonText": "\u2800", "ListTitle": "One"}, "One"),
    ],
)
def test_the_text_is_the_body_else_the_button_else_the_list_entry(
    customer: Customer, changes: dict[str, str | None], product: str
) -> None:
    customer.says("hi")
    customer.sends(message_form(customer.contact, "", **changes))
    assert customer.says("Ana") == GOT_NAME.format(product=product)


def test_a_photos_caption_is_text(customer: Customer) -> None:
    customer.says("hi")
    assert customer.sends_photo("Lamp") == GOT_PRODUCT
    assert customer.says("Ana") == GOT_NAME.format(product="Lamp")


def test_what_twilio_only_sometimes_sends_may_be_missing(customer: Customer) -> None:
    form = message_form(customer.contact, "hi", ProfileName=None, WaId=None, MessageType=None)
    assert customer.sends(form) == GREETING


def test_the_profile_name_is_no_answer(client: TestClient, customer: Customer) -> None:
    for text in ANSWERS:
        customer.sends(message_form(customer.contact, text, ProfileName="👋" * 1000))
    assert [review["user_name"] for review in listed(client)] == ["Ana"]


@pytest.mark.parametrize(
    ("sender", "contact"),
    [
        ("whatsapp:+15551234567", CONTACT),
        ("WhatsApp:+15551234567", CONTACT),
        ("WHATSAPP:+15551234567", CONTACT),
        ("+15551234567", CONTACT),
        ("whatsapp: 15551234567", CONTACT),
        (" 15551234567", CONTACT),
        ("whatsapp:US.13491208655302741918", "US.13491208655302741918"),
        ("whatsapp:pt.123", "pt.123"),
        ("whatsapp:US." + "9" * 128, "US." + "9" * 128),
        ("x" * 150, "x" * 150),
    ],
)
def test_the_contact_is_the_sender_without_prefix_whole(
    production: TestClient, sender: str, contact: str
) -> None:
    body = urlencode({**message_form("", "hi"), "From": sender})
    assert post(production, "/webhook", body).status_code == 200
    assert logged(production) == [(contact, "hi")]


def test_a_plus_sign_that_curl_left_unencoded_is_put_back(client: TestClient) -> None:
    post_unsigned(client, "/webhook", "From=whatsapp:+15551234567&Body=hi")
    assert logged(client) == [(CONTACT, "hi")]


def test_whatsapp_and_sms_of_one_number_are_one_contact(client: TestClient) -> None:
    for text, prefix in zip(ANSWERS, ["whatsapp:", "", "WhatsApp:", "whatsapp:"], strict=True):
        client.post("/webhook", data={"From": prefix + CONTACT, "Body": text})
    assert [review["contact_number"] for review in listed(client)] == [CONTACT]


def test_a_contact_without_a_number_finishes_a_review(client: TestClient) -> None:
    customer = Customer(Simulator(client), "US.13491208655302741918")
    for text in ANSWERS:
        reply = customer.sends(message_form(customer.contact, text, WaId=None))
    assert reply == GOT_REVIEW.format(name="Ana", product="Lamp")
    assert [review["contact_number"] for review in listed(client)] == [customer.contact]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("+5 & 100% 👋 שלום", "+5 & 100% 👋 שלום"),
        ("+5 & 100% 👋 שלום\n", "+5 & 100% 👋 שלום"),
        ("  two  spaces  ", "two  spaces"),
        ("one\r\ntwo\rthree\nfour\tfive", "one\ntwo\nthree\nfour\tfive"),
        ("nu\x00ll \x08back \ufffeno \uffffcharacter \x1b\x0b\x0c", "null back no character"),
        ("\x85kept\x7f\x80\x9fkept", "kept\x7f\x80\x9fkept"),
        ("family 👨‍👩‍👧 \u202eright-to-left", "family 👨‍👩‍👧 \u202eright-to-left"),
        ("{product} %s <b>&amp;</b> \"q\" 'q'", "{product} %s <b>&amp;</b> \"q\" 'q'"),
        ("e\u0301 and é stay apart", "e\u0301 and é stay apart"),
        ("r" * 4096, "r" * 4096),
        ("👋" * 8000, "👋" * 8000),
    ],
)
def test_a_review_is_stored_as_it_was_typed(
    client: TestClient, customer: Customer, sent: str, stored: str
) -> None:
    for text in [*ANSWERS[:3], sent]:
        reply = customer.says(text)
    assert reply == GOT_REVIEW.format(name="Ana", product="Lamp")
    assert [review["product_review"] for review in listed(client)] == [stored]


@pytest.mark.parametrize(
    ("encoded", "stored"),
    [
        (b"%00x%08y%EF%BF%BEz", "xyz"),
        (b"%ED%A0%BDx%ED%B0%80", "\ufffd\ufffd\ufffdx\ufffd\ufffd\ufffd"),
        (b"%FFx", "\ufffdx"),
        ("raw é👋".encode(), "raw é👋"),
        (b"a;b%3Bc", "a;b;c"),
        (b"%2B5+%26+100%25", "+5 & 100%"),
        (b"100%+sure%2", "100% sure%2"),
    ],
)
def test_any_bytes_of_a_form_are_read(client: TestClient, encoded: bytes, stored: str) -> None:
    body = b"From=whatsapp%3A%2B15551234567&Body=" + encoded
    assert post_unsigned(client, "/webhook", body).status_code == 200
    assert logged(client) == [(CONTACT, stored)]


def test_lone_surrogates_are_dropped() -> None:
    assert clean("a\ud83db\udc4bc👋") == "abc👋"


@pytest.mark.parametrize(
    ("step", "limit"), [(1, "150"), (2, "150"), (3, "8,000")], ids=["product", "name", "review"]
)
def test_a_text_that_is_too_long_is_asked_for_again(
    customer: Customer, step: int, limit: str
) -> None:
    for text in ANSWERS[:step]:
        customer.says(text)
    reply = customer.says("r" * 10_000)
    question = list(QUESTIONS.values())[step - 1]
    assert reply == f"Sorry, that is longer than {limit} characters. {question}"
    for text in ANSWERS[step:]:
        reply = customer.says(text)
    assert reply == GOT_REVIEW.format(name="Ana", product="Lamp")


@pytest.mark.parametrize("word", ["STOP", " stop ", "join abc-def", "START", "HELP", "restart"])
def test_no_word_is_reserved(client: TestClient, customer: Customer, word: str) -> None:
    bystander = Customer(Simulator(client), "+15550000001")
    bystander.says("hi")
    for _ in range(4):
        customer.says(word)
    (review,) = listed(client)
    said = [review["product_name"], review["user_name"], review["product_review"]]
    assert said == [word.strip()] * 3
    assert bystander.says("Sofa") == GOT_PRODUCT


def test_a_review_of_every_character_is_stored_on_either_database(
    make_client: MakeClient, database_url: str
) -> None:
    app = make_client(database_url=database_url)
    customer = Customer(Simulator(app), "US.13491208655302741918")
    every = "".join(map(chr, [*range(0x3000), 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F44B, 0x10FFFF]))
    sent = [every[start : start + 8000] for start in range(0, len(every), 8000)]
    for review in sent:
        for text in ["hi", "\x00Lamp", "\x08Ana", f"<{review}>"]:
            customer.says(text)
    stored = [review["product_review"] for review in reversed(listed(app))]
    assert stored == [clean(f"<{review}>") for review in sent]
    assert {review["contact_number"] for review in listed(app)} == {customer.contact}


def test_both_webhooks_answer_below_a_path_that_the_server_names_as_well(
    make_client: MakeClient, sqlite_url: str
) -> None:
    """Uvicorn's --root-path: Twilio's routes are found below it, too."""
    client = TestClient(make_client(database_url=sqlite_url).app, root_path="/bot")
    answer = client.post("/bot/webhook", data={"From": "+15551234567", "Body": "Hi"})
    assert read_twiml(answer).text == GREETING
    assert client.post("/bot/webhook", data={"Body": "Hi"}).status_code == 400
    assert client.post("/bot/twilio-status-callback", data={"Body": "x"}).status_code == 204
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/bot/webhook", data={"From": "1"}, headers=foreign).status_code == 403
