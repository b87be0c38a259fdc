"""The phone's page and the simulator behind it: Twilio's way, for this machine alone."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from audit.check import check
from conversation.wording import GREETING, NOT_TEXT
from core.paths import ROOT
from simulator.fake_twilio import new_sid
from tests.conftest import TOKEN, MakeClient, database_of, listed

CONTACT = "+15551234567"
REVIEW = ("Hi", "iPhone 15", "Sarah", "Amazing battery life.")


def send(client: TestClient, text: str = "", sid: str = "", **message: Any) -> dict[str, Any]:
    """Send from the phone; return the whole step."""
    sent = {"contact": CONTACT, "sid": sid or new_sid(), "text": text, **message}
    response = client.post("/phone/messages", json=sent)
    assert response.status_code == 200, response.text
    step: dict[str, Any] = response.json()
    return step


def report(client: TestClient, callback: str, status: str, sid: str) -> dict[str, Any]:
    told = {"contact": CONTACT, "sid": sid, "callback": callback, "status": status}
    response = client.post("/phone/statuses", json=told)
    assert response.status_code == 200, response.text
    step: dict[str, Any] = response.json()
    return step


def finish(client: TestClient) -> dict[str, Any]:
    """Play a whole conversation; return its last step."""
    return [send(client, text) for text in REVIEW][-1]


# The page


def test_the_page_may_load_files_of_ours_and_nothing_else(local: TestClient) -> None:
    page = local.get("/phone")
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert "<script>" not in page.text
    assert "style=" not in page.text


def test_all_that_the_page_loads_is_there(local: TestClient) -> None:
    page = local.get("/phone").text
    loaded = re.findall(r'(?:src|href)="(?:\./)?(static/[^"?]+)["?]', page)
    assert len(loaded) == 4
    modules = [f"static/phone/{file.name}" for file in ROOT.glob("web/static/phone/*.js")]
    for address in [*loaded, *modules]:
        answer = local.get(f"/{address}")
        assert answer.status_code == 200
        if address.endswith(".js"):
            assert answer.headers["content-type"].startswith("text/javascript")


def test_no_script_makes_markup_of_text(local: TestClient) -> None:
    scripts = [ROOT / "web" / "static" / "phone.js", *ROOT.glob("web/static/phone/*.js")]
    assert len(scripts) > 5
    for script in scripts:
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            address = script.relative_to(ROOT / "web").as_posix()
            assert word not in local.get(f"/{address}").text


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "no <code>TWILIO_AUTH_TOKEN</code> is set"), (TOKEN, "Checked: the server signs")],
)
def test_the_page_says_whether_signatures_are_checked(
    make_client: MakeClient, sqlite_url: str, token: str, said: str
) -> None:
    client = make_client(database_url=sqlite_url, twilio_auth_token=token)
    assert said in client.get("/phone").text


# A conversation


def test_a_whole_conversation_makes_one_review(client: TestClient) -> None:
    states = [send(client, text)["records"]["state"] for text in REVIEW]
    assert states == ["ASK_NAME", "ASK_REVIEW", "FINISH", "START"]
    [review] = listed(client)
    assert (review["product_name"], review["user_name"], review["product_review"]) == REVIEW[1:]
    assert check(database_of(client)).problems == []


def test_a_step_tells_the_form_the_answer_and_the_rows(signing: TestClient) -> None:
    sid = new_sid()
    step = send(signing, "Hi", sid)
    assert step["request"]["path"] == "/webhook"
    assert step["request"]["fields"]["MessageSid"] == sid
    assert step["request"]["fields"]["From"] == f"whatsapp:{CONTACT}"
    assert (step["request"]["is_signed"], step["request"]["is_forged"]) == (True, False)
    assert step["answer"]["status"] == 200
    assert step["answer"]["body"].endswith(f"<Response><Message>{GREETING}</Message></Response>")
    [row] = step["records"]["tables"]["messages"]
    assert (row["message_sid"], row["reply"]) == (sid, step["answer"]["words"])


@pytest.mark.parametrize("public_url", [None, "https://reviews.example.com/prefix"])
def test_statuses_reach_the_address_that_the_twiml_names(
    make_client: MakeClient, sqlite_url: str, public_url: str | None
) -> None:
    client = make_client(database_url=sqlite_url, twilio_auth_token=TOKEN, public_url=public_url)
    callback = finish(client)["answer"]["callback"]
    assert callback.startswith(f"{public_url}/" if public_url else "twilio-status-callback?")
    sid = new_sid()
    for status in ("sent", "delivered", "read"):
        step = report(client, callback, status, sid)
        assert step["answer"]["status"] == 204
        assert [row["status"] for row in step["records"]["tables"]["reviews"]] == [status]


def test_it_signs_for_the_account_and_the_first_of_several_tokens(
    make_client: MakeClient, sqlite_url: str
) -> None:
    account = "AC" + "7" * 32
    client = make_client(
        database_url=sqlite_url, twilio_auth_token="new,old", twilio_account_sid=account
    )
    step = send(client, "Hi")
    assert (step["answer"]["status"], step["request"]["fields"]["AccountSid"]) == (200, account)


# Faults


def sids_of(step: dict[str, Any]) -> list[str]:
    return [row["message_sid"] for row in step["records"]["tables"]["messages"]]


def test_a_message_sent_again_has_one_row_and_the_same_answer(client: TestClient) -> None:
    for text in REVIEW:
        sid = new_sid()
        first, again = send(client, text, sid), send(client, text, sid)
        assert first["answer"]["body"] == again["answer"]["body"]
        assert first["request"]["fields"] == again["request"]["fields"]
        assert sids_of(again).count(sid) == 1
    assert len(listed(client)) == 1
    assert check(database_of(client)).problems == []


@pytest.mark.parametrize(("kind", "prefix"), [("photo", "MM"), ("voice", "MM"), ("location", "SM")])
def test_what_is_no_text_keeps_the_state(client: TestClient, kind: str, prefix: str) -> None:
    send(client, "Hi")
    step = send(client, sid=new_sid(prefix), kind=kind)
    assert step["answer"]["words"].startswith(NOT_TEXT)
    assert step["records"]["state"] == "ASK_NAME"
    media = step["records"]["tables"]["messages"][-1]["media"]
    assert len(media) == (kind != "location")
    assert check(database_of(client)).problems == []


def test_a_status_out_of_order_stays_at_the_highest(client: TestClient) -> None:
    callback = finish(client)["answer"]["callback"]
    sid = new_sid()
    for status in ("read", "sent", "delivered", "undelivered"):
        step = report(client, callback, status, sid)
        assert step["records"]["tables"]["reviews"][0]["status"] == "read"


def test_a_forgery_is_refused_where_there_is_a_token(signing: TestClient) -> None:
    send(signing, "Hi")
    step = send(signing, "iPhone 15", forged=True)
    assert (step["answer"]["status"], step["answer"]["words"]) == (403, None)
    assert (step["request"]["is_signed"], step["request"]["is_forged"]) == (True, True)
    assert (len(sids_of(step)), step["records"]["state"]) == (1, "ASK_NAME")


def test_a_forgery_is_believed_where_there_is_no_token(local: TestClient) -> None:
    step = send(local, "Hi", forged=True)
    assert (step["answer"]["status"], step["records"]["state"]) == (200, "ASK_NAME")
