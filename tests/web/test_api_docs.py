"""The description of the API: nothing is left unsaid, and no answer comes that it does not name."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from main import app
from simulator.fake_twilio import message_form
from tests.conftest import MakeClient, database_of
from tests.reviews.test_query import record

KEY = {"X-API-Key": "k" * 16}
DESCRIPTION: dict[str, Any] = app.openapi()
OPERATIONS = [
    (method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods
]


def operation(method: str, path: str) -> dict[str, Any]:
    described: dict[str, Any] = DESCRIPTION["paths"][path][method.lower()]
    return described


def is_told(field: dict[str, Any]) -> bool:
    """Say whether a reader learns what a field is, in words or by an example."""
    return bool(field.get("description") or field.get("examples") or field.get("example"))


def test_every_route_says_what_it_does() -> None:
    assert len(OPERATIONS) >= 10
    summaries = {operation(*where)["summary"] for where in OPERATIONS}
    assert len(summaries) == len(OPERATIONS)
    for where in OPERATIONS:
        described = operation(*where)
        # FastAPI makes one from the function's name where there is none.
        made = described["summary"].lower().replace(" ", "_")
        assert not described["operationId"].startswith(made), where
        assert described.get("description"), where
        assert described.get("tags"), where


def test_every_parameter_and_every_field_of_a_form_is_explained() -> None:
    for where in OPERATIONS:
        for parameter in operation(*where).get("parameters", []):
            assert parameter.get("description"), (where, parameter["name"])
        for content in operation(*where).get("requestBody", {}).get("content", {}).values():
            for name, field in content["schema"]["properties"].items():
                assert is_told(field), (where, name)


FIELDS = [
    (schema, field)
    for schema, described in DESCRIPTION["components"]["schemas"].items()
    for field in described["properties"]
    if schema not in {"HTTPValidationError", "ValidationError"}  # FastAPI's own
]


@pytest.mark.parametrize(("schema", "field"), FIELDS)
def test_every_field_of_an_answer_is_explained(schema: str, field: str) -> None:
    assert is_told(DESCRIPTION["components"]["schemas"][schema]["properties"][field])


def test_the_bounds_of_an_id_are_told() -> None:
    [parameter] = operation("GET", "/api/reviews/{review_id}")["parameters"]
    assert (parameter["schema"]["minimum"], parameter["schema"]["maximum"]) == (1, 2**63 - 1)


def test_what_needs_the_key_says_so_and_nothing_else_does() -> None:
    for method, path in OPERATIONS:
        assert ("security" in operation(method, path)) == path.startswith("/api/"), path


ANSWERS = {
    ("POST", "/webhook"): {200, 400, 403, 413, 415},
    ("POST", "/twilio-status-callback"): {204, 400, 403, 413, 415},
    ("GET", "/api/reviews"): {200, 304, 401, 422},
    ("GET", "/api/reviews.csv"): {200, 401, 422},
    ("GET", "/api/stats"): {200, 304, 401, 422},
    ("GET", "/api/reviews/{review_id}"): {200, 304, 401, 404, 422},
    ("DELETE", "/api/reviews/{review_id}"): {204, 401, 403, 404, 422},
    ("DELETE", "/api/contacts/{contact}"): {204, 401, 403, 404, 422},
    ("GET", "/healthz"): {200},
    ("GET", "/readyz"): {200},
}
"""What each route answers to `provoke` while the database is there."""


def provoke(client: TestClient, method: str, path: str) -> Iterator[int]:
    """Ask a route with and without the key, from a foreign page, rightly and wrongly."""
    forms: list[dict[str, str]] = [
        message_form("+15551234567", "Hi"),
        {"MessageSid": "SM1", "MessageStatus": "sent"},
        dict.fromkeys(map(str, range(101)), ""),
        {"Body": "x" * 200_000},
    ]
    for review_id, contact in (("0", "nobody"), ("99", "nobody"), ("1", "+15551234567")):
        address = path.replace("{review_id}", review_id).replace("{contact}", contact)
        yield client.request(method, address).status_code
        for headers in ({"Origin": "https://evil.example"}, {"If-None-Match": "*"}, {}):
            headers = {**KEY, **headers}
            for form in forms if method == "POST" else []:
                yield client.post(address, data=form, headers=headers).status_code
            for query in ("", "limit=1", "limit=0&since=x"):
                yield client.request(method, f"{address}?{query}", headers=headers).status_code


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_of_a_route_is_described(
    make_client: MakeClient, sqlite_url: str, method: str, path: str
) -> None:
    client = make_client(database_url=sqlite_url, api_key=KEY["X-API-Key"])
    record(database_of(client))
    tunnel = TestClient(client.app, headers={"X-Forwarded-For": "203.0.113.9"})
    assert {*provoke(tunnel, method, path)} == ANSWERS[method, path]
    described = operation(method, path)["responses"]
    assert ANSWERS[method, path] <= {int(status) for status in described}


def test_an_outage_is_described(make_client: MakeClient) -> None:
    away = "postgresql://postgres@127.0.0.1:1/nowhere"
    client = make_client(database_url=away, conversation_store="database")
    form = {"MessageSid": "SM1", "MessageStatus": "sent"}
    for method, path in OPERATIONS:
        address = path.replace("{review_id}", "1").replace("{contact}", "+15551234567")
        if path not in {"/healthz", "/webhook"}:  # which answers with an apology
            data = form if method == "POST" else None
            assert client.request(method, address, data=data).status_code == 503, path
            assert "503" in operation(method, path)["responses"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_that_show_it_may_load_files_of_ours_and_be_in_no_frame(
    local: TestClient, path: str
) -> None:
    policy = local.get(path).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' ")
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def test_a_browser_asks_anew_for_the_files_of_pages(local: TestClient) -> None:
    file = local.get("/static/base.css")
    assert file.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": file.headers["etag"]}
    assert local.get("/static/base.css", headers=known).status_code == 304
