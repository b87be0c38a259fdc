"""Reading the reviews: the whole list, page by page, and while the database is away."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from conversation.wording import APOLOGY, GOT_PRODUCT, GOT_REVIEW
from core.settings import Settings
from db.engine import Database
from ingest.timing import Timing
from main import create_app
from models import Review
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import PUBLIC_URL, MakeClient, database_of, listed, writer_of
from tests.support.databases import Postgres
from tests.support.servers import wait_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEVEN = {
    *("id", "contact_number", "user_name", "product_name", "product_review"),
    *("status", "created_at"),
}


def save(database: Database, *created_at: datetime, **fields: str) -> None:
    """Save reviews that were finished at these times, in this order."""
    rows = [
        {
            "contact_number": "+15551234567",
            "user_name": "Ana",
            "product_name": "Lamp",
            "product_review": "Fine",
            "status": "pending",
            "conversation_id": uuid.uuid4().hex,
            "created_at": time,
            "updated_at": time,
            **fields,
        }
        for time in created_at
    ]
    if rows:
        with database.write() as connection:
            connection.execute(sa.insert(Review), rows)


def ids(reviews: list[dict[str, Any]]) -> list[int]:
    return [review["id"] for review in reviews]


def follow(client: TestClient, address: str) -> Iterator[list[dict[str, Any]]]:
    """Read pages along their Link headers to the end, which must come."""
    for _ in range(20):
        response = client.get(address)
        assert response.status_code == 200
        yield response.json()
        url = urlsplit(response.links.get("next", {}).get("url", ""))
        if not url.path:
            return
        address = f"{url.path}?{url.query}"
    raise AssertionError("the pages have no end")


def test_a_review_is_listed_with_the_seven_fields_and_its_time_in_utc(
    client: TestClient, customer: Customer
) -> None:
    for text in ("Hi", "iPhone 15", "Sarah", "Amazing battery life."):
        customer.says(text)
    response = client.get("/api/reviews")
    assert response.headers["content-type"] == "application/json"
    [review] = response.json()
    assert review.keys() >= SEVEN
    assert review["contact_number"] == customer.contact
    assert (review["product_name"], review["user_name"]) == ("iPhone 15", "Sarah")
    assert review["product_review"] == "Amazing battery life."
    created_at = datetime.fromisoformat(review["created_at"])
    assert created_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)


def test_the_newest_comes_first_and_of_the_same_time_the_higher_id(
    client: TestClient, database: Database
) -> None:
    second = timedelta(seconds=1)
    save(database, NOON, NOON + second, NOON, NOON - second, NOON)
    assert [page[0]["id"] for page in follow(client, "/api/reviews?limit=1")] == [2, 5, 3, 1, 4]
    assert ids(listed(client)) == [2, 5, 3, 1, 4]


@pytest.mark.parametrize("count", [0, 1, 500, 1001])
def test_the_whole_list_is_one_json_array_however_long(
    client: TestClient, database: Database, count: int
) -> None:
    save(database, *(NOON + timedelta(microseconds=n) for n in range(count)))
    response = client.get("/api/reviews")
    assert ids(json.loads(response.content)) == [*range(count, 0, -1)]
    assert "content-length" not in response.headers
    assert "link" not in response.headers


@pytest.mark.parametrize("limit", [3, 11, 1000])
def test_pages_have_every_review_once_while_new_ones_arrive(
    client: TestClient, database: Database, limit: int
) -> None:
    save(database, *[NOON] * 5, *(NOON + timedelta(microseconds=n) for n in range(6)))
    before = ids(listed(client))
    seen = []
    for page in follow(client, f"/api/reviews?limit={limit}"):
        assert len(page) <= limit
        seen += ids(page)
        save(database, NOON + timedelta(days=1))
    assert seen == before


def test_the_last_page_has_no_link(client: TestClient, database: Database) -> None:
    save(database, *[NOON] * 4)
    assert [len(page) for page in follow(client, "/api/reviews?limit=2")] == [2, 2]


def test_a_cursor_without_a_limit_lists_the_rest(client: TestClient, database: Database) -> None:
    save(database, *[NOON] * 4)
    link = client.get("/api/reviews?limit=1").links["next"]["url"]
    cursor = urlsplit(link).query.partition("cursor=")[2]
    assert ids(client.get(f"/api/reviews?cursor={cursor}").json()) == [3, 2, 1]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1.5",
            "limit=99999999999999999999",
        ),
        *("cursor=x", "cursor=1", "cursor=20260301T120000.000000", "cursor=20260301T120000-1"),
        *("cursor=20261301T120000.000000-1", "cursor=00000101T000000.000000-1"),
        *("cursor=20260301T120000.000000-x", "cursor=20260301T120000.000000--1"),
        *("cursor=20260301T120000.000000-9999999999999999999", "cursor=%00", "cursor=%F0%9F%91%8D"),
        "cursor=20260301T120000.000000-1%0A",
        "cursor=%D9%A2%D9%A0260301T120000.000000-1",
        "cursor=20260301T120000.000000-1'--",
    ],
)
def test_a_bad_limit_or_cursor_is_refused(production: TestClient, query: str) -> None:
    response = production.get(f"/api/reviews?{query}", headers={"X-API-Key": "k" * 16})
    assert response.status_code == 422
    assert query.partition("=")[0] in response.text


@pytest.mark.parametrize(
    "cursor", ["00010101T000000.000000-1", "99991231T235959.999999-999999999999999999"]
)
def test_a_cursor_at_the_ends_of_time_is_none(
    client: TestClient, database: Database, cursor: str
) -> None:
    save(database, NOON)
    response = client.get("/api/reviews", params={"cursor": cursor, "limit": 5})
    assert ids(response.json()) == ([] if cursor.startswith("0") else [1])


@pytest.mark.parametrize(
    ("environment", "public_url", "begins"),
    [
        ("production", PUBLIC_URL, f"{PUBLIC_URL}/api/reviews?"),
        ("production", f"{PUBLIC_URL}/bot/", f"{PUBLIC_URL}/bot/api/reviews?"),
        ("local", PUBLIC_URL, "http://testserver/api/reviews?"),  # not into the tunnel
        ("local", None, "http://testserver/api/reviews?"),
    ],
)
def test_a_link_leads_where_its_reader_may_go(
    make_client: MakeClient, sqlite_url: str, environment: str, public_url: str, begins: str
) -> None:
    client = make_client(
        environment=environment,
        database_url=sqlite_url,
        public_url=public_url,
        api_key="k" * 16,
        twilio_auth_token="t",
    )
    save(database_of(client), NOON, NOON)
    link = client.get("/api/reviews?limit=1", headers={"X-API-Key": "k" * 16}).links["next"]
    assert link["url"].startswith(begins)
    assert "limit=1&" in link["url"]


ODD: list[dict[str, str]] = [
    {"user_name": "", "product_name": "", "product_review": "", "contact_number": ""},
    {"product_review": "x" * 8000},
    {"product_review": "👩‍👩‍👧 \U0010ffff " * 1000},
    {"user_name": "שלום‏", "product_name": "\u202eمنتج", "product_review": "نص"},
    {"user_name": "\"'`\\", "product_name": "</script>&amp;{}%s", "product_review": "],[\n\t"},
    {"user_name": "\x7f\x85\u2028", "contact_number": "US.1349", "status": "odd"},
]


def test_odd_reviews_are_listed_as_they_are_among_the_others(
    client: TestClient, database: Database
) -> None:
    for odd in ODD:
        save(database, NOON, **odd)
        save(database, NOON)
    reviews = listed(client)[::-1]
    assert ids(reviews) == [*range(1, 2 * len(ODD) + 1)]
    assert reviews[::2] == [
        {**review, **odd} for review, odd in zip(reviews[::2], ODD, strict=True)
    ]


def test_the_database_away_is_a_503_and_the_process_lives_on(
    make_client: MakeClient, own_postgres: Postgres, own_postgres_url: str
) -> None:
    client = make_client(database_url=own_postgres_url, conversation_store="database")
    save(database_of(client), NOON)
    assert client.get("/readyz").json() == {"status": "ready"}
    own_postgres.kill()
    assert client.get("/api/reviews").status_code == 503
    assert client.get("/api/reviews?limit=1").status_code == 503
    assert client.get("/healthz").status_code == 200
    wait_until(lambda: client.get("/readyz").status_code == 503)
    assert client.get("/readyz").json() == {"status": "not ready"}
    own_postgres.start()
    wait_until(lambda: bool(client.get("/readyz").status_code == 200))
    assert ids(listed(client)) == [1]


def test_ready_is_said_only_where_a_message_could_be_recorded(
    client: TestClient, customer: Customer
) -> None:
    with database_of(client).write() as connection:
        connection.execute(sa.text("ALTER TABLE messages RENAME TO hidden"))
    wait_until(lambda: client.get("/readyz").status_code == 503)
    with database_of(client).write() as connection:
        connection.execute(sa.text("ALTER TABLE hidden RENAME TO messages"))
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert client.head("/readyz").status_code == client.head("/healthz").status_code == 200
    customer.says("Hi")
    with database_of(client).read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM messages")) == 1


def test_a_removed_database_file_is_told_to_nobody_as_recorded(
    make_client: MakeClient, sqlite_url: str, tmp_path: Path
) -> None:
    client = make_client(database_url=sqlite_url)
    writer_of(client).timing = Timing(deadline_seconds=0.2)
    customer = Customer(Simulator(client))
    customer.says("Hi")
    for file in tmp_path.glob("test.db*"):
        file.rename(tmp_path / f"away-{file.name}")
    assert customer.says("Lamp") == APOLOGY
    assert client.get("/readyz").status_code == 503
    for file in tmp_path.glob("away-*"):
        file.rename(tmp_path / file.name.removeprefix("away-"))
    wait_until(lambda: bool(client.get("/readyz").status_code == 200))
    assert customer.says("Lamp") == GOT_PRODUCT


def test_a_503_tells_nothing_of_the_database(make_client: MakeClient) -> None:
    url = "postgresql://postgres:p4ssw0rd@127.0.0.1:1/nowhere"
    client = make_client(database_url=url, conversation_store="database")
    response = client.get("/api/reviews")
    assert response.status_code == 503
    assert response.json() == {"detail": "The database is not available. Try again."}


def test_it_all_works_where_no_lifespan_runs(database_url: str) -> None:
    app = create_app(
        Settings(environment="local", database_url=database_url, conversation_store="memory")
    )
    client = TestClient(app)
    assert client.get("/readyz").status_code == 200
    customer = Customer(Simulator(client))
    replies = [customer.says(text) for text in ("Hi", "Lamp", "Ana", "Fine")]
    assert replies[-1] == GOT_REVIEW.format(name="Ana", product="Lamp")
    assert [review["status"] for review in listed(client)] == ["read"]
    app.state.services.writer.close()
    app.state.services.database.close()


@pytest.mark.parametrize(
    ("path", "required"),
    [
        ("/webhook", ["From", "Body"]),
        ("/twilio-status-callback", ["MessageSid", "MessageStatus"]),
    ],
)
def test_the_forms_are_described_so_that_they_can_be_tried(
    client: TestClient, path: str, required: list[str]
) -> None:
    body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    [(kind, form)] = body["content"].items()
    assert kind == "application/x-www-form-urlencoded"
    assert form["schema"]["required"] == required
    assert all(form["schema"]["properties"][name]["example"] for name in required)
