"""Who gets in: who has the key and, locally, this machine itself; never a tunnel or a page."""

import re
from collections.abc import Mapping
from types import ModuleType

import pytest
import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.testclient import TestClient
from starlette.routing import Route

import main
from models import LoggedMessage
from simulator.fake_twilio import message_form
from tests.conftest import PUBLIC_URL, TOKEN, MakeClient, app_of
from tests.reviews.test_query import record
from web.security.csrf import origin_of

KEY = "k" * 16
FORM = message_form("+15551234567", "Hi")
CALLBACK = {"MessageSid": "SM1", "MessageStatus": "sent"}


def come_from(
    client: TestClient,
    peer: str = "127.0.0.1",
    host: str = "localhost:8000",
    headers: Mapping[str, str] | None = None,
) -> TestClient:
    """Connect to the running app of `client` from `peer`, with this Host and these headers."""
    return TestClient(
        app_of(client),
        base_url="http://localhost:8000",
        client=(peer, 50000),
        headers={"Accept": client.headers["Accept"], "Host": host, **(headers or {})},
    )


def private_routes(client: TestClient) -> list[tuple[str, str]]:
    """List everything that needs the key, as (method, path)."""
    return [
        (method, path.replace("{review_id}", "1").replace("{contact}", "+15551234567"))
        for path, operations in app_of(client).openapi()["paths"].items()
        if path.startswith("/api/")
        for method in operations
    ]


@pytest.fixture
def here(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app without a key."""
    return make_client(database_url=sqlite_url)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "localhost:8000"),
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.0.0.1", "LocalHost"),
        ("::1", "[::1]:8000"),
        ("::1", "[::1]"),
        ("testclient", "testserver"),
    ],
)
def test_locally_no_key_is_needed_from_this_machine(here: TestClient, peer: str, host: str) -> None:
    assert come_from(here, peer, host).get("/api/reviews").status_code == 200


STRANGERS = [
    ("127.0.0.1", "localhost:8000", {"X-Forwarded-For": "203.0.113.9"}),
    ("127.0.0.1", "localhost:8000", {"X-Forwarded-Host": "a.ngrok-free.app"}),
    ("127.0.0.1", "localhost:8000", {"X-Forwarded-Proto": "https"}),
    ("127.0.0.1", "localhost:8000", {"X-Forwarded-For": ""}),
    ("127.0.0.1", "localhost:8000", {"Forwarded": "for=203.0.113.9;proto=https"}),
    ("127.0.0.1", "localhost:8000", {"Via": "1.1 proxy"}),
    ("127.0.0.1", "localhost:8000", {"X-Real-IP": "203.0.113.9"}),
    ("127.0.0.1", "localhost:8000", {"True-Client-IP": "203.0.113.9"}),
    ("127.0.0.1", "localhost:8000", {"CF-Connecting-IP": "203.0.113.9"}),
    ("127.0.0.1", "a.ngrok-free.app", {}),
    ("127.0.0.1", "rebound.example:8000", {}),
    ("127.0.0.1", "localhost.example", {}),
    ("127.0.0.1", "127.0.0.1.example", {}),
    ("127.0.0.1", "localhost@evil.example", {}),
    ("127.0.0.1", "evil.example#localhost", {}),
    ("127.0.0.1", "testserver", {}),
    ("127.0.0.1", "", {}),
    ("10.0.0.5", "localhost:8000", {}),
    ("192.168.1.7", "192.168.1.7:8000", {}),
    ("203.0.113.9", "127.0.0.1", {}),
    ("fe80::1", "[::1]:8000", {}),
    ("testclient", "evil.example", {}),
]


@pytest.mark.parametrize(("peer", "host", "headers"), STRANGERS)
def test_what_comes_from_elsewhere_gets_the_webhooks_and_no_review(
    here: TestClient, peer: str, host: str, headers: dict[str, str]
) -> None:
    stranger = come_from(here, peer, host, headers)
    for method, path in private_routes(here):
        assert (path, stranger.request(method, path).status_code) == (path, 401)
    assert stranger.post("/webhook", data=FORM).status_code == 200
    assert stranger.post("/twilio-status-callback", data=CALLBACK).status_code == 204


def test_the_key_opens_a_local_installation_from_elsewhere(
    make_client: MakeClient, sqlite_url: str
) -> None:
    client = make_client(database_url=sqlite_url, api_key="short")
    tunnel = come_from(client, host="a.ngrok-free.app", headers={"X-Forwarded-For": "203.0.113.9"})
    assert tunnel.get("/api/reviews").status_code == 401
    assert tunnel.get("/api/reviews", headers={"X-API-Key": "short"}).status_code == 200
    assert come_from(client).get("/api/reviews").status_code == 200


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_production_opens_with_the_key(production: TestClient, headers: dict[str, str]) -> None:
    assert production.get("/api/reviews", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"X-API-Key": b""},
        {b"X-API-Key": KEY[:-1].encode()},
        {b"X-API-Key": f"{KEY}k".encode()},
        {b"X-API-Key": KEY.upper().encode()},
        {b"X-API-Key": "ключ".encode()},
        {b"X-API-Key": b"\xff\xfe"},
        {b"Authorization": b"Bearer"},
        {b"Authorization": b"Bearer "},
        {b"Authorization": b"Bearer wrong"},
        {b"Authorization": "Bearer пароль".encode()},
        {b"Authorization": f"Basic {KEY}".encode()},
        {b"Authorization": KEY.encode()},
        {b"Cookie": f"api_key={KEY}".encode()},
    ],
)
def test_production_stays_shut_without_the_key(
    production: TestClient, headers: dict[bytes, bytes]
) -> None:
    for client in (production, come_from(production)):
        for method, path in private_routes(production):
            response = client.request(method, path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"


def test_the_key_is_not_read_from_the_address(production: TestClient) -> None:
    assert production.get("/api/reviews", params={"api_key": KEY}).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        *("[", "]", "[::1", "[::1]x", ":", "localhost:", "localhost:port", "localhost:99999999"),
        *("a b", "%", "%zz", "//", "?", "#", "@", "localhost\\", "\xe9", "\u2100"),
    ],
)
def test_a_malformed_host_is_never_a_fault_of_ours(
    make_client: MakeClient, sqlite_url: str, host: str
) -> None:
    client = make_client(database_url=sqlite_url, twilio_auth_token=TOKEN, api_key=KEY)
    two_reviews = (
        "INSERT INTO reviews SELECT {}, '+1', '', '', '', 'sent', {}, {}, NULL, NULL, {}, ''"
    )
    now = "'2026-01-01 00:00:00.000000'"
    with app_of(client).state.services.database.write() as connection:
        for number in (1, 2):
            connection.execute(sa.text(two_reviews.format(number, now, number, now)))
    client = come_from(client, "10.0.0.5")
    odd = {b"Host": host.encode()}
    key = {**odd, b"X-API-Key": KEY.encode()}
    assert client.get("/healthz", headers=odd).status_code == 200
    assert client.get("/api/reviews", headers=odd).status_code == 401
    assert client.get("/api/reviews", headers=key).status_code == 200
    assert client.get("/api/reviews?limit=1", headers=key).status_code < 500
    assert client.post("/webhook", data=FORM, headers=odd).status_code == 403
    assert client.post("/webhook", headers={**odd, b"Origin": b"http://x"}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost:8001",
        "http://localhost",
        "http://localhost:8000.evil.example",
        "https://evil.example/localhost:8000",
        "localhost:8000",
        "https://localhost:8000",
        "evil://localhost:8000",
    ],
)
@pytest.mark.parametrize(("path", "form"), [("/webhook", FORM), ("/twilio-status-callback", {})])
def test_another_sites_page_changes_nothing(
    here: TestClient, origin: str, path: str, form: dict[str, str]
) -> None:
    page = come_from(here, headers={"Origin": origin})
    assert page.post(path, data=form).status_code == 403
    with app_of(here).state.services.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(LoggedMessage)) == 0


HOST = PUBLIC_URL.removeprefix("https://")


def changing_routes() -> list[tuple[str, str]]:
    """List everything in production that may change something, as (method, path)."""
    modules = [vars(value) for value in vars(main).values() if isinstance(value, ModuleType)]
    routers = [part for each in modules for part in each.values() if isinstance(part, APIRouter)]
    return [
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"GET", "HEAD", "OPTIONS"})
    ]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (f"http://{HOST}", HOST),
        (f"evil://{HOST}", HOST),
        (f"https://{HOST}:8443", f"{HOST}:8443"),
        (f"https://{HOST}:8443", HOST),
        (f"https://{HOST}.evil.example", f"{HOST}.evil.example"),
        (f"{PUBLIC_URL}/", HOST),
        (HOST, HOST),
        ("https://evil.example", "evil.example"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("null", HOST),
        ("", HOST),
    ],
)
def test_production_lets_pages_of_its_public_address_alone_change_something(
    production: TestClient, origin: str, host: str
) -> None:
    number = record(app_of(production).state.services.database)
    assert len(changing_routes()) == 7
    page = come_from(production, host=host, headers={"X-API-Key": KEY, "Origin": origin})
    for method, path in changing_routes():
        answer = page.request(method, re.sub("{.*}", str(number), path), data=FORM)
        assert (path, answer.status_code) == (path, 403)
        assert "may not change anything here" in answer.text
    ours = come_from(production, host=host, headers={"X-API-Key": KEY, "Origin": PUBLIC_URL})
    assert ours.delete(f"/api/reviews/{number}").status_code == 204


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/bot", "https://a.example"),
        ("https://A.Example:443/bot", "https://a.example"),
        ("https://a.example:8443/bot", "https://a.example:8443"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://user:secret@a.example", "https://a.example"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("https://[2001:db8::443]", "https://[2001:db8::443]"),
    ],
)
def test_the_origin_of_an_address_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_a_page_that_took_a_name_of_its_own_for_this_machine_changes_nothing(
    here: TestClient,
) -> None:
    """DNS rebinding: the page's host, which is its Origin too, resolves to 127.0.0.1."""
    page = come_from(here, host="evil.example", headers={"Origin": "http://evil.example"})
    assert page.post("/webhook", data=FORM).status_code == 403


def test_our_own_pages_may_change_something(make_client: MakeClient, sqlite_url: str) -> None:
    client = make_client(
        database_url=sqlite_url,
        public_url=f"{PUBLIC_URL}/bot",
    )
    for origin in ("http://localhost:8000", PUBLIC_URL):
        page = come_from(client, headers={"Origin": origin})
        answer = page.post("/webhook", data=message_form("+1555", "Hi"))
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


def test_reading_is_unaffected_by_where_a_page_comes_from(here: TestClient) -> None:
    response = come_from(here, headers={"Origin": "https://evil.example"}).get("/api/reviews")
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


@pytest.fixture
def shared(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app whose reviews one other site may show."""
    return make_client(database_url=sqlite_url, cors_origins="https://shop.example")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.example", "https://shop.example"),
        ("https://evil.example", None),
        ("http://shop.example", None),
        ("https://shop.example.evil.example", None),
        ("null", None),
    ],
)
def test_only_listed_pages_may_read_and_never_with_credentials(
    shared: TestClient, origin: str, allowed: str | None
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    for response in (
        shared.get("/api/reviews", headers={"Origin": origin}),
        shared.options("/api/reviews", headers=asked),
    ):
        assert response.headers.get("access-control-allow-origin") == allowed
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("path", ["/webhook", "/reviews/1/erase"])
def test_a_page_that_may_read_may_change_nothing(shared: TestClient, path: str) -> None:
    page = come_from(shared, headers={"Origin": "https://shop.example"})
    assert page.post(path, data=FORM).status_code == 403


def test_no_page_is_allowed_to_read_unless_it_is_listed(here: TestClient) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    response = here.options("/api/reviews", headers=asked)
    assert not [name for name in response.headers if name.startswith("access-control")]
