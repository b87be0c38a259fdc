"""The same message again, and many at once: one step each, one review, the same words."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING
from core.logs import logger
from core.settings import Settings
from main import create_app
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form, new_sid
from simulator.twiml_reader import Answer, read_twiml
from tests.conftest import MakeClient, listed
from tests.support.captures import logged
from tests.support.sentences import is_thanks

CONTACT = "+15551234567"
THANKS = GOT_REVIEW.format(name="Ana", product="Lamp")


def at_once(client: TestClient, forms: list[dict[str, str]]) -> list[Any]:
    """Post all forms at the same time; return the answers in their order."""
    with ThreadPoolExecutor(len(forms)) as pool:
        return list(pool.map(lambda form: client.post("/webhook", data=form), forms))


def forms(contact: str, *texts: str) -> list[dict[str, str]]:
    return [message_form(contact, text) for text in texts]


def test_every_message_that_comes_twice_is_one_step(client: TestClient) -> None:
    for form in forms(CONTACT, "hi", "Lamp", "", "Ana", "Bright."):
        first = client.post("/webhook", data=form)
        again = client.post("/webhook", data=form)
        assert (again.status_code, again.content) == (200, first.content)
    assert [text for _, text in logged(client)] == ["hi", "Lamp", "", "Ana", "Bright."]
    assert len(listed(client)) == 1


def test_a_late_repeat_gets_its_old_words_and_moves_nothing(local: TestClient) -> None:
    sent = forms(CONTACT, "hi", "Lamp", "Ana", "Bright.")
    answers = [local.post("/webhook", data=form).content for form in sent]
    local.post("/webhook", data=message_form(CONTACT, "hi again"))
    for form, answer in zip(sent, answers, strict=True):
        assert local.post("/webhook", data=form).content == answer
    assert len(listed(local)) == 1
    next_answer = read_twiml(local.post("/webhook", data=message_form(CONTACT, "Sofa")))
    assert next_answer.text == GOT_PRODUCT


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_twenty_deliveries_of_one_message_at_once_are_one_step(
    local: TestClient, step: int
) -> None:
    sent = forms(CONTACT, "hi", "Lamp", "Ana", "Bright.")
    for number, form in enumerate(sent):
        answers = at_once(local, [form] * 20 if number == step else [form])
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
    assert read_twiml(answers[0]).text == THANKS
    assert len(logged(local)) == 4
    assert len(listed(local)) == 1


def test_two_messages_of_one_contact_at_once_are_both_steps(client: TestClient) -> None:
    for number in range(8):
        customer = Customer(Simulator(client), f"+1555000{number:04}")
        customer.says("hi")
        both = at_once(client, forms(customer.contact, "one", "two"))
        replies = {read_twiml(answer).text: n for n, answer in enumerate(both)}
        product = ["one", "two"][replies.pop(GOT_PRODUCT)]
        assert set(replies) == {GOT_NAME.format(product=product)}
        assert is_thanks(customer.says("Bright."))
    pairs = {(item["product_name"], item["user_name"]) for item in listed(client)}
    assert pairs <= {("one", "two"), ("two", "one")}
    assert len(listed(client)) == 8


def test_a_whole_conversation_at_once_is_taken_in_some_order(client: TestClient) -> None:
    answers = at_once(client, forms(CONTACT, "hi", "Lamp", "Ana", "Bright."))
    replies = [read_twiml(answer).text or "" for answer in answers]
    assert {GREETING, GOT_PRODUCT} < {*replies}
    assert sum(map(is_thanks, replies)) == 1
    (review,) = listed(client)
    answered = {review["product_name"], review["user_name"], review["product_review"]}
    assert len(answered) == 3
    assert answered < {"hi", "Lamp", "Ana", "Bright."}


def test_fifty_contacts_at_once_never_hear_each_others_words(client: TestClient) -> None:
    def talk(number: int) -> str:
        customer = Customer(Simulator(client), f"+1555000{number:04}", delivers=())
        for text in ["hi", f"Product {number}", f"Name {number}"]:
            customer.says(text)
        return customer.says(f"Text {number}")

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(talk, range(50)))
    assert replies == [
        GOT_REVIEW.format(name=f"Name {n}", product=f"Product {n}") for n in range(50)
    ]
    names = ("contact_number", "user_name", "product_name", "product_review")
    assert sorted(tuple(item[name] for name in names) for item in listed(client)) == sorted(
        (f"+1555000{n:04}", f"Name {n}", f"Product {n}", f"Text {n}") for n in range(50)
    )


@pytest.mark.parametrize("delivery", ["one after the other", "at once"])
def test_of_two_texts_under_one_sid_one_counts(local: TestClient, delivery: str) -> None:
    customer = Customer(Simulator(local), CONTACT)
    customer.says("hi")
    sid = new_sid()
    both = [message_form(CONTACT, text, MessageSid=sid) for text in ("Lamp", "Sofa")]
    if delivery == "at once":
        answers = at_once(local, both)
    else:
        answers = [local.post("/webhook", data=form) for form in both]
    assert [read_twiml(answer).text for answer in answers] == [GOT_PRODUCT] * 2
    kept = logged(local)[-1][1]
    assert kept in ({"Lamp", "Sofa"} if delivery == "at once" else {"Lamp"})
    assert customer.says("Ana") == GOT_NAME.format(product=kept)


def test_another_text_under_a_known_sid_is_logged_without_either_text(
    local: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    form = message_form(CONTACT, "Lamp")
    local.post("/webhook", data=form)
    logger.addHandler(caplog.handler)
    try:
        local.post("/webhook", data={**form, "Body": "Sofa"})
    finally:
        logger.removeHandler(caplog.handler)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert form["MessageSid"] in warning.getMessage()
    assert not any(text in warning.getMessage() for text in ("Lamp", "Sofa"))


def test_one_sid_of_two_contacts_at_once_belongs_to_one_of_them(client: TestClient) -> None:
    sid = new_sid()
    pair = [message_form(contact, "hi", MessageSid=sid) for contact in (CONTACT, "+15550000001")]
    assert sorted(answer.status_code for answer in at_once(client, pair)) == [200, 400]
    assert len(logged(client)) == 1


@pytest.mark.parametrize("store", ["database", "memory"])
def test_a_repeat_after_a_restart_gets_the_stored_reply(sqlite_url: str, store: str) -> None:
    settings = Settings.model_validate(
        {"environment": "local", "database_url": sqlite_url, "conversation_store": store}
    )
    sent = forms(CONTACT, "hi", "Lamp", "Ana", "Bright.")
    with TestClient(create_app(settings)) as before:
        answers = [before.post("/webhook", data=form).content for form in sent]
    with TestClient(create_app(settings)) as after:
        assert [after.post("/webhook", data=form).content for form in sent] == answers
        assert len(logged(after)) == 4
        assert len(listed(after)) == 1


def test_a_reply_that_was_lost_is_given_by_another_process_on_the_same_database(
    make_client: MakeClient, database_url: str
) -> None:
    crashed = make_client(database_url=database_url, conversation_store="database")
    other = make_client(database_url=database_url, conversation_store="database")
    sent = forms(CONTACT, "hi", "Lamp", "Ana", "Bright.")
    for form in sent:
        crashed.post("/webhook", data=form)
    expected = Answer(THANKS, f"twilio-status-callback?review={sent[0]['MessageSid']}")
    assert read_twiml(other.post("/webhook", data=sent[-1])) == expected
    assert len(listed(other)) == 1


def test_a_repeat_gets_the_words_of_its_day_also_after_new_wording(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = message_form(CONTACT, "hi")
    first = local.post("/webhook", data=form)
    monkeypatch.setattr("conversation.state_machine.GREETING", "Welcome!")
    assert local.post("/webhook", data=form).content == first.content
    assert read_twiml(local.post("/webhook", data=message_form("+1", "hi"))).text == "Welcome!"
