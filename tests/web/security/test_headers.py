"""The security headers: on every answer of every route, whatever goes wrong."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

import main
from tests.conftest import BROWSER, KEY, MakeClient, database_of, make_app
from tests.reviews.test_query import record
from tests.support.routes import routes_of
from web.pages import live_feed
from web.security import headers


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the live feed end after its first reading."""
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.0)


def require_headers(answer: Any) -> None:
    where = f"{answer.request.method} {answer.request.url} {answer.status_code}"
    for name, expected in (
        ("x-content-type-options", {"nosniff"}),
        ("referrer-policy", {"same-origin"}),
        ("content-security-policy", {headers.NOTHING, headers.PAGES, headers.API_DOCS}),
    ):
        [value] = answer.headers.get_list(name)
        assert value in expected, where


@pytest.mark.parametrize("asker", [{}, KEY, {**KEY, **BROWSER}, {"Origin": "https://evil.example"}])
def test_every_route_sends_them(
    make_client: MakeClient, sqlite_url: str, asker: dict[str, str]
) -> None:
    client = make_client(database_url=sqlite_url, api_key=KEY["X-API-Key"])
    tunnel = TestClient(client.app, headers={"X-Forwarded-For": "203.0.113.9", **asker})
    record(database_of(client))
    routes = [*routes_of(main.app)]
    assert len(routes) > 20
    for method, path in routes:
        for asking in (client, tunnel):
            require_headers(asking.request(method, path, follow_redirects=False))
    for path in ("/api/reviews", "/api/reviews?limit=1", "/api/stats"):
        known = {"If-None-Match": "*", **KEY}
        require_headers(client.get(path, headers=known))


@pytest.mark.parametrize("asker", [{}, BROWSER])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nosuch", 404),
        ("GET", "/api/nosuch", 404),
        ("GET", "/static/nosuch.css", 404),
        ("GET", "/reviews/99", 404),
        ("GET", "/webhook", 405),
        ("POST", "/", 405),
        ("POST", "/webhook", 415),
        ("GET", "/api/reviews?x=1", 422),
        ("GET", "/?since=x", 422),
        ("OPTIONS", "/api/reviews", 405),
    ],
)
def test_every_error_sends_them(
    local: TestClient, asker: dict[str, str], method: str, path: str, status: int
) -> None:
    answer = local.request(method, path, headers=asker)
    assert answer.status_code == status
    require_headers(answer)


@pytest.mark.parametrize("asker", [{}, BROWSER])
def test_an_outage_and_a_fault_of_ours_send_them(asker: dict[str, str]) -> None:
    app = make_app(database_url="postgresql://postgres@127.0.0.1:1/nowhere")

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("a secret")

    client = TestClient(app, raise_server_exceptions=False, headers=asker)
    for path, status in (("/api/reviews", 503), ("/", 503), ("/broken", 500)):
        answer = client.get(path)
        assert answer.status_code == status
        assert "secret" not in answer.text
        require_headers(answer)


def test_a_page_for_another_site_sends_them_beside_its_cors_headers(
    make_client: MakeClient, sqlite_url: str
) -> None:
    client = make_client(database_url=sqlite_url, cors_origins="https://shop.example")
    page = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    for answer in (client.options("/api/reviews", headers=page), client.get("/", headers=page)):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        require_headers(answer)


def test_a_page_keeps_the_policy_that_it_needs(local: TestClient) -> None:
    for path, policy in (
        ("/", headers.PAGES),
        ("/phone", headers.PAGES),
        ("/docs", headers.API_DOCS),
        ("/redoc", headers.API_DOCS),
        ("/api/reviews", headers.NOTHING),
        ("/static/base.css", headers.NOTHING),
    ):
        assert local.get(path).headers["content-security-policy"] == policy
