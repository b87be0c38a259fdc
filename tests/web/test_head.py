"""HEAD: what GET answers, without the body, on every route."""

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.conftest import BROWSER, KEY, MakeClient, app_of, database_of, make_app
from tests.reviews.test_query import record
from tests.support.routes import routes_of
from tests.support.servers import serve_here
from web.pages import live_feed


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the live feed end after its first reading."""
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 0.0)


@pytest.mark.parametrize("asker", [{}, KEY, BROWSER, {**KEY, **BROWSER}])
def test_head_is_answered_as_get_without_the_body(
    make_client: MakeClient, sqlite_url: str, asker: dict[str, str]
) -> None:
    client = make_client(database_url=sqlite_url, api_key=KEY["X-API-Key"])
    record(database_of(client))
    tunnel = TestClient(client.app, headers={"X-Forwarded-For": "203.0.113.9", **asker})
    paths = [path for method, path in routes_of(app_of(client)) if method == "GET"]
    assert len(paths) > 15
    for path in [*paths, "/nosuch", "/api/nosuch", "/?since=x", "/api/reviews?limit=1", "/webhook"]:
        for asking in (client, tunnel):
            whole = asking.get(path, follow_redirects=False)
            head = asking.head(path, follow_redirects=False)
            assert (path, head.status_code) == (path, whole.status_code)
            assert (path, head.headers) == (path, whole.headers)
            assert head.content == b""


def test_head_of_a_stream_ends_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "STREAM_SECONDS", 3600.0)
    assert client.head("/events").headers["content-type"].startswith("text/event-stream")


def test_a_real_server_goes_on_after_head_on_the_same_connection(sqlite_url: str) -> None:
    with serve_here(make_app(database_url=sqlite_url)) as address:
        with httpx.Client(base_url=address, trust_env=False) as line:
            for path in ("/", "/api/reviews", "/static/base.css", "/docs", "/nosuch"):
                answer = line.head(path)
                assert answer.content == b""
                assert line.get(path).status_code == answer.status_code
