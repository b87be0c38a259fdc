"""Errors: a browser gets a page, a program gets JSON, and both the same status."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import BROWSER, make_app
from tests.web.security.test_auth import come_from

AWAY = "postgresql://postgres@127.0.0.1:1/nowhere"

PAGES = [
    ("/nosuch", 404, "There is no page at this address."),
    ("/static/nosuch.css", 404, "There is no page at this address."),
    ("/reviews/99", 404, "Review not found. It may have been deleted."),
    ("/webhook", 405, "This address can&#39;t be opened in this way."),
    ("/?since=yesterday", 422, "That date doesn&#39;t look right. Use the date picker."),
    ("/?until=2026-13-01", 422, "That date doesn&#39;t look right. Use the date picker."),
    ("/?cursor=x", 422, "This page link is out of date. Go to the newest reviews."),
    ("/reviews/x", 422, "A review&#39;s number is a whole number."),
]


@pytest.mark.parametrize(("path", "status", "sentence"), PAGES)
def test_a_browser_gets_a_page_and_a_program_json(
    local: TestClient, path: str, status: int, sentence: str
) -> None:
    page, data = local.get(path, headers=BROWSER), local.get(path)
    assert page.status_code == data.status_code == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert sentence in page.text
    assert "Back to reviews" in page.text
    assert data.headers["content-type"] == "application/json"
    assert data.json()["detail"]
    assert page.headers["vary"] == data.headers["vary"] == "Accept"
    assert page.headers.get("allow") == data.headers.get("allow")


@pytest.mark.parametrize("path", ["/api/nosuch", "/api/reviews?x=1", "/api/reviews/99"])
def test_below_api_everybody_gets_json(local: TestClient, path: str) -> None:
    answer = local.get(path, headers=BROWSER)
    assert answer.headers["content-type"] == "application/json"
    assert answer.status_code in {404, 422}


@pytest.mark.parametrize(
    ("path", "home"),
    [
        ("/nosuch", "./"),
        ("/a/b/c", "../../"),
        ("/a%2Fb", "./"),
        ("/a/", "../"),
        ("/" * 10_000, "../" * 50),
    ],
)
def test_the_links_of_an_error_page_lead_home(local: TestClient, path: str, home: str) -> None:
    text = local.get(f"http://testserver{path}", headers=BROWSER).text
    links: Any = re.findall(r'<a class="button" href="([^"]*)"', text)
    assert links == [home]


def test_whoever_has_to_log_in_is_led_there_or_told_so(production: TestClient) -> None:
    page = production.get("/reviews/7", headers=BROWSER, follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "../login?next=.%2Freviews%2F7")
    data = production.get("/reviews/7", follow_redirects=False)
    assert (data.status_code, data.headers["www-authenticate"]) == (401, "Bearer")


def test_without_a_key_a_browser_elsewhere_is_told_why(local: TestClient) -> None:
    tunnel = come_from(local, headers={"X-Forwarded-For": "203.0.113.9", **BROWSER})
    for path in ("/", "/docs"):
        answer = tunnel.get(path)
        assert answer.status_code == 401
        assert "This page is private" in answer.text


def test_an_outage_and_a_fault_of_ours_are_told_on_a_page() -> None:
    app = make_app(database_url=AWAY)

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("a secret")

    client = TestClient(app, raise_server_exceptions=False)
    for path, status, title in (
        ("/", 503, "Reviews are not available right now"),
        ("/broken", 500, "Something went wrong"),
    ):
        page, data = client.get(path, headers=BROWSER), client.get(path)
        assert page.status_code == data.status_code == status
        assert title in page.text
        assert data.headers["content-type"] == "application/json"
