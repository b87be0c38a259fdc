"""Reading one review, and asking whether anything has changed: ETags, caches, keys, outages."""

import re
from pathlib import Path

from fastapi.testclient import TestClient

from db.engine import Database
from simulator.customer import Customer
from simulator.fake_twilio import new_sid
from tests.conftest import MakeClient, database_of, listed
from tests.reviews.test_query import MICROSECOND, record
from tests.test_api import NOON
from tests.web.security.test_auth import come_from

KEY = {"X-API-Key": "k" * 16}
TAGGED = [
    "/api/reviews/1",
    "/api/reviews?limit=1",
    "/api/reviews?limit=2&status=read",
    "/api/stats",
]
STREAMED = ["/api/reviews", "/api/reviews?status=read", "/api/reviews.csv"]


def test_one_review_is_read_with_all_that_is_known_of_it(
    client: TestClient, customer: Customer
) -> None:
    customer.delivers = ()
    for text in ("Hi", "Lamp\n2", "Ana", "Fine 👍"):
        customer.says(text)
    response = client.get("/api/reviews/1")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    review = response.json()
    assert (
        review.items()
        >= {
            "id": 1,
            "contact_number": customer.contact,
            "product_name": "Lamp\n2",
            "user_name": "Ana",
            "product_review": "Fine 👍",
            "status": "pending",
            "message_sid": None,
            "error_code": None,
        }.items()
    )
    assert len(review) == 11
    assert re.fullmatch("SM[0-9a-f]{32}", review["conversation_id"])
    assert review["created_at"] == review["updated_at"]
    assert [review] == listed(client)
    sid = new_sid()
    callback = f"/twilio-status-callback?review={review['conversation_id']}"
    customer.twilio.report(callback, customer.contact, sid, "failed", "63016")
    failed = client.get("/api/reviews/1").json()
    assert failed["updated_at"] > review["updated_at"]
    news = {"status": "failed", "message_sid": sid, "error_code": 63016}
    assert failed == {**review, **news, "updated_at": failed["updated_at"]}


def test_each_review_has_its_own_address_and_an_erased_one_has_none(
    client: TestClient, database: Database
) -> None:
    for text in ("first", "second", "third"):
        record(database, text)
    for review in listed(client):
        assert client.get(f"/api/reviews/{review['id']}").json() == review
    assert client.delete("/api/reviews/2").status_code == 204
    for missing in (2, 4, 2**31, 2**63 - 1):
        response = client.get(f"/api/reviews/{missing}")
        assert response.status_code == 404
        assert response.json() == {"detail": "There is no such review."}


def test_what_is_no_id_is_refused(production: TestClient) -> None:
    for text in (
        "0",
        "-1",
        "abc",
        str(2**63),
        "9" * 5000,
        "1.5",
        "1e3",
        "0x1",
        "%00",
        "1;2",
        "%D9%A1",
    ):
        response = production.get(f"/api/reviews/{text}", headers=KEY)
        assert (text, response.status_code) == (text, 422)
        assert response.json()["detail"][0]["loc"] == ["path", "review_id"]


def etag(client: TestClient, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return str(response.headers["etag"])


def status(client: TestClient, path: str, known: str) -> int:
    return int(client.get(path, headers={"If-None-Match": known}).status_code)


def test_nothing_is_sent_again_that_has_not_changed(client: TestClient, database: Database) -> None:
    record(database, status="read")
    record(database, status="read")
    tags = {path: etag(client, path) for path in TAGGED}
    assert len({*tags.values()}) == len(tags)
    for path, tag in tags.items():
        assert re.fullmatch('"[!#-~]{16,}"', tag)
        full = client.get(path, headers={"If-None-Match": '"other"'})
        again = client.get(path, headers={"If-None-Match": tag})
        assert (full.status_code, again.status_code) == (200, 304)
        assert again.content == b""
        for name in ("etag", "cache-control", "link"):
            assert again.headers.get(name) == full.headers.get(name)
        for known in (f"W/{tag}", f'"x", {tag}', f'W/"x",{tag},"y"', "*"):
            assert (known, status(client, path, known)) == (known, 304)
        for other in (
            "",
            '""',
            '"*"',
            'W/"x"',
            tag.strip('"'),
            tag.upper(),
            tag[:-2] + '"',
            f'"a{tag}',
        ):
            assert (other, status(client, path, other)) == (other, 200)


def test_a_tag_changes_with_what_it_stands_for(client: TestClient, customer: Customer) -> None:
    customer.delivers = ()
    paths = ["/api/reviews/1", "/api/reviews?limit=1", "/api/reviews?limit=3", "/api/stats"]
    paths += ["/api/reviews?limit=1&product=Cup", "/api/stats?product=Cup"]
    changed: dict[str, list[bool]] = {path: [] for path in paths}

    def note() -> None:
        for path in paths:
            tag = etag(client, path)
            changed[path].append(tag != tags.get(path))
            tags[path] = tag

    tags: dict[str, str] = {}
    for text in ("Hi", "Lamp", "Ana", "Fine"):
        customer.says(text)
    note()
    callback = f"/twilio-status-callback?review={listed(client)[0]['conversation_id']}"
    customer.twilio.report(callback, customer.contact, new_sid(), "sent")
    note()
    customer.twilio.report(callback, customer.contact, new_sid(), "queued")  # ranks below
    note()
    for text in ("Hi", "Cup", "Ana", "Fine"):
        customer.says(text)
    note()
    client.delete("/api/reviews/2")
    note()
    assert changed == {
        # first seen, a status, no status, another review, without it
        "/api/reviews/1": [True, True, False, False, False],
        "/api/reviews?limit=1": [True, True, False, True, True],
        "/api/reviews?limit=3": [True, True, False, True, True],
        "/api/stats": [True, True, False, True, True],
        "/api/reviews?limit=1&product=Cup": [True, False, False, True, True],
        "/api/stats?product=Cup": [True, False, False, True, True],
    }


def test_a_page_has_changed_when_another_comes_after_it(
    client: TestClient, database: Database
) -> None:
    for _ in range(2):
        record(database)
    path = "/api/reviews?limit=2"
    last = client.get(path)
    assert "link" not in last.headers
    record(database, at=NOON - MICROSECOND)
    now = client.get(path, headers={"If-None-Match": last.headers["etag"]})
    assert (now.status_code, now.content) == (200, last.content)
    assert "link" in now.headers
    assert status(client, path, now.headers["etag"]) == 304


def test_what_is_streamed_has_no_tag_and_nothing_is_for_shared_caches(
    client: TestClient, database: Database
) -> None:
    record(database, status="read")
    for path in [*STREAMED, *TAGGED]:
        response = client.get(path, headers={"If-None-Match": '"x"'})
        assert response.headers["cache-control"] == "private, no-cache"
        assert ("etag" in response.headers) == (path in TAGGED)
    for path in STREAMED:
        assert status(client, path, "*") == 200
    assert status(client, "/api/reviews/2", "*") == 404


def test_nothing_is_told_without_the_key(production: TestClient) -> None:
    record(database_of(production))
    proxy = come_from(production)  # so many wrong keys from elsewhere would be 429
    bad = ["/api/reviews/2", "/api/reviews/0", "/api/reviews?limit=0", "/api/stats?since=x"]
    for path in [*STREAMED, *TAGGED, *bad]:
        for headers in ({}, {"X-API-Key": "k" * 15}, {"If-None-Match": "*"}):
            response = proxy.get(path, headers=headers)
            assert (path, response.status_code) == (path, 401)
            assert "etag" not in response.headers
    for path in [*STREAMED, *TAGGED]:
        assert production.get(path, headers=KEY).status_code == 200


def test_the_database_away_is_a_503_for_each(make_client: MakeClient, tmp_path: Path) -> None:
    away = "postgresql://postgres:p4ssw0rd@127.0.0.1:1/nowhere"
    for url in (away, f"sqlite:///{tmp_path}/no/such/folder.db"):
        client = make_client(database_url=url, conversation_store="database")
        for path in [*STREAMED, *TAGGED]:
            response = client.get(path, headers={"If-None-Match": "*"})
            assert (path, response.status_code) == (path, 503)
            assert response.json() == {"detail": "The database is not available. Try again."}


def test_a_database_that_is_back_is_read_again(
    make_client: MakeClient, sqlite_url: str, tmp_path: Path
) -> None:
    client = make_client(database_url=sqlite_url, conversation_store="database")
    record(database_of(client), status="read")
    tags = {path: etag(client, path) for path in TAGGED}
    for file in tmp_path.glob("test.db*"):
        file.rename(tmp_path / f"away-{file.name}")
    assert {client.get(path).status_code for path in [*STREAMED, *TAGGED]} == {503}
    for file in tmp_path.glob("away-*"):
        file.rename(tmp_path / file.name.removeprefix("away-"))
    assert {status(client, path, tag) for path, tag in tags.items()} == {304}
    assert {client.get(path).status_code for path in STREAMED} == {200}
