"""The login: a cookie instead of the key, from forms only, and never for who guesses."""

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import PRODUCTION, PUBLIC_URL, TOKEN, MakeClient
from tests.web.security.test_auth import come_from
from web.security import session_cookie
from web.security.rate_limit import KeyRateLimiter

KEY = "k" * 16
SECRET = PRODUCTION["secret_key"]


def log_in(client: TestClient, key: str = KEY, onward: str = "./") -> Any:
    form = {"api_key": key, "next": onward}
    return client.post("/login", data=form, follow_redirects=False)


def cookie_header(value: str) -> dict[str, str]:
    return {"Cookie": f"{session_cookie.NAME}={value}"}


@pytest.fixture
def secure(production: TestClient) -> TestClient:
    """The production app by https, as a browser that sends back secure cookies."""
    production.base_url = production.base_url.copy_with(scheme="https")
    return production


def test_a_page_leads_to_the_login_and_the_login_leads_back(secure: TestClient) -> None:
    for path, login, onward in (
        ("/", "./login?next=.%2F", "./"),
        ("/?q=a%20b&since=", "./login?next=.%2F%3Fq%3Da%2520b%26since%3D", "./?q=a%20b&since="),
        ("/reviews/7", "../login?next=.%2Freviews%2F7", "./reviews/7"),
    ):
        led = secure.get(path, follow_redirects=False)
        assert (led.status_code, led.headers["location"]) == (303, login)
        form = secure.get(path)
        assert form.status_code == 200
        assert f'name="next" value="{onward.replace("&", "&amp;")}"' in form.text
        back = log_in(secure, onward=onward)
        assert (back.status_code, back.headers["location"]) == (303, onward)
        secure.cookies.clear()


@pytest.mark.parametrize(
    "onward",
    [
        *("https://evil.example", "//evil.example", "/\\evil.example", ".//evil.example", "./\n"),
        *("./../x", "javascript:alert(1)", "./logout", "./reviews/1/erase", "./reviews/1\r\nX: y"),
    ],
)
def test_the_login_leads_nowhere_else(secure: TestClient, onward: str) -> None:
    assert log_in(secure, onward=onward).headers["location"] == "./"
    assert 'name="next" value="./"' in secure.get("/login", params={"next": onward}).text


def test_the_cookie_opens_the_pages_and_the_api_until_the_logout(secure: TestClient) -> None:
    log_in(secure)
    assert secure.get("/", follow_redirects=False).status_code == 200
    assert secure.get("/api/reviews").status_code == 200
    assert secure.delete("/api/reviews/1").status_code == 404
    assert "Log out" in secure.get("/").text
    out = secure.post("/logout", follow_redirects=False)
    assert (out.status_code, out.headers["location"]) == (303, "login")
    assert secure.get("/", follow_redirects=False).status_code == 303
    assert secure.get("/api/reviews").status_code == 401


def test_the_cookie_is_not_the_key_and_no_script_or_other_site_gets_it(
    secure: TestClient,
) -> None:
    cookie = log_in(secure).headers["set-cookie"]
    assert KEY not in cookie
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    fourteen_days = f"max-age={14 * 24 * 3600}"
    assert attributes == {"httponly", "secure", "samesite=lax", "path=/", fourteen_days}


def test_the_cookie_keeps_to_the_prefix_of_the_public_address(
    make_client: MakeClient, sqlite_url: str
) -> None:
    client = make_client(
        environment="production",
        database_url=sqlite_url,
        twilio_auth_token=TOKEN,
        public_url=f"{PUBLIC_URL}/bot",
        api_key=KEY,
    )
    assert "Path=/bot;" in log_in(client).headers["set-cookie"]
    assert "Path=/bot;" in client.post("/logout").history[0].headers["set-cookie"]


def forged() -> dict[str, str]:
    real = session_cookie.make(SECRET, KEY)
    until, seal = real.split(".")
    return {
        "later": f"{int(until) + 1}.{seal}",
        "another key": session_cookie.make("x" * 32, KEY),
        "the key in place of the secret": session_cookie.make(KEY, KEY),
        "another key was shown": session_cookie.make(SECRET, "x" * 16),
        "no seal": f"{until}.",
        "no time": f".{seal}",
        "short": real[:-1],
        "long": f"{real}0",
        "upper case": f"{until}.{seal.upper()}",
        "odd digits": f"{until.replace('1', '١')}.{seal}",
        "the key": KEY,
    }


@pytest.mark.parametrize("how", list(forged()))
def test_a_forged_cookie_opens_nothing(secure: TestClient, how: str) -> None:
    headers = {b"Cookie": f"{session_cookie.NAME}={forged()[how]}".encode()}
    assert secure.get("/api/reviews", headers=headers).status_code == 401
    assert secure.get("/", headers=headers, follow_redirects=False).status_code == 303


def test_a_cookie_expires(secure: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = cookie_header(session_cookie.make(SECRET, KEY))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + session_cookie.SECONDS - 2)
    assert secure.get("/api/reviews", headers=cookie).status_code == 200
    monkeypatch.setattr(time, "time", lambda: now + session_cookie.SECONDS)
    assert secure.get("/api/reviews", headers=cookie).status_code == 401


@pytest.mark.parametrize("key", ["", " ", "wrong", "ключ", KEY[:-1], f"{KEY}k"])
def test_a_wrong_key_is_told_on_the_page(secure: TestClient, key: str) -> None:
    answer = log_in(secure, key)
    assert answer.status_code == 401
    assert "Wrong key, please try again." in answer.text
    assert "set-cookie" not in answer.headers


def test_who_guesses_is_told_to_wait(secure: TestClient) -> None:
    guesser = come_from(secure, "203.0.113.9")
    for _ in range(KeyRateLimiter.GUESSES):
        assert log_in(guesser, "wrong").status_code == 401
    answer = log_in(guesser)
    assert answer.status_code == 429
    assert f"Try again in {answer.headers['retry-after']} seconds." in answer.text
    valid = cookie_header(session_cookie.make(SECRET, KEY))
    assert guesser.get("/api/reviews", headers=valid).status_code == 200


def test_another_sites_page_logs_nobody_in_or_out(secure: TestClient) -> None:
    evil = {"Origin": "https://evil.example"}
    for path in ("/login", "/logout"):
        answer = secure.post(path, data={"api_key": KEY}, headers=evil, follow_redirects=False)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_with_the_cookie_too_another_sites_page_changes_nothing(secure: TestClient) -> None:
    log_in(secure)
    evil = {"Origin": "https://evil.example"}
    assert secure.delete("/api/reviews/1", headers=evil).status_code == 403
    assert secure.post("/reviews/1/erase", headers=evil).status_code == 403


def test_what_comes_by_a_tunnel_needs_the_key(make_client: MakeClient, sqlite_url: str) -> None:
    client = make_client(database_url=sqlite_url, api_key=KEY)
    tunnel = come_from(client, host="a.ngrok-free.app", headers={"X-Forwarded-Proto": "https"})
    for path in ("/", "/reviews/1"):
        assert tunnel.get(path, follow_redirects=False).status_code == 303
    assert tunnel.get("/events", headers={"Accept": "text/event-stream"}).status_code == 401
    cookie = log_in(tunnel).headers["set-cookie"]
    assert "Secure" not in cookie
    page = tunnel.get("/", headers={"Cookie": cookie.split(";")[0]})
    assert page.status_code == 200
    assert 'href="phone"' not in page.text  # it would find nothing there


def test_without_a_key_a_tunnel_is_told_how_to_get_one(local: TestClient) -> None:
    tunnel = come_from(local, host="a.ngrok-free.app", headers={"X-Forwarded-Proto": "https"})
    answer = tunnel.get("/")
    assert answer.status_code == 401
    assert "set API_KEY" in answer.text
    assert tunnel.get("/login").status_code == 404
    assert log_in(tunnel, "anything").status_code == 401
    assert local.get("/").status_code == 200


def test_a_form_that_is_none_or_too_large_is_refused_on_a_page(secure: TestClient) -> None:
    for status, body in ((415, {"json": {"api_key": KEY}}), (413, {"data": {"x": "x" * 200_000}})):
        answer = secure.post("/login", **body)  # type: ignore[arg-type]
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
