"""How delivery is followed: in any order, any number of times, and never by guessing."""

from itertools import permutations
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from simulator.customer import Customer
from simulator.fake_twilio import ACCOUNT_SID, Simulator, message_form, new_sid
from simulator.twiml_reader import read_twiml
from tests.conftest import PUBLIC_URL, TOKEN, MakeClient, listed
from tests.support.captures import DELIVERED, READ, SENT, UNDELIVERED, post, post_unsigned, sign

CONTACT = "+31612345678"
PATH = "/twilio-status-callback"


@pytest.fixture
def client(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app without a token, on SQLite."""
    return make_client(database_url=sqlite_url, conversation_store="database")


def finish(twilio: Simulator, contact: str = CONTACT) -> str:
    """Have a customer finish a review; return the address of its status callbacks."""
    for text in ["hi", "Lamp", "Ana", "Bright."]:
        answer = twilio.deliver(message_form(contact, text))
    assert answer.callback is not None
    return f"/{answer.callback.removeprefix(PUBLIC_URL + '/')}"


def status_form(status: str, sid: str, error_code: str | None = None) -> dict[str, str]:
    form = {
        "MessageSid": sid,
        "MessageStatus": status,
        "To": f"whatsapp:{CONTACT}",
        "AccountSid": ACCOUNT_SID,
    }
    return form if error_code is None else {**form, "ErrorCode": error_code}


def delivery(client: TestClient) -> list[tuple[str, int | None]]:
    """Read status and error code of every review, oldest first."""
    return [(item["status"], item["error_code"]) for item in reversed(listed(client))]


PENDING: tuple[str, int | None] = ("pending", None)


@pytest.mark.parametrize("order", [*permutations(["sent", "delivered", "read"])])
def test_any_order_of_callbacks_ends_the_same(
    production: TestClient, twilio: Simulator, order: tuple[str, ...]
) -> None:
    callback, sid = finish(twilio), new_sid()
    for status in [*order, *order]:
        answer = twilio.post(callback, status_form(status, sid))
        assert (answer.status_code, answer.content) == (204, b"")
    assert delivery(production) == [("read", None)]


def test_every_status_is_shown_until_a_higher_one_comes(
    production: TestClient, twilio: Simulator
) -> None:
    callback, sid = finish(twilio), new_sid()
    order = "accepted scheduled queued sending sent canceled undelivered failed delivered read"
    for status in order.split():
        twilio.post(callback, status_form(status, sid))
        assert delivery(production) == [(status, None)]
    for status in order.split():
        twilio.post(callback, status_form(status, sid))
    assert delivery(production) == [("read", None)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("sent undelivered:63016", ("undelivered", 63016)),
        ("undelivered:63016 sent", ("undelivered", 63016)),
        ("delivered sent", ("delivered", None)),
        ("undelivered:63016 delivered", ("delivered", None)),
        ("delivered undelivered:63016", ("delivered", None)),
        ("failed:63018 read", ("read", None)),
        ("failed:abc", ("failed", None)),
        ("failed:", ("failed", None)),
        ("failed:99999999999999999999", ("failed", None)),
        ("failed:-1", ("failed", None)),
        ("failed:٣", ("failed", None)),
        ("sent:63016", ("sent", None)),
        ("DELIVERED", ("delivered", None)),
    ],
)
def test_status_and_error_code_are_those_of_the_highest_event(
    production: TestClient, twilio: Simulator, events: str, expected: tuple[str, int | None]
) -> None:
    callback, sid = finish(twilio), new_sid()
    for event in events.split():
        status, _, error_code = event.partition(":")
        form = status_form(status, sid, error_code if ":" in event else None)
        assert twilio.post(callback, form).status_code == 204
    assert delivery(production) == [expected]


@pytest.mark.parametrize("status", ["partially_delivered", "foo", "pending", "", "received", None])
def test_a_status_we_do_not_know_changes_nothing(
    production: TestClient, twilio: Simulator, status: str | None
) -> None:
    callback = finish(twilio)
    form = status_form(status or "", new_sid())
    if status is None:
        del form["MessageStatus"]
    answer = twilio.post(callback, form)
    assert (answer.status_code, answer.content) == (204, b"")
    assert delivery(production) == [PENDING]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (SENT, ("sent", None)),
        (DELIVERED, ("delivered", None)),
        (READ, ("read", None)),
        (UNDELIVERED, ("undelivered", 63016)),
    ],
)
def test_a_callback_that_twilio_really_sent_is_told_by_its_query(
    production: TestClient, twilio: Simulator, body: str, expected: tuple[str, int | None]
) -> None:
    callback = finish(twilio)
    assert post(production, callback, body).status_code == 204
    assert delivery(production) == [expected]


@pytest.mark.parametrize("query", ["", "?review=", "?review=SM" + "9" * 32, "?review=%00", "?in=1"])
def test_nothing_is_guessed_of_a_message_we_do_not_know(
    production: TestClient, twilio: Simulator, query: str
) -> None:
    finish(twilio)
    finish(twilio)
    answer = post(production, PATH + query, DELIVERED)
    assert (answer.status_code, answer.content) == (204, b"")
    assert delivery(production) == [PENDING, PENDING]


def test_a_callback_signed_without_its_query_is_refused(
    production: TestClient, twilio: Simulator
) -> None:
    callback = finish(twilio)
    headers = {"X-Twilio-Signature": sign(PUBLIC_URL + PATH, SENT)}
    assert post_unsigned(production, callback, SENT, headers).status_code == 403
    assert delivery(production) == [PENDING]


def test_a_callback_of_one_review_leaves_the_others_alone(
    production: TestClient, twilio: Simulator
) -> None:
    first, second, third = finish(twilio), finish(twilio), finish(twilio, "+15550000001")
    assert len({first, second, third}) == 3
    twilio.post(second, status_form("delivered", new_sid()))
    assert delivery(production) == [PENDING, ("delivered", None), PENDING]


def test_a_message_known_by_now_needs_no_query(production: TestClient, twilio: Simulator) -> None:
    callback, sid = finish(twilio), new_sid()
    finish(twilio)
    twilio.post(callback, status_form("sent", sid))
    twilio.post(PATH, status_form("delivered", sid))
    assert delivery(production) == [("delivered", None), PENDING]
    assert [item["message_sid"] for item in listed(production)] == [None, sid]


def test_a_callback_may_come_before_the_reply_that_it_is_about_has_left(
    production: TestClient, twilio: Simulator
) -> None:
    reported: list[int] = []

    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        """The app on a line where Twilio's callback overtakes the last bytes of our reply."""

        async def send_late(message: Message) -> None:
            if b"statusCallback" in message.get("body", b""):
                callback = message["body"].decode().partition('action="')[2].partition('"')[0]
                answer = twilio.report(callback, CONTACT, new_sid(), "delivered")
                reported.append(answer.status_code)
            await send(message)

        await production.app(scope, receive, send_late)

    line = Simulator(TestClient(impatient), auth_token=TOKEN, public_url=PUBLIC_URL)
    for text in ["hi", "Lamp", "Ana", "Bright."]:
        line.deliver(message_form(CONTACT, text))
    assert reported == [204]
    assert delivery(production) == [("delivered", None)]


@pytest.mark.parametrize("missing", ["MessageSid", "AccountSid"])
def test_production_refuses_a_hand_made_callback(
    production: TestClient, twilio: Simulator, missing: str
) -> None:
    callback = finish(twilio)
    form = status_form("delivered", new_sid())
    del form[missing]
    assert twilio.post(callback, form).status_code == 400
    assert delivery(production) == [PENDING]


def test_a_hand_made_callback_is_of_the_newest_pending_review(client: TestClient) -> None:
    for contact in (CONTACT, CONTACT, "+15550000001"):
        finish(Simulator(client), contact)

    def by_hand(sid: str, **more: str) -> None:
        form = {"MessageSid": sid, "MessageStatus": "delivered", **more}
        post_unsigned(client, PATH, urlencode(form))

    by_hand("SM1", To=f"whatsapp:{CONTACT}")
    assert delivery(client) == [PENDING, ("delivered", None), PENDING]
    by_hand("SM2")
    assert delivery(client) == [PENDING, ("delivered", None), ("delivered", None)]
    by_hand("SM3", To="+15550000001")
    assert delivery(client) == [PENDING, ("delivered", None), ("delivered", None)]


def test_a_hand_made_callback_stays_with_the_review_of_its_message(client: TestClient) -> None:
    for contact in (CONTACT, "+15550000001"):
        finish(Simulator(client), contact)
    for status in ("sent", "delivered", "read"):
        post_unsigned(client, PATH, f"MessageSid=SM1&MessageStatus={status}")
    assert delivery(client) == [PENDING, ("read", None)]


def test_a_hand_made_callback_without_any_review_is_answered(client: TestClient) -> None:
    answer = post_unsigned(client, PATH, "MessageSid=SM1&MessageStatus=delivered")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("query", ["", "?review=unknown", "?review=%00"])
@pytest.mark.parametrize("sid", ["SM" + "9" * 32, None])
def test_a_local_callback_of_an_account_is_not_guessed_either(
    client: TestClient, query: str, sid: str | None
) -> None:
    finish(Simulator(client))
    form = status_form("delivered", sid or "")
    if sid is None:
        del form["MessageSid"]
    assert post_unsigned(client, PATH + query, urlencode(form)).status_code == 204
    assert delivery(client) == [PENDING]


@pytest.mark.parametrize("query", ["?review=unknown", "?review=%00"])
def test_a_callback_of_an_unknown_review_is_answered_on_either_database(
    make_client: MakeClient, database_url: str, query: str
) -> None:
    app = make_client(database_url=database_url)
    answer = post_unsigned(app, PATH + query, urlencode(status_form("sent", new_sid())))
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_customers_callbacks_end_with_read(client: TestClient) -> None:
    customer = Customer(Simulator(client))
    for text in ["hi", "Lamp", "Ana", "Bright."]:
        customer.says(text)
    assert delivery(client) == [("read", None)]


def test_the_callbacks_of_a_repeated_confirmation_are_told_as_well(client: TestClient) -> None:
    twilio = Simulator(client)
    for text in ["hi", "Lamp", "Ana"]:
        twilio.deliver(message_form(CONTACT, text))
    last = message_form(CONTACT, "Bright.")
    client.post("/webhook", data=last)  # its answer is lost on the way
    again: Any = read_twiml(client.post("/webhook", data=last))
    twilio.report(again.callback, CONTACT, new_sid(), "delivered")
    assert delivery(client) == [("delivered", None)]
