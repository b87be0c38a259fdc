"""One review is erased with the words of its conversation; everything else stays."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from conversation.wording import GOT_NAME, GOT_REVIEW
from core.clock import utc_now
from core.text import search_text
from db.engine import Database
from models import Review
from simulator.fake_twilio import Simulator, message_form, new_sid
from simulator.twiml_reader import Answer, read_twiml
from tests.conftest import PUBLIC_URL, MakeClient, database_of, listed
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
from tests.web.security.test_auth import come_from

KEY = {"X-API-Key": "k" * 16}
NO_REVIEW = {"detail": "There is no such review."}


def ids(client: TestClient) -> list[int]:
    """List the ids of all reviews, newest first."""
    return [item["id"] for item in listed(client)]


def erase(client: TestClient, review: int) -> int:
    """Erase a review; return the status of the answer."""
    status: int = client.delete(f"/api/reviews/{review}").status_code
    return status


def test_an_erased_review_is_gone_and_so_are_the_words_of_its_conversation(
    client: TestClient, database: Database
) -> None:
    sent = finish(client, ANA)
    assert traces(database, *WORDS, MEDIA) == [*WORDS, MEDIA]
    response = client.delete("/api/reviews/1")
    assert (response.status_code, response.content) == (204, b"")
    assert listed(client) == []
    assert client.get("/api/reviews/1").status_code == 404
    assert client.get("/api/stats").json()["total"] == 0
    assert "Wilhelmina" not in client.get("/api/reviews.csv").text
    assert traces(database, *WORDS, MEDIA) == []
    require_order(client)
    # Its SIDs are kept, and whose they are: the customer's other messages are there as well.
    assert erased_sids(database) == {form["MessageSid"] for form in sent}
    assert traces(database, ANA) == [ANA]


def test_all_other_reviews_stay_with_their_words(client: TestClient, database: Database) -> None:
    for contact, product in [(ANA, "Sofa"), (ANA, WORDS[0]), (BEN, "Sofa"), (ANA, "Chair")]:
        finish(client, contact, product, "Ana", "Good.")
    others = [item for item in listed(client) if item["id"] != 2]
    before = everything(database).splitlines()
    assert erase(client, 2) == 204
    assert listed(client) == others
    gone = [line for line in before if line not in everything(database).splitlines()]
    assert len(gone) == 5  # the review and its four messages
    require_order(client)


@pytest.mark.parametrize("store", ["memory", "redis", "database"])
def test_the_conversation_that_its_customer_is_in_goes_on(
    make_client: MakeClient, sqlite_url: str, valkey: RunningValkey, store: str
) -> None:
    client = make_client(database_url=sqlite_url, conversation_store=store, redis_url=valkey.url)
    finish(client, ANA)
    tell(client, ANA, "Hi", "Sofa", "Ana")
    assert erase(client, 1) == 204
    assert tell(client, ANA, "Soft.") == GOT_REVIEW.format(name="Ana", product="Sofa")
    assert [item["product_review"] for item in listed(client)] == ["Soft."]
    require_order(client)


def test_a_late_repeat_is_answered_with_silence_and_changes_nothing(
    client: TestClient, database: Database
) -> None:
    sent = finish(client, ANA)
    erase(client, 1)
    tell(client, ANA, "Hi", "Sofa")
    before = everything(database)
    for form in sent:
        again = client.post("/webhook", data=form)
        assert (again.status_code, again.content) == (200, SILENCE)
        assert client.post("/webhook", data={**form, "From": BEN}).status_code == 400
    assert everything(database) == before
    assert tell(client, ANA, "Ana") == GOT_NAME.format(product="Sofa")


def test_a_repeat_in_another_conversation_still_gets_its_words(local: TestClient) -> None:
    other, erased = finish(local, ANA, "Sofa", "Ana", "Soft."), finish(local, ANA)
    erase(local, 2)
    assert say(local, other[-1]) == GOT_REVIEW.format(name="Ana", product="Sofa")
    assert read_twiml(local.post("/webhook", data=erased[-1])) == Answer(None)


def test_what_is_not_there_or_is_no_id_erases_nothing(local: TestClient) -> None:
    finish(local, ANA)
    before = listed(local)
    for review in ("2", str(2**63 - 1)):
        response = local.delete(f"/api/reviews/{review}")
        assert (response.status_code, response.json()) == (404, NO_REVIEW)
    for review in ("0", "-1", str(2**63), "one", "1.5", "%00", "1%20OR%201=1"):
        assert local.delete(f"/api/reviews/{review}").status_code == 422
    assert listed(local) == before


def test_a_review_is_erased_once(client: TestClient) -> None:
    finish(client, ANA)
    assert [erase(client, 1), erase(client, 1)] == [204, 404]
    for review in (2, 3):
        finish(client, ANA)
        with ThreadPoolExecutor(3) as owners:
            answers = owners.map(lambda _: erase(client, review), range(3))  # noqa: B023
        assert sorted(answers) == [204, 404, 404]
    require_order(client)


def test_the_id_of_an_erased_review_is_never_given_to_another(local: TestClient) -> None:
    for review in (1, 2, 3):
        finish(local, ANA)
        assert ids(local) == [review]
        erase(local, review)


def test_late_status_callbacks_of_an_erased_review_reach_no_other(
    production: TestClient, twilio: Simulator
) -> None:
    callbacks = []
    for contact in (ANA, BEN):
        for text in ("Hi", *WORDS):
            answer = twilio.deliver(message_form(contact, text))
        assert answer.callback is not None
        callbacks.append(f"/{answer.callback.removeprefix(PUBLIC_URL + '/')}")
    sid = new_sid()
    assert twilio.report(callbacks[0], ANA, sid, "sent").status_code == 204
    assert production.delete("/api/reviews/1", headers=KEY).status_code == 204
    for callback in (callbacks[0], "/twilio-status-callback"):
        assert twilio.report(callback, ANA, sid, "delivered").status_code == 204
    assert [(item["id"], item["status"]) for item in listed(production)] == [(2, "pending")]


def test_a_review_from_before_the_log_is_erased_too(local: TestClient) -> None:
    now = utc_now() - timedelta(days=400)
    columns = ("product_name", "user_name", "product_review")
    row = {"contact_number": ANA, "created_at": now, "updated_at": now, "status": "sent"}
    with database_of(local).write() as connection:
        for number in (1, 2):
            values = {**row, **dict(zip(columns, WORDS, strict=True))}
            values["search_text"] = search_text(*WORDS)
            connection.execute(
                sa.insert(Review).values(**values, conversation_id=f"legacy-{number}")
            )
    assert erase(local, 1) == 204
    assert ids(local) == [2]
    require_order(local)


@pytest.mark.parametrize("path", ["/api/reviews/1", f"/api/contacts/{ANA}"])
def test_only_who_has_the_key_may_erase_and_no_other_sites_page(
    production: TestClient, twilio: Simulator, path: str
) -> None:
    for text in ("Hi", *WORDS):
        twilio.deliver(message_form(ANA, text))
    evil = {"Origin": "https://evil.example"}
    assert production.delete(path).status_code == 401
    assert production.delete(path, headers={"X-API-Key": "wrong"}).status_code == 401
    assert production.delete(path, headers={**KEY, **evil}).status_code == 403
    assert production.delete(path, headers={**KEY, "Origin": "null"}).status_code == 403
    assert len(listed(production)) == 1
    assert production.delete(path, headers={**KEY, "Origin": PUBLIC_URL}).status_code == 204
    assert listed(production) == []


@pytest.mark.parametrize("path", ["/api/reviews/1", f"/api/contacts/{ANA}"])
def test_locally_only_this_machine_may_erase(local: TestClient, path: str) -> None:
    finish(local, ANA)
    tunnel = come_from(local, headers={"X-Forwarded-For": "203.0.113.9"})
    page = come_from(local, headers={"Origin": "https://evil.example"})
    assert [tunnel.delete(path).status_code, page.delete(path).status_code] == [401, 403]
    assert ids(local) == [1]
    assert come_from(local).delete(path).status_code == 204


@pytest.mark.parametrize("path", ["/api/reviews/1", f"/api/contacts/{ANA}"])
def test_while_the_database_is_away_nothing_is_said_to_be_erased(
    make_client: MakeClient, path: str
) -> None:
    away = "postgresql://postgres@127.0.0.1:1/nowhere"
    client = make_client(database_url=away, conversation_store="database")
    response = client.delete(path)
    assert (response.status_code, response.json()) == (
        503,
        {"detail": "The database is not available. Try again."},
    )


def test_reviews_are_erased_while_their_customers_write_on(
    client: TestClient, database: Database
) -> None:
    written = Event()

    def erase_all() -> int:
        erased = 0
        while not written.is_set() or ids(client):
            erased += sum(erase(client, review) == 204 for review in ids(client))
        return erased

    def write(number: int) -> None:
        for turn in range(3):
            finish(client, f"+1555000000{number}", f"Zanzibar {turn}", "Wilhelmina", "Good.")

    with ThreadPoolExecutor(4) as people:
        owner = people.submit(erase_all)
        try:
            list(people.map(write, range(3)))
        finally:
            written.set()
        assert owner.result() == 9
    assert traces(database, "Zanzibar", "Wilhelmina") == []
    require_order(client)
