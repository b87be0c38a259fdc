"""The address that a request must be signed for: ours, never one that the sender names."""

import pytest
from fastapi.testclient import TestClient

from tests.conftest import TOKEN, MakeClient
from tests.support.captures import TEXT, post, post_unsigned, sign


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "https, https", "X-Forwarded-For": "1.2.3.4, 10.0.0.1"},
        {"X-Forwarded-Host": "evil.example"},
        {"Host": "evil.example:99999"},
        {"Host": "127.0.0.1:8000"},
    ],
)
def test_production_judges_by_its_public_address_alone(
    production: TestClient, headers: dict[str, str]
) -> None:
    assert post(production, "/webhook", TEXT, **headers).status_code == 200


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host"])
def test_a_signature_for_an_address_of_the_senders_choice_is_refused(
    production: TestClient, name: str
) -> None:
    signature = sign("https://evil.example/webhook", TEXT)
    headers = {"X-Twilio-Signature": signature, "X-Forwarded-Proto": "https", name: "evil.example"}
    assert post_unsigned(production, "/webhook", TEXT, headers).status_code == 403


@pytest.mark.parametrize(
    ("public_url", "signed_url"),
    [
        ("https://h.example:443", "https://h.example/webhook"),
        ("https://h.example", "https://h.example:443/webhook"),
        ("https://h.example/bot", "https://h.example/bot/webhook"),
        ("https://h.example/bot/", "https://h.example/bot/webhook"),
        ("https://h.example#rc=2", "https://h.example/webhook"),
    ],
)
def test_the_public_address_may_have_a_port_a_prefix_or_a_fragment(
    make_client: MakeClient, sqlite_url: str, public_url: str, signed_url: str
) -> None:
    app = make_client(database_url=sqlite_url, twilio_auth_token=TOKEN, public_url=public_url)
    headers = {"X-Twilio-Signature": sign(signed_url, TEXT)}
    assert post_unsigned(app, "/webhook", TEXT, headers).status_code == 200


def test_a_local_app_behind_a_tunnel_believes_the_address_that_the_tunnel_tells(
    make_client: MakeClient, sqlite_url: str
) -> None:
    app = make_client(database_url=sqlite_url, twilio_auth_token=TOKEN)
    headers = {
        "X-Twilio-Signature": sign("https://a1b2.ngrok.app/webhook", TEXT),
        "X-Forwarded-Proto": "https, https",
        "X-Forwarded-Host": "a1b2.ngrok.app",
    }
    assert post_unsigned(app, "/webhook", TEXT, headers).status_code == 200


@pytest.mark.parametrize("host", ["evil:99999", "evil:port", "[evil", "", "a b"])
def test_a_host_that_is_none_is_refused_locally(
    make_client: MakeClient, sqlite_url: str, host: str
) -> None:
    app = make_client(database_url=sqlite_url, twilio_auth_token=TOKEN)
    headers = {"X-Twilio-Signature": "A" * 27 + "=", "Host": host}
    assert post_unsigned(app, "/webhook", TEXT, headers).status_code == 403
