"""What is refused before anything is recorded, and in what order."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW
from simulator.customer import Customer
from simulator.fake_twilio import ACCOUNT_SID, Simulator, message_form
from simulator.twiml_reader import read_twiml
from tests.conftest import PUBLIC_URL, TOKEN, MakeClient, listed
from tests.support.captures import FORM, TEXT, logged, post, post_unsigned, sign
from web.form_body import MAX_BYTES

PATHS = ["/webhook", "/twilio-status-callback"]
ANOTHER_ACCOUNT = "AC" + "f" * 32
CONTACT = "+15551234567"


@pytest.fixture
def client(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app without a token, on SQLite: the edge is the same on either database."""
    return make_client(database_url=sqlite_url, conversation_store="database")


@pytest.fixture
def strict(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """The production app of one account, whose messages alone it takes."""
    return make_client(
        environment="production",
        database_url=sqlite_url,
        twilio_auth_token=TOKEN,
        twilio_account_sid=ACCOUNT_SID,
        public_url=PUBLIC_URL,
        api_key="k" * 16,
    )


def fields(count: int) -> str:
    return "&".join(f"f{n}=1" for n in range(count))


def body_of(size: int) -> str:
    return "Body=".ljust(size, "x")


TOO_LARGE = body_of(MAX_BYTES + 1) + "&" + fields(100)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        pytest.param("text/plain", TOO_LARGE, 415, id="not-a-form-goes-first"),
        pytest.param(FORM, TOO_LARGE, 413, id="then-too-large"),
        pytest.param(FORM, fields(101), 400, id="then-too-many-fields"),
        pytest.param(FORM, f"From=1&From=2&AccountSid={ANOTHER_ACCOUNT}", 403, id="then-unsigned"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_unsigned_request_is_refused_for_the_first_of_its_faults(
    strict: TestClient, path: str, kind: str, body: str, status: int
) -> None:
    assert post_unsigned(strict, path, body, {"Content-Type": kind}).status_code == status


@pytest.mark.parametrize(
    "fault",
    [
        {"From": None},
        {"MessageSid": "SM1"},
        {"AccountSid": None},
        {"Body": ["hello", "again"]},
        {"From": ["whatsapp:+1555", "whatsapp:+1556"]},
    ],
)
def test_a_faulty_field_is_refused_before_another_account(
    strict: TestClient, fault: dict[str, Any]
) -> None:
    form: dict[str, Any] = {
        **message_form(CONTACT, "hi", AccountSid=ANOTHER_ACCOUNT),
        "MessageSid": "SM" + "1" * 32,
        **fault,
    }
    body = urlencode({name: value for name, value in form.items() if value}, doseq=True)
    assert post(strict, "/webhook", body).status_code == 400


@pytest.mark.parametrize("path", PATHS)
def test_another_accounts_request_is_refused(strict: TestClient, path: str) -> None:
    body = urlencode(message_form(CONTACT, "hi", AccountSid=ANOTHER_ACCOUNT))
    assert post(strict, path, body).status_code == 403
    assert logged(strict) == []


def test_a_request_of_our_account_is_taken(strict: TestClient) -> None:
    assert post(strict, "/webhook", urlencode(message_form(CONTACT, "hi"))).status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded; charset=UTF-8", FORM.upper(), f" {FORM} "]
)
def test_the_content_type_may_be_spelt_in_any_way(production: TestClient, kind: str) -> None:
    assert post(production, "/webhook", TEXT, **{"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "multipart/form-data", "x"])
@pytest.mark.parametrize("path", ["/webhook", "/twilio-status-callback"])
def test_only_a_form_is_read(production: TestClient, path: str, kind: str) -> None:
    headers = {"Content-Type": kind, "X-Twilio-Signature": sign(PUBLIC_URL + path, "")}
    answer = post_unsigned(production, path, '{"Body": "forged"}', headers)
    assert answer.status_code == 415
    assert logged(production) == []


def test_a_form_with_a_file_is_refused(production: TestClient) -> None:
    answer = production.post("/webhook", data=message_form("+1555", "hi"), files={"x": b"y"})
    assert answer.status_code == 415


@pytest.mark.parametrize(("size", "status"), [(MAX_BYTES, 403), (MAX_BYTES + 1, 413)])
@pytest.mark.parametrize("path", PATHS)
def test_a_body_has_128_kib_at_most(
    production: TestClient, path: str, size: int, status: int
) -> None:
    answer = post_unsigned(production, path, body_of(size))
    assert answer.status_code == status
    assert (answer.headers.get("connection") == "close") == (status == 413)


@pytest.mark.parametrize(("chunks", "status"), [(128, 403), (129, 413)])
def test_a_body_that_does_not_tell_its_length_has_128_kib_at_most(
    production: TestClient, chunks: int, status: int
) -> None:
    def stream() -> Iterator[bytes]:
        for _ in range(chunks):
            yield b"x" * 1024

    headers = {"Content-Type": FORM}
    answer = production.post("/webhook", content=stream(), headers=headers)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == status


@pytest.mark.parametrize(("count", "status"), [(100, 403), (101, 400)])
def test_a_form_has_100_fields_at_most(production: TestClient, count: int, status: int) -> None:
    answer = post_unsigned(production, "/webhook", fields(count))
    assert answer.status_code == status
    assert "connection" not in answer.headers  # all of it has been read


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *(("/webhook", name) for name in ("From", "MessageSid", "AccountSid", "Body")),
        *(
            ("/twilio-status-callback", name)
            for name in ("MessageSid", "AccountSid", "MessageStatus")
        ),
    ],
)
def test_a_field_that_must_be_one_is_refused_when_it_comes_twice(
    production: TestClient, path: str, name: str
) -> None:
    form = message_form(CONTACT, "hi", MessageStatus="sent")
    body = urlencode([*form.items(), (name, form[name])])
    assert post(production, path, body).status_code == 400
    assert logged(production) == []


@pytest.mark.parametrize("name", ["From", "MessageSid", "AccountSid"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_field_that_must_be_there_is_refused_when_it_is_missing(
    production: TestClient, name: str, value: str | None
) -> None:
    form = {**message_form(CONTACT, "hi"), name: value}
    body = urlencode({key: value for key, value in form.items() if value is not None})
    assert post(production, "/webhook", body).status_code == 400
    assert logged(production) == []


@pytest.mark.parametrize("sid", ["SM" + "0" * 63, "S" * 65, "SM" + "0" * 10_000])
def test_a_sid_has_64_characters_at_most(
    client: TestClient, production: TestClient, sid: str
) -> None:
    form = message_form(CONTACT, "hi", MessageSid=sid)
    assert client.post("/webhook", data=form).status_code == 400
    assert post(production, "/webhook", urlencode(form)).status_code == 400


@pytest.mark.parametrize("sid", ["legacy-2", "migrated-1", "proof-1"])
def test_a_sid_like_the_names_that_we_give_is_refused(client: TestClient, sid: str) -> None:
    form = message_form(CONTACT, "hi", MessageSid=sid)
    assert client.post("/webhook", data=form).status_code == 400


def test_a_contact_like_the_name_of_a_forgotten_one_is_refused(client: TestClient) -> None:
    form = {**message_form("", "hi"), "From": "whatsapp:forgotten-0123"}
    assert client.post("/webhook", data=form).status_code == 400


@pytest.mark.parametrize("contact", ["", "whatsapp:", " ", "whatsapp:" + "1" * 151, "%00"])
def test_a_contact_has_1_to_150_characters(production: TestClient, contact: str) -> None:
    form = {**message_form("", "hi"), "From": contact.replace("%00", "\0")}
    assert post(production, "/webhook", urlencode(form)).status_code == 400
    assert logged(production) == []


def test_a_sid_that_another_contact_has_used_is_refused_and_changes_nothing(
    client: TestClient,
) -> None:
    ana, ben = (
        Customer(Simulator(client), "+15550000001"),
        Customer(Simulator(client), "+15550000002"),
    )
    ana.says("hi")
    ben.says("hi")
    used = message_form(ana.contact, "Lamp")
    ana.sends(used)
    before = logged(client)
    stolen = {**message_form(ben.contact, "Chair"), "MessageSid": used["MessageSid"]}
    assert client.post("/webhook", data=stolen).status_code == 400
    assert logged(client) == before
    assert ben.says("Sofa") == GOT_PRODUCT
    assert ana.says("Ana") == GOT_NAME.format(product="Lamp")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_only_post_is_answered(production: TestClient, path: str, method: str) -> None:
    assert production.request(method, path).status_code == 405


@pytest.mark.parametrize("path", ["/webhook/", "/twilio-status-callback/", "/Webhook"])
def test_an_address_beside_ours_is_not_redirected(production: TestClient, path: str) -> None:
    answer = post_unsigned(
        production, path, TEXT, {"X-Twilio-Signature": sign(PUBLIC_URL + path, TEXT)}
    )
    assert answer.status_code == 404


def test_two_fields_are_enough_locally(client: TestClient) -> None:
    two = {"From": "whatsapp:+15551234567"}
    for text in ["hi", "Lamp", "Ana", "Bright."]:
        answer = read_twiml(client.post("/webhook", data={**two, "Body": text}))
    assert answer.text == GOT_REVIEW.format(name="Ana", product="Lamp")
    assert [review["contact_number"] for review in listed(client)] == [CONTACT]


def test_two_fields_are_not_enough_in_production(production: TestClient) -> None:
    body = urlencode({"From": "whatsapp:+15551234567", "Body": "hi"})
    assert post(production, "/webhook", body).status_code == 400
    assert logged(production) == []
