"""Who gets the phone, and what its server does not do or tell for it."""

import socket
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from audit.check import check
from core.paths import ROOT
from simulator.fake_twilio import new_sid
from tests.conftest import TOKEN, MakeClient, database_of
from tests.web.pages.hostile_texts import HOSTILE
from tests.web.pages.test_phone import CONTACT, finish, report, send
from tests.web.security.test_auth import STRANGERS, come_from

# Who gets it


@pytest.mark.parametrize("path", ["/phone", "/phone/messages", "/phone/statuses", "/phone/records"])
def test_production_has_no_phone(production: TestClient, path: str) -> None:
    for client in (production, come_from(production)):
        for method in ("GET", "POST"):
            answer = client.request(method, path, headers={"X-API-Key": "k" * 16}, json={})
            assert answer.status_code == 404


@pytest.mark.usefixtures("processes")
def test_production_has_neither_a_phone_nor_an_http_client() -> None:
    settings = (
        "Settings(environment='production', database_url='sqlite:////nowhere/x.db',"
        " twilio_auth_token='t', public_url='https://a.example', api_key='k' * 16)"
    )
    code = f"""
import os, sys
os.environ.update(ENVIRONMENT="production", DATABASE_URL="sqlite:////nowhere/x.db",
    TWILIO_AUTH_TOKEN="t", PUBLIC_URL="https://a.example", API_KEY="k" * 16)
from main import create_app
from core.settings import Settings
create_app({settings})
sys.exit(" ".join({{"simulator", "httpx", "httpx2"}} & sys.modules.keys()) or None)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("peer", "host", "headers"), STRANGERS)
def test_it_is_for_this_machine_itself(
    local: TestClient, peer: str, host: str, headers: dict[str, str]
) -> None:
    stranger = come_from(local, peer, host, headers)
    assert stranger.get("/phone").status_code == 404
    for path in ("/phone/messages", "/phone/statuses", "/phone/records"):
        assert stranger.post(path, json={"contact": CONTACT}).status_code == 404
    assert come_from(local).get("/phone").status_code == 200


def test_the_key_does_not_open_it_from_elsewhere(make_client: MakeClient, sqlite_url: str) -> None:
    client = make_client(database_url=sqlite_url, api_key="k" * 16)
    tunnel = come_from(client, headers={"X-Forwarded-For": "203.0.113.9", "X-API-Key": "k" * 16})
    assert tunnel.get("/phone").status_code == 404


def test_another_sites_page_cannot_use_it(local: TestClient) -> None:
    sent = {"contact": CONTACT, "sid": new_sid(), "text": "Hi"}
    headers = {"Origin": "https://evil.example"}
    assert local.post("/phone/messages", json=sent, headers=headers).status_code == 403
    assert send(local)["records"]["state"] == "ASK_NAME"


# What must not get out, or in


def test_the_token_is_in_no_answer(signing: TestClient) -> None:
    steps = [signing.get("/phone").text]
    for forged in (False, True):
        sent = {"contact": CONTACT, "sid": new_sid(), "text": "Hi", "forged": forged}
        steps.append(signing.post("/phone/messages", json=sent).text)
    callback = finish(signing)["answer"]["callback"]
    told = {"contact": CONTACT, "sid": new_sid(), "callback": callback, "status": "read"}
    steps.append(signing.post("/phone/statuses", json=told).text)
    steps.append(signing.post("/phone/records", json={"contact": CONTACT}).text)
    for text in steps:
        assert TOKEN not in text


def test_hostile_texts_come_back_as_they_were(local: TestClient) -> None:
    for text in HOSTILE:
        for said in ("Hi", "Lamp", "Ana"):
            send(local, said)
        step = send(local, text)
        assert step["records"]["tables"]["reviews"][-1]["product_review"] == text
    assert check(database_of(local)).problems == []


@pytest.mark.parametrize("odd", [r"\ud800", r"\u0000", r"a\udfffb"])
def test_what_no_form_can_carry_is_no_fault_of_ours(local: TestClient, odd: str) -> None:
    for field in ("text", "contact", "sid", "callback"):
        sent = {"contact": CONTACT, "sid": new_sid(), "callback": "x", "status": "read", field: "?"}
        for path in ("/phone/messages", "/phone/statuses"):
            body = str(sent).replace("'", '"').replace("?", odd)
            headers = {"Content-Type": "application/json"}
            assert local.post(path, content=body, headers=headers).status_code < 500


@pytest.mark.parametrize(
    "callback",
    ["/api/reviews", "http://169.254.169.254/latest", "//evil.example/x", "phone/messages"],
)
def test_its_line_leads_to_the_two_webhooks_of_this_app_alone(
    local: TestClient, callback: str
) -> None:
    told = {"contact": CONTACT, "sid": new_sid(), "callback": callback, "status": "read"}
    answer = local.post("/phone/statuses", json=told, headers={"Accept": "*/*"})  # as fetch does
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "The callback is not one of our webhooks.",
    )


def test_a_callback_that_is_no_address_is_refused(local: TestClient) -> None:
    told = {"contact": CONTACT, "sid": new_sid(), "callback": "http://[::1", "status": "read"}
    assert local.post("/phone/statuses", json=told).status_code == 422


def test_no_host_leads_its_line_out_of_this_process(local: TestClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        here = come_from(local, host=f"127.0.0.1:{listener.getsockname()[1]}")
        callback = finish(here)["answer"]["callback"]
        assert report(here, callback, "read", new_sid())["answer"]["status"] == 204
        assert send(come_from(local, host="localhost:99999"))["answer"]["status"] == 200
        with pytest.raises(BlockingIOError):
            listener.accept()
