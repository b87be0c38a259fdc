"""Everything of a customer is erased: reviews, words, an unfinished conversation, the number."""

import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from redis import Redis

from conversation.wording import GOT_NAME, GOT_REVIEW, GREETING
from core import logs
from core.clock import utc_now
from core.pseudonym import pseudonym
from core.text import search_text
from models import LoggedMessage, Review
from simulator.fake_twilio import Simulator, message_form
from tests.conftest import MakeClient, database_of, listed
from tests.support.databases import RunningValkey
from tests.support.traces import (
    ANA,
    BEN,
    MEDIA,
    SILENCE,
    WORDS,
    erased_sids,
    everything,
    finish,
    require_order,
    say,
    tell,
    traces,
)

TRACES = (ANA, ANA[1:], *WORDS, MEDIA, "Sofa")
LAMP = GOT_REVIEW.format(name="Ana", product="Lamp")


@pytest.fixture(
    params=[("memory", "sqlite_url"), ("redis", "postgres_url"), ("database", "sqlite_url")]
)
def client(
    request: pytest.FixtureRequest, make_client: MakeClient, valkey: RunningValkey
) -> TestClient:
    """A local app with each store; tests/ingest has each on the other database."""
    store, url = request.param
    return make_client(
        database_url=request.getfixturevalue(url), conversation_store=store, redis_url=valkey.url
    )


def erase(client: TestClient, contact: str = ANA) -> int:
    """Have a contact erased; return the status of the answer."""
    status: int = client.delete(f"/api/contacts/{quote(contact)}").status_code
    return status


def left(client: TestClient, *words: str) -> list[str]:
    """Find which of the words are left."""
    return traces(database_of(client), *words)


def test_nothing_is_left_of_an_erased_customer_and_others_lose_nothing(
    client: TestClient, valkey: RunningValkey
) -> None:
    unfinished = [message_form(ANA, text) for text in ("Hi", "Zanzibar rug")]
    sent = [*finish(client, ANA), *finish(client, ANA, "Sofa", "Ana", "Soft."), *unfinished]
    say(client, *unfinished)
    tell(client, BEN, "Hi", "Chair", "Ben", "Hard.", "Hi", "Table")
    assert left(client, *TRACES) == [*TRACES]
    others = [item for item in listed(client) if item["contact_number"] == BEN]

    response = client.delete(f"/api/contacts/{ANA}")
    assert (response.status_code, response.content) == (204, b"")

    assert left(client, *TRACES) == []
    with Redis.from_url(valkey.url) as redis:
        for key in redis.scan_iter():
            assert 0 < redis.pttl(key) <= 60_000
    sids = {form["MessageSid"] for form in sent}
    assert erased_sids(database_of(client)) == sids
    assert listed(client) == others
    assert tell(client, BEN, "Ben") == GOT_NAME.format(product="Table")
    require_order(client)


def test_the_next_message_begins_anew_with_nothing_of_before(client: TestClient) -> None:
    for said in ([], ["Zanzibar lamp"], ["Zanzibar lamp", "Wilhelmina"]):
        tell(client, ANA, "Hi", *said)
        assert erase(client) == 204
        assert tell(client, ANA, "Hello again") == GREETING
        assert tell(client, ANA, "Lamp", "Ana", "Bright.") == LAMP
    assert left(client, "Zanzibar", "Wilhelmina") == []
    require_order(client)


def test_a_late_repeat_gets_an_empty_reply_and_brings_nobody_back(client: TestClient) -> None:
    unfinished = [message_form(ANA, text) for text in ("Hi", "Sofa")]
    sent = [*finish(client, ANA), *unfinished]
    say(client, *unfinished)
    erase(client)
    before = everything(database_of(client))
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda form: client.post("/webhook", data=form), sent * 2)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, SILENCE)}
    for form in sent:
        assert client.post("/webhook", data={**form, "From": BEN}).status_code == 400
    assert everything(database_of(client)) == before
    # Nor does it disturb the conversation that the customer has begun since.
    tell(client, ANA, "Hi", "Lamp")
    assert say(client, *sent) == ""
    assert tell(client, ANA, "Ana", "Bright.") == LAMP
    require_order(client)


def test_a_customer_can_be_erased_again_after_coming_back(local: TestClient) -> None:
    sent = []
    for turn in range(1, 5):
        sent += [*finish(local, ANA, f"Zanzibar {turn}", *WORDS[1:]), message_form(ANA, "Hi")]
        say(local, sent[-1])
        assert [erase(local), erase(local)] == [204, 404]
        assert left(local, "Zanzibar", *TRACES) == []
        assert {local.post("/webhook", data=form).content for form in sent} == {SILENCE}
        assert len(erased_sids(database_of(local))) == len(sent)
    require_order(local)


def test_only_one_of_several_owners_at_once_erases_a_contact(client: TestClient) -> None:
    finish(client, ANA)
    with ThreadPoolExecutor(3) as owners:
        assert sorted(owners.map(lambda _: erase(client), range(3))) == [204, 404, 404]
    require_order(client)


@pytest.mark.parametrize(
    ("contact", "path"),
    [
        (ANA, f"%2B{ANA[1:]}"),
        (ANA, f"whatsapp:{ANA}"),
        (ANA, f"WhatsApp%3A%2B{ANA[1:]}"),
        (ANA, f"%20{ANA[1:]}"),
        (BEN, BEN),
        ("a/b c?d#eф", quote("a/b c?d#eф")),
    ],
)
def test_a_contact_is_named_as_in_the_list_or_as_twilio_does(
    local: TestClient, contact: str, path: str
) -> None:
    tell(local, contact, "Hi", *WORDS)
    tell(local, "+15550000001", "Hi", *WORDS)
    assert local.delete(f"/api/contacts/{path}").status_code == 204
    assert [item["contact_number"] for item in listed(local)] == ["+15550000001"]


def test_a_similar_contact_is_not_erased(local: TestClient) -> None:
    finish(local, ANA)
    before = everything(database_of(local))
    for near in (ANA[1:], ANA[:-1], f"{ANA}0", f"{ANA}/", "%", "_" * len(ANA), "*", "forgotten-"):
        assert erase(local, near) == 404
    assert everything(database_of(local)) == before


def keep_legacy_reviews(client: TestClient, *contacts: str) -> None:
    """Put reviews beside those of the log, as an earlier program made them."""
    then = utc_now() - timedelta(days=400)
    columns = ("product_name", "user_name", "product_review", "search_text")
    text = dict(zip(columns, (*WORDS, search_text(*WORDS)), strict=True))
    with database_of(client).write() as connection:
        for number, contact in enumerate(contacts, 1):
            old = {"contact_number": contact, "conversation_id": f"legacy-{number}", **text}
            connection.execute(sa.insert(Review).values(**old, created_at=then, updated_at=then))


def test_reviews_from_before_the_log_go_with_their_customer(local: TestClient) -> None:
    keep_legacy_reviews(local, ANA, BEN)
    assert erase(local) == 204
    assert [item["contact_number"] for item in listed(local)] == [BEN]
    assert left(local, ANA) == []
    require_order(local)


def test_without_a_contact_nobody_is_erased(local: TestClient) -> None:
    """`curl -X DELETE $URL/api/contacts/$CONTACT` with a variable that is empty."""
    keep_legacy_reviews(local, "", "")  # that program may have kept no number
    for nobody in ("", "whatsapp:", "%20", "whatsapp:%20", "%00"):
        assert local.delete(f"/api/contacts/{nobody}").status_code == 422
    assert len(listed(local)) == 2


def test_late_status_callbacks_bring_nobody_back(local: TestClient) -> None:
    callback = f"twilio-status-callback?review={finish(local, ANA)[0]['MessageSid']}"
    finish(local, BEN)
    erase(local)
    before = everything(database_of(local))
    answer = Simulator(local).report(callback, ANA, "SM" + "9" * 32, "delivered")
    assert answer.status_code == 204
    assert everything(database_of(local)) == before


def test_the_pseudonym_is_made_with_the_secret_key(
    production: TestClient, twilio: Simulator
) -> None:
    form = message_form(ANA, "Hi")
    twilio.deliver(form)
    assert production.delete(f"/api/contacts/{ANA}", headers={"X-API-Key": "k" * 16}).is_success
    with database_of(production).read() as connection:
        names = set(connection.scalars(sa.select(LoggedMessage.contact_number)))
    assert names == {pseudonym(ANA, "s" * 32)}
    others = {pseudonym(ANA, "k" * 16), pseudonym(BEN, "s" * 32)}
    assert not others & names
    assert twilio.post("/webhook", form).content == SILENCE


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What our logger and uvicorn's for requests write."""
    logs.configure("DEBUG")
    written = logging.StreamHandler(io.StringIO())
    loggers = [logs.logger, logging.getLogger("uvicorn.access")]
    for each in loggers:
        each.addHandler(written)
    yield written.stream
    for each in loggers:
        each.removeHandler(written)


def test_an_erasure_is_logged_with_a_masked_number(local: TestClient, log: io.StringIO) -> None:
    for said in (WORDS, WORDS[:1]):
        tell(local, ANA, "Hi", *said)
    erase(local)
    erase(local)
    assert "contact erased contact=+1…43 reviews=1 " in log.getvalue()
    assert not [word for word in TRACES if word in log.getvalue()]


def test_customers_write_on_while_they_are_erased_again_and_again(client: TestClient) -> None:
    contacts, written = [f"+1555000000{number}" for number in range(2)], Event()

    def write(contact: str) -> None:
        for text in ["Hi", "Zanzibar", "Wilhelmina", "Good."] * 2:
            assert tell(client, contact, text)

    def erase_all() -> None:
        while not written.is_set():
            assert {erase(client, contact) for contact in contacts} <= {204, 404}

    with ThreadPoolExecutor(3) as people:
        owner = people.submit(erase_all)
        try:
            list(people.map(write, contacts))
        finally:
            written.set()
        owner.result()  # raises what went wrong there
    require_order(client)
    for contact in contacts:
        erase(client, contact)
    assert listed(client) == []
    assert left(client, "Zanzibar", "Wilhelmina", "Good.", *contacts) == []
    require_order(client)
