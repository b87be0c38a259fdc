"""The filters: which reviews each leaves, and which values are refused."""

import uuid
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from conversation.model import Message, Outcome, State, Turn
from db.engine import Database
from reviews import repository
from storage import batch
from tests.conftest import database_of
from tests.test_api import NOON, ids
from whatsapp.statuses import STATUSES

MICROSECOND = timedelta(microseconds=1)


def record(
    database: Database,
    text: str = "Fine",
    *,
    product: str = "Lamp",
    name: str = "Ana",
    contact: str = "+15551234567",
    at: datetime = NOON,
    status: str | None = None,
) -> int:
    """Record a review as the bot and a status callback do; return its id."""
    conversation_id = uuid.uuid4().hex
    answers = {"product": product, "name": name, "review": text}
    turn = Turn(4, conversation_id, 4, Outcome.FINISHED, State.START, answers, "")
    with database.write() as connection:
        row = repository.row_of(Message(conversation_id, contact, text), turn, at)
        batch.write(connection, {"reviews": [row]})
        number = repository.find_confirmed(connection, conversation_id, None)
        assert number is not None
        if status is not None:
            repository.raise_status(
                connection,
                number,
                status,
                lower=STATUSES,
                message_sid=None,
                error_code=None,
                now=at,
            )
    return number


def found(client: TestClient, query: str = "", /, **params: str) -> list[int]:
    """List the ids that a query leaves, the newest first."""
    response = client.get(f"/api/reviews?{query or urlencode(params)}")
    assert response.status_code == 200, response.text
    return ids(response.json())


def test_product_status_and_contact_are_exact(client: TestClient, database: Database) -> None:
    record(database, product="Lamp")
    record(database, product="lamp", contact="+155512345678", status="delivered")
    record(database, product="Lamp 2", contact="US.1349", status="read")
    assert found(client, product="Lamp") == [1]
    assert found(client, product="Lamp 2") == [3]
    assert found(client, status="pending") == [1]
    assert found(client, status="delivered") == [2]
    assert found(client, contact="US.1349") == [3]
    for none in ("product=Lam", "product=L_mp", "product=Lamp%25", "product=LAMP", "status=Read"):
        assert found(client, none) == []
    for none in ("contact=US", "contact=15551234567", "contact=%2B1555%25", "contact=us.1349"):
        assert found(client, none) == []


def test_a_contact_is_found_however_its_plus_and_prefix_are_written(local: TestClient) -> None:
    for contact in ("+15551234567", "15551234567", "+15557654321"):
        record(database_of(local), contact=contact)
    for contact in (
        *("%2B15551234567", "+15551234567", "%2015551234567", "+15551234567+"),
        *("whatsapp:%2B15551234567", "whatsapp:+15551234567", "WhatsApp%3A+15551234567"),
    ):
        assert (contact, found(local, f"contact={contact}")) == (contact, [1])
    assert found(local, "contact=15551234567") == [2]


TIMES = [
    # since is included
    ("since=2026-03-01T12:00:00Z", [3, 2]),
    ("since=2026-03-01T12:00:00", [3, 2]),
    ("since=2026-03-01%2012:00", [3, 2]),
    ("since=20260301T12", [3, 2]),
    ("since=2026-03-01T13:00:00%2B01:00", [3, 2]),
    ("since=2026-03-01T13:00:00+01:00", [3, 2]),
    ("since=2026-03-01T17:30+05:30", [3, 2]),
    ("since=2026-03-01T07:00:00-05:00", [3, 2]),
    ("since=2026-03-02T02:00:00+14:00", [3, 2]),
    ("since=2026-03-01T12:00:00.000001", [3]),
    ("since=2026-03-01T12:00:00.000002", []),
    # until is not
    ("until=2026-03-01T12:00:00Z", [1]),
    ("until=2026-03-01T13:00:00+01:00", [1]),
    ("until=2026-03-01T12:00:00.000001%2B00:00", [2, 1]),
    ("until=2026-03-01T11:59:59.999999", []),
    # a day begins at midnight in UTC
    ("since=2026-03-01", [3, 2, 1]),
    ("until=2026-03-01", []),
    ("since=2026-03-02", []),
    ("until=2026-03-02", [3, 2, 1]),
    # between
    ("since=2026-03-01T12:00&until=2026-03-01T12:00:00.000001", [2]),
    ("since=2026-03-01T12:00&until=2026-03-01T12:00", []),
    ("since=2026-03-02&until=2026-03-01", []),
    ("since=0001-01-01&until=9999-12-31T23:59:59.999999", [3, 2, 1]),
]


def test_since_is_included_and_until_is_not_in_any_zone(
    client: TestClient, database: Database
) -> None:
    for at in (NOON - MICROSECOND, NOON, NOON + MICROSECOND):
        record(database, at=at)
    assert [(query, found(client, query)) for query, _ in TIMES] == TIMES


def test_an_empty_value_filters_nothing(client: TestClient, database: Database) -> None:
    assert [record(database, status="read"), record(database, contact="")] == [1, 2]
    empty = "product=&status=&contact=&q=&since=&until="
    assert found(client, f"{empty}&cursor=") == [2, 1]
    assert found(client, f"{empty.replace('status=', 'status=read')}") == [1]
    assert found(client, "limit=&status=read") == [1]
    assert client.get(f"/api/stats?{empty}").json()["total"] == 2
    link = client.get(f"/api/reviews?limit=1&{empty}").links["next"]["url"]
    cursor = link.partition("cursor=")[2]
    assert found(client, f"cursor={cursor}") == [1]  # no filter is the same as empty ones


TIME_FORM = "must look like 2026-11-23 or 2026-11-23T08:00:00+01:00"
TOO_LONG = "at most 500 characters"
BAD = [
    *((f"{name}={'x' * 501}", TOO_LONG) for name in ("product", "status", "contact", "q")),
    ("q=" + "%F0%9F%91%8D" * 501, TOO_LONG),
    *((f"{name}=a%00b", "NUL") for name in ("product", "status", "contact", "q")),
    *(
        (f"{name}={value}", TIME_FORM)
        for name in ("since", "until")
        for value in (
            *("x", "12345", "yesterday", "%20", "%00", "2026-13-01", "2026-02-30", "12:00"),
            *("2026-03-01T25:00", "2026-03-01T12:00+25:00", "2026-03-01T12:00Europe/Rome"),
            *("0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "10000-01-01", "1e9"),
        )
    ),
]


def test_a_bad_value_is_refused_everywhere_with_a_reason(local: TestClient) -> None:
    for query, reason in BAD:
        for path in ("/api/reviews", "/api/reviews.csv", "/api/stats"):
            response = local.get(f"{path}?{query}")
            assert (response.status_code, query) == (422, query)
            [problem] = response.json()["detail"]
            assert problem["loc"] == ["query", query.partition("=")[0]]
            assert reason in problem["msg"]


def test_a_filter_that_is_none_is_refused_rather_than_passed_over(local: TestClient) -> None:
    record(database_of(local))
    for path in ("/api/reviews", "/api/reviews.csv", "/api/stats"):
        for name in ("produkt", "Product", "name", "product[]", "q ", "ü", "api_key"):
            response = local.get(path, params={"status": "sent", name: "x"})
            assert (path, name, response.status_code) == (path, name, 422)
            [problem] = response.json()["detail"]
            assert problem["loc"] == ["query", name]
            assert "unknown parameter; this address takes contact, " in problem["msg"]
        assert local.get(f"{path}?=x").status_code == 422
        # Only the list has pages.
        for page in ({"limit": "1"}, {"cursor": "20260301T120001.000000-1"}):
            expected = 200 if path == "/api/reviews" else 422
            assert (path, local.get(path, params=page).status_code) == (path, expected)


def test_a_filter_given_twice_is_refused(local: TestClient) -> None:
    response = local.get("/api/reviews?product=Lamp&product=Cup")
    assert response.status_code == 422
    assert "must not be repeated" in response.text


@pytest.mark.parametrize("query", ["contact=whatsapp:", "contact=%01", "q=%01", "q=%EF%BF%BE"])
def test_a_filter_of_which_nothing_is_left_does_not_show_everything(
    local: TestClient, query: str
) -> None:
    for path in ("/api/reviews", "/api/reviews.csv", "/api/stats"):
        assert local.get(f"{path}?{query}").status_code == 422


def test_a_value_as_long_as_is_allowed_is_no_trouble(client: TestClient) -> None:
    # A ligature that folds to eighteen letters, and what LIKE has to escape.
    for longest in ("\ufdfa" * 500, "%" * 500, "\\" * 500, "👍" * 500):
        for name in ("product", "status", "contact", "q"):
            assert found(client, **{name: longest}) == []


def test_all_filters_together_leave_what_fulfils_them_all(
    client: TestClient, database: Database
) -> None:
    wanted: dict[str, Any] = {"product": "Cup", "status": "read", "contact": "+1555", "at": NOON}
    odd: list[dict[str, Any]] = [
        {"product": "Cups"},
        {"status": "sent"},
        {"contact": "+15550"},
        {"text": "good"},
        {"at": NOON - MICROSECOND},
        {"at": NOON + timedelta(days=1)},
    ]
    number = record(database, **{"text": "Very GOOD!", **wanted})
    for change in odd:
        record(database, **{"text": "Very GOOD!", **wanted, **change})
    query = {"product": "Cup", "status": "read", "contact": "whatsapp:+1555", "q": "y good"}
    times = {"since": "2026-03-01T12:00", "until": "2026-03-02T13:00+01:00"}
    assert found(client, **query, **times) == [number]
