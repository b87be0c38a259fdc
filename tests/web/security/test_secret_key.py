"""SECRET_KEY seals logins and names forgotten customers; keys of before it stay recognised."""

import logging
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from cli import doctor
from core.pseudonym import pseudonym
from core.settings import MAKE_A_KEY, Settings
from models import LoggedMessage
from simulator.fake_twilio import Simulator, message_form, photo_form
from tests.cli.test_doctor import of
from tests.conftest import KEY, PRODUCTION, PUBLIC_URL, TOKEN, MakeClient, database_of
from tests.support.sentences import THANKS
from tests.support.traces import ANA, BEN, SILENCE, WORDS, everything, require_order
from web.security import session_cookie

API_KEY = KEY["X-API-Key"]
NEW, OLD = "n" * 32, "o" * 32


@pytest.fixture
def installation(make_client: MakeClient, database_url: str) -> MakeClient:
    """Start the one production installation again, with other keys."""

    def start(secret_key: str = "", api_key: str = API_KEY) -> TestClient:
        keys = {"secret_key": secret_key, "api_key": api_key}
        client = make_client(database_url=database_url, **{**PRODUCTION, **keys})
        client.headers["X-API-Key"] = api_key
        return client

    return start


def deliver(client: TestClient, *forms: dict[str, str]) -> list[bytes]:
    twilio = Simulator(client, auth_token=TOKEN, public_url=PUBLIC_URL)
    return [twilio.post("/webhook", form).content for form in forms]


def finish(client: TestClient, contact: str = ANA) -> list[dict[str, str]]:
    """Have a customer finish a review; return the messages that it took."""
    forms = [photo_form(contact), *(message_form(contact, text) for text in WORDS)]
    assert THANKS.encode() in deliver(client, *forms)[-1]
    return forms


def forget(client: TestClient, contact: str = ANA) -> int:
    return client.delete(f"/api/contacts/{contact}").status_code


def names(client: TestClient) -> list[str]:
    """Read what stands in the place of numbers, message by message."""
    query = sa.select(LoggedMessage.contact_number).order_by(LoggedMessage.received_at)
    with database_of(client).read() as connection:
        return list(connection.scalars(query))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"secret_key": OLD}, {"secret_key": f"{NEW},{OLD}"}, id="a-new-secret-key"),
        pytest.param({}, {"secret_key": NEW}, id="the-api-key-that-stood-in"),
        pytest.param(
            {"api_key": "o" * 16}, {"secret_key": f"{NEW},{'o' * 16}"}, id="an-api-key-of-before"
        ),
    ],
)
def test_after_a_change_of_keys_nobody_comes_back_and_nothing_is_doubled(
    installation: MakeClient, before: dict[str, str], after: dict[str, str]
) -> None:
    client = installation(**before)
    sent = finish(client)
    assert forget(client) == 204
    named = names(client)

    client = installation(**after)
    forgotten = everything(database_of(client))
    assert deliver(client, *sent) == [SILENCE] * len(sent)
    assert forget(client) == 404
    assert everything(database_of(client)) == forgotten

    # Ana writes again, and is forgotten again: under the new key, beside what was there before.
    sent += finish(client)
    assert forget(client) == 204
    assert forget(client) == 404
    assert names(client) == named + [pseudonym(ANA, NEW)] * 4
    assert deliver(client, *sent) == [SILENCE] * len(sent)
    for form in sent:
        assert b"<Response" not in deliver(client, {**form, "From": f"whatsapp:{BEN}"})[0]
    require_order(client)


def test_a_pseudonym_made_without_any_key_is_recognised(
    make_client: MakeClient, sqlite_url: str
) -> None:
    client = make_client(database_url=sqlite_url)
    form = message_form(ANA, "Hi")
    client.post("/webhook", data=form)
    assert forget(client) == 204
    client = make_client(database_url=sqlite_url, secret_key=NEW, api_key=API_KEY)
    assert client.post("/webhook", data=form).content == SILENCE


def test_a_key_that_is_listed_no_more_recognises_nobody(installation: MakeClient) -> None:
    client = installation(secret_key=OLD)
    sent = finish(client)
    forget(client)
    client = installation(secret_key=NEW)
    before = everything(database_of(client))
    assert not any(b"<Response" in answer for answer in deliver(client, *sent))
    assert everything(database_of(client)) == before


def opens(client: TestClient, cookie: str) -> bool:
    headers = {"X-API-Key": "", "Cookie": f"{session_cookie.NAME}={cookie}"}
    return client.get("/api/reviews", headers=headers).status_code == 200


def log_in(client: TestClient, api_key: str = API_KEY) -> str:
    """Show the key at /login; return the cookie that comes back."""
    answer = client.post("/login", data={"api_key": api_key}, follow_redirects=False)
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_new_secret_key_in_front_ends_no_login_and_its_removal_does(
    installation: MakeClient,
) -> None:
    cookie = log_in(installation(secret_key=OLD))
    assert opens(installation(secret_key=OLD), cookie)
    assert opens(installation(secret_key=f"{NEW},{OLD}"), cookie)
    assert not opens(installation(secret_key=NEW), cookie)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_new_api_key_ends_all_logins(installation: MakeClient) -> None:
    cookie = log_in(installation(secret_key=NEW))
    assert not opens(installation(secret_key=NEW, api_key="x" * 16), cookie)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_api_key_seals_no_login_where_there_is_a_secret_key(installation: MakeClient) -> None:
    without = installation()
    cookie = log_in(without)
    assert opens(without, cookie)
    assert not opens(installation(secret_key=NEW), cookie)
    assert not opens(installation(secret_key=NEW), session_cookie.make("", API_KEY))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_api_key_of_before_that_is_listed_makes_no_login(installation: MakeClient) -> None:
    leaked = "o" * 16
    client = installation(secret_key=f"{NEW},{leaked}")
    assert not opens(client, session_cookie.make(leaked, leaked))


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What our logger warns of."""
    messages: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Listening(logging.WARNING)
    logging.getLogger("reviews").addHandler(handler)
    yield messages
    logging.getLogger("reviews").removeHandler(handler)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_installation_without_a_secret_key_is_told_what_to_do(
    installation: MakeClient, warned: list[str], database_url: str
) -> None:
    installation()
    [warning] = warned
    assert warning.startswith("SECRET_KEY is not set: API_KEY stands in for it")
    assert warning.endswith(MAKE_A_KEY)
    settings = Settings(database_url=database_url, **{**PRODUCTION, "secret_key": ""})
    [_, advised] = of("settings", [*doctor.examine(settings, ask_public_url=False)])
    assert advised.text in warning
    assert advised.advice.endswith(MAKE_A_KEY)
    assert not advised.is_problem


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_installation_with_a_secret_key_is_told_nothing(
    installation: MakeClient, warned: list[str], database_url: str
) -> None:
    installation(secret_key=NEW)
    assert warned == []
    settings = Settings(database_url=database_url, **PRODUCTION)
    assert len(of("settings", [*doctor.examine(settings, ask_public_url=False)])) == 1
