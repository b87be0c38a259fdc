"""The phone as people use it: a real browser, a real server, every button."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from conversation.wording import GOT_PRODUCT, GREETING, NOT_TEXT
from tests.conftest import make_app
from tests.support.servers import serve_here
from tests.web.pages.conftest import OpenPage
from tests.web.pages.hostile_texts import HOSTILE
from tests.web.pages.phone_page import (
    THANKS,
    bubbles,
    counts,
    is_all_well,
    press,
    ready,
    reviews_of,
    said,
    state,
    write,
)
from tests.web.pages.test_phone import REVIEW


def test_a_whole_conversation_is_held_and_its_review_recorded(server: str, phone: Any) -> None:
    states = [state(phone)]
    for text in REVIEW:
        write(phone, text)
        states.append(state(phone))
    assert states == ["START", "ASK_NAME", "ASK_REVIEW", "FINISH", "START"]
    assert said(phone, "customer") == [*REVIEW]
    assert said(phone, "bot")[-1] == THANKS
    phone.locator("#chat .bot .ticks.read").wait_for()
    [review] = reviews_of(server, phone)
    assert (review["product_review"], review["status"]) == (REVIEW[-1], "read")
    titles = phone.locator("#steps summary strong").all_text_contents()
    assert titles[:3] == ["Status “read”", "Status “delivered”", "Status “sent”"]
    assert counts(phone) == {"messages": (3, 4), "reviews": (0, 1)}
    assert is_all_well(phone)


def test_a_step_shows_what_was_posted_what_came_back_and_which_rows_changed(phone: Any) -> None:
    write(phone, "Hi")
    step = phone.locator("#steps li").first
    text = str(step.inner_text())
    assert re.search(r"MessageSid\s+SM[0-9a-f]{32}", text)
    assert "POST /webhook · signed" in text
    assert f"<Response><Message>{GREETING}</Message></Response>" in text
    assert re.search(r"\+ messages SM[0-9a-f]{4}… turn 1, opened “Hi”", text)
    assert "START → ASK_NAME" in text


def test_somebody_is_seen_typing_before_the_answer_comes(server: str, open_page: OpenPage) -> None:
    phone = ready(open_page(f"{server}/phone"))
    on_its_way: list[Any] = []
    phone.route("**/phone/messages", lambda route: on_its_way.append(route))
    phone.fill("#say", "Hi")
    with phone.expect_request("**/phone/messages"):
        phone.press("#say", "Enter")
    phone.locator("#chat .dots").wait_for()
    assert phone.locator("#presence").text_content() == "typing…"
    assert said(phone, "bot") == []
    on_its_way[0].continue_()
    bubbles(phone, "bot").first.wait_for()
    assert phone.locator("#chat .dots").count() == 0
    assert phone.locator("#presence").text_content() == "online"


def test_the_answer_that_is_offered_is_sent_at_a_press(phone: Any) -> None:
    phone.click("#suggestion")
    bubbles(phone, "bot").first.wait_for()
    assert said(phone, "customer") == ["Hi"]
    phone.get_by_role("button", name="iPhone 15").wait_for()


def test_shift_and_enter_make_a_new_line(phone: Any) -> None:
    phone.fill("#say", "one")
    phone.press("#say", "Shift+Enter")
    phone.locator("#say").press_sequentially("two")
    phone.press("#say", "Enter")
    bubbles(phone, "bot").first.wait_for()
    assert said(phone, "customer") == ["one\ntwo"]


def test_sent_again_it_gets_the_same_words_and_no_row(phone: Any) -> None:
    assert phone.get_by_role("button", name="Send this again").is_disabled()
    for text in REVIEW:
        write(phone, text)
    press(phone, "Send this again")
    phone.get_by_text("the same words again").wait_for()
    assert said(phone, "bot")[-2:] == [THANKS, THANKS]
    assert counts(phone)["messages"] == (4, 4)
    assert counts(phone)["reviews"] == (1, 1)
    assert is_all_well(phone)


def test_sent_twice_at_once_it_has_one_row_and_one_answer(phone: Any) -> None:
    for count, text in enumerate(REVIEW):
        phone.fill("#say", text)
        press(phone, "Send twice at once")
        phone.get_by_text("Both got exactly the same answer.").nth(count).wait_for()
    phone.locator("#counts .moved").nth(1).wait_for()
    assert counts(phone) == {"messages": (3, 4), "reviews": (0, 1)}
    assert is_all_well(phone)


def test_a_lost_reply_comes_with_the_retry(phone: Any) -> None:
    write(phone, "Hi")
    phone.fill("#say", "iPhone 15")
    press(phone, "Lose the reply")
    phone.get_by_text("The reply got lost. Twilio tries again …").wait_for()
    assert len(said(phone, "bot")) == 1
    bubbles(phone, "bot").nth(1).wait_for()
    assert said(phone, "bot")[-1] == GOT_PRODUCT
    assert counts(phone)["messages"] == (1, 2)
    assert is_all_well(phone)


@pytest.mark.parametrize("button", ["Photo", "Voice note", "Location"])
def test_what_is_no_text_is_asked_for_again(phone: Any, button: str) -> None:
    write(phone, "Hi")
    press(phone, button)
    bubbles(phone, "bot").nth(1).wait_for()
    assert said(phone, "bot")[-1].startswith(NOT_TEXT)
    assert state(phone) == "ASK_NAME"
    assert is_all_well(phone)


def test_statuses_out_of_order_leave_the_highest(server: str, phone: Any) -> None:
    press(phone, "Status out of order")
    phone.get_by_text("The next confirmation’s statuses will arrive").wait_for()
    for text in REVIEW:
        write(phone, text)
    phone.locator("#steps", has_text="Status “delivered”").wait_for()
    titles = phone.locator("#steps summary strong").all_text_contents()
    assert titles[:3] == ["Status “delivered”", "Status “sent”", "Status “read”"]
    assert "It stays “read”, which ranks higher." in phone.locator("#steps li").first.inner_text()
    assert phone.locator("#chat .bot .ticks.read").count() == 1
    assert [review["status"] for review in reviews_of(server, phone)] == ["read"]
    press(phone, "Status out of order")
    phone.locator("#steps li").nth(9).wait_for()
    assert [review["status"] for review in reviews_of(server, phone)] == ["read"]
    assert is_all_well(phone)


def test_a_forged_message_is_refused_and_moves_nothing(phone: Any) -> None:
    write(phone, "Hi")
    press(phone, "Forged signature")
    phone.get_by_text("Rejected with 403.").wait_for()
    assert "signed with a wrong token" in phone.locator("#steps li").first.inner_text()
    assert counts(phone)["messages"] == (1, 1)
    assert state(phone) == "ASK_NAME"
    assert is_all_well(phone)


def test_another_contact_has_a_conversation_of_its_own(phone: Any) -> None:
    write(phone, "Hi")
    first = phone.locator("#contact").input_value()
    press(phone, "New contact")
    phone.locator("#states [aria-current]", has_text="START").wait_for()
    assert said(phone, "customer") == []
    write(phone, "Hello")
    phone.select_option("#contact", first)
    phone.locator("#chat", has_text="Hi").wait_for()
    bubbles(phone, "bot").first.wait_for()
    assert said(phone, "customer") == ["Hi"]
    write(phone, "Lamp")
    assert state(phone) == "ASK_REVIEW"


def test_what_comes_for_one_contact_is_not_seen_at_another(
    server: str, open_page: OpenPage
) -> None:
    phone = ready(open_page(f"{server}/phone"))
    first = phone.locator("#contact").input_value()
    press(phone, "Lose the reply")
    phone.get_by_text("The reply got lost. Twilio tries again …").wait_for()
    press(phone, "New contact")
    write(phone, "Hello")
    phone.wait_for_timeout(2_000)
    assert (said(phone, "customer"), len(said(phone, "bot"))) == (["Hello"], 1)
    assert counts(phone)["messages"] == (0, 1)
    assert is_all_well(phone)
    phone.select_option("#contact", first)
    phone.locator("#chat .customer", has_text="Hi").wait_for()
    assert said(phone, "customer") == ["Hi"]


def test_a_server_that_is_gone_is_told_and_all_goes_on_when_it_is_back(
    server: str, open_page: OpenPage
) -> None:
    url = f"{server}/phone"
    phone = ready(open_page(url, expected="net::ERR_FAILED", reduced_motion="reduce"))
    phone.route("**/phone/messages", lambda route: route.abort())
    phone.fill("#say", "Hi")
    phone.press("#say", "Enter")
    phone.get_by_text("The server does not answer. Is it still running?").wait_for()
    phone.unroute("**/phone/messages")
    write(phone, "Hello")
    assert state(phone) == "ASK_NAME"
    assert is_all_well(phone)


def test_a_page_that_is_loaded_again_goes_on(phone: Any) -> None:
    for text in REVIEW[:2]:
        write(phone, text)
    phone.reload()
    bubbles(phone, "bot").nth(1).wait_for()
    assert said(phone, "customer") == [*REVIEW[:2]]
    for text in REVIEW[2:]:
        write(phone, text)
    assert said(phone, "bot")[-1] == THANKS
    assert is_all_well(phone)


def test_who_is_forgotten_meanwhile_begins_anew(server: str, phone: Any) -> None:
    write(phone, "Hi")
    contact = phone.locator("#contact").input_value()
    gone = httpx.delete(f"{server}/api/contacts/{contact}", trust_env=False)
    assert gone.status_code == 204
    write(phone, "Hello")
    assert said(phone, "bot") == [GREETING, GREETING]
    verdict = str(phone.locator("#verdict.good").text_content())
    assert verdict.startswith("Earlier messages are gone: this contact was erased, or")


def test_fifty_hostile_texts_stay_text(phone: Any) -> None:
    for text in HOSTILE:  # each in its turn a greeting, a product, a name or a review
        write(phone, text)
        assert said(phone, "customer")[-1] == text
    assert phone.locator("main :is(script, img, style, form form, iframe, base)").count() == 0
    assert is_all_well(phone)
    phone.reload()
    bubbles(phone, "bot").nth(len(HOSTILE) - 1).wait_for()
    assert said(phone, "customer") == HOSTILE  # as it is in the log
    assert phone.locator("main :is(script, img, style, form form, iframe, base)").count() == 0


def test_without_a_token_a_forgery_is_believed_and_a_restart_forgets_nothing(
    tmp_path: Path, open_page: OpenPage
) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    with serve_here(make_app(database_url=url)) as address:
        page = ready(open_page(f"{address}/phone"))
        press(page, "Forged signature")
        page.get_by_text("Accepted: no TWILIO_AUTH_TOKEN is set here.").wait_for()
        write(page, "iPhone 15")
        assert state(page) == "ASK_REVIEW"
        contact = page.locator("#contact").input_value()
    with serve_here(make_app(database_url=url)) as address:
        told = httpx.post(f"{address}/phone/records", json={"contact": contact}).json()
    assert told["state"] == "ASK_REVIEW"
    assert [row["body"] for row in told["tables"]["messages"]] == ["Hi", "iPhone 15"]
