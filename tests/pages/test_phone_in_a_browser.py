"""The phone as people see it: a real browser, a real server, every button."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from checker import check
from database import open_database
from tests.conftest import TOKEN
from tests.pages.conftest import OpenPage
from tests.pages.test_phone import HOSTILE, REVIEW
from tests.servers import Uvicorn, ask, serve

THANKS = "Thanks Sarah -- your review for iPhone 15 has been recorded."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uvicorn]:
    """A server that believes signed messages alone; at the end its log and tables agree."""
    folder = tmp_path_factory.mktemp("server")
    url = f"sqlite:///{folder / 'test.db'}"
    with serve(
        folder / "log",
        DATABASE_URL=url,
        CONVERSATION_STORE="database",
        TWILIO_AUTH_TOKEN=TOKEN,
    ) as running:
        yield running
    database = open_database(url)
    assert check(database).problems == []
    database.close()


@pytest.fixture
def phone(server: Uvicorn, open_page: OpenPage) -> Any:
    """The page, ready to write."""
    return ready(open_page(f"{server.base_url}/phone", reduced_motion="reduce"))


def ready(page: Any) -> Any:
    page.locator("#states [aria-current]").wait_for()
    return page


def write(page: Any, text: str) -> None:
    """Write a text, press Enter, wait for the answer."""
    answers = bubbles(page, "bot").count()
    page.fill("#say", text)
    page.press("#say", "Enter")
    bubbles(page, "bot").nth(answers).wait_for()


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def bubbles(page: Any, who: str) -> Any:
    return page.locator(f"#chat .{who}:not(.dots)")


def said(page: Any, who: str) -> list[str]:
    texts: list[str] = page.locator(f"#chat .{who}:not(.dots) .words").all_text_contents()
    return texts


def state(page: Any) -> str:
    return str(page.locator("#states [aria-current]").text_content())


def counts(page: Any) -> dict[str, tuple[int, int]]:
    """Read the rows before and now, by table."""
    rows = page.locator("#counts tr").all()
    cells = [row.locator("th, td").all_text_contents() for row in rows]
    return {table: (int(before), int(now)) for table, before, now, _ in cells}


def is_all_well(page: Any) -> bool:
    text = str(page.locator("#verdict.good").text_content())
    return text.startswith("Nothing lost, nothing doubled")


def reviews_of(server: Uvicorn, page: Any) -> list[dict[str, Any]]:
    contact = page.locator("#contact").input_value().replace("+", "%2B")
    found: list[dict[str, Any]] = ask(f"{server.base_url}/api/reviews?contact={contact}").json()
    return found


def test_a_whole_conversation_is_held_and_its_review_recorded(server: Uvicorn, phone: Any) -> None:
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
    assert counts(phone) == {"messages": (3, 4), "reviews": (0, 1), "conversations": (1, 0)}
    assert is_all_well(phone)


def test_a_step_shows_what_was_posted_what_came_back_and_which_rows_changed(phone: Any) -> None:
    write(phone, "Hi")
    step = phone.locator("#steps li").first
    text = str(step.inner_text())
    assert re.search(r"MessageSid\s+SM[0-9a-f]{32}", text)
    assert "POST /webhook · signed" in text
    assert "<Response><Message>Hi! Which product is this review for?</Message></Response>" in text
    assert re.search(r"\+ messages SM[0-9a-f]{4}… position 1 “Hi”", text)
    assert re.search(r"\+ conversations SM[0-9a-f]{4}… at ASK_NAME", text)
    assert "START → ASK_NAME" in text


def test_somebody_is_seen_typing_before_the_answer_comes(
    server: Uvicorn, open_page: OpenPage
) -> None:
    phone = ready(open_page(f"{server.base_url}/phone"))
    phone.fill("#say", "Hi")
    phone.press("#say", "Enter")
    phone.locator("#chat .dots").wait_for()
    assert phone.locator("#presence").text_content() == "typing…"
    assert said(phone, "bot") == []
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
        phone.get_by_text("Both got the same answer, to the letter.").nth(count).wait_for()
    phone.locator("#counts .moved").nth(2).wait_for()
    assert counts(phone) == {"messages": (3, 4), "reviews": (0, 1), "conversations": (1, 0)}
    assert is_all_well(phone)


def test_a_lost_reply_comes_with_the_retry(phone: Any) -> None:
    write(phone, "Hi")
    phone.fill("#say", "iPhone 15")
    press(phone, "Lose the reply")
    phone.get_by_text("The reply got lost. Twilio tries again …").wait_for()
    assert len(said(phone, "bot")) == 1
    bubbles(phone, "bot").nth(1).wait_for()
    assert said(phone, "bot")[-1] == "Okay, got it. What's your name?"
    assert counts(phone)["messages"] == (1, 2)
    assert is_all_well(phone)


@pytest.mark.parametrize("button", ["Photo", "Voice note", "Location"])
def test_what_is_no_text_is_asked_for_again(phone: Any, button: str) -> None:
    write(phone, "Hi")
    press(phone, button)
    bubbles(phone, "bot").nth(1).wait_for()
    assert said(phone, "bot")[-1].startswith("Sorry, I can only read text.")
    assert state(phone) == "ASK_NAME"
    assert is_all_well(phone)


def test_statuses_out_of_order_leave_the_highest(server: Uvicorn, phone: Any) -> None:
    press(phone, "Status out of order")
    phone.get_by_text("The statuses of the next confirmation will come").wait_for()
    for text in REVIEW:
        write(phone, text)
    phone.locator("#steps", has_text="Status “delivered”").wait_for()
    titles = phone.locator("#steps summary strong").all_text_contents()
    assert titles[:3] == ["Status “delivered”", "Status “sent”", "Status “read”"]
    assert phone.locator("#chat .bot .ticks.read").count() == 1
    assert [review["status"] for review in reviews_of(server, phone)] == ["read"]
    press(phone, "Status out of order")
    phone.locator("#steps li").nth(9).wait_for()
    assert [review["status"] for review in reviews_of(server, phone)] == ["read"]
    assert is_all_well(phone)


def test_a_forged_message_is_refused_and_moves_nothing(phone: Any) -> None:
    write(phone, "Hi")
    press(phone, "Forged signature")
    phone.get_by_text("Refused with 403.").wait_for()
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
    server: Uvicorn, open_page: OpenPage
) -> None:
    phone = ready(open_page(f"{server.base_url}/phone"))
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
    server: Uvicorn, open_page: OpenPage
) -> None:
    url = f"{server.base_url}/phone"
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


def test_hostile_texts_stay_text(server: Uvicorn, phone: Any) -> None:
    for text in HOSTILE:
        for before in REVIEW[:3]:
            write(phone, before)
        write(phone, text)
        assert said(phone, "customer")[-1] == text
    assert phone.locator("main script, main img").count() == 0
    recorded = [review["product_review"] for review in reviews_of(server, phone)]
    assert recorded == [*reversed(HOSTILE)]
    phone.reload()
    bubbles(phone, "bot").nth(4 * len(HOSTILE) - 1).wait_for()
    assert said(phone, "customer")[3::4] == HOSTILE
    assert phone.locator("main script, main img").count() == 0


def test_all_of_it_can_be_done_by_keyboard(phone: Any) -> None:
    focused = "document.activeElement.id || document.activeElement.textContent.trim()"
    stops = []
    for _ in range(30):
        phone.keyboard.press("Tab")
        stops.append(phone.evaluate(focused))
    assert stops[0] == "Skip to the message box"
    assert {"new-contact", "contact", "chat", "suggestion", "say", "Photo"} <= set(stops)
    assert phone.locator("#chat").get_attribute("aria-live") == "polite"
    for named in ("Message", "You are"):
        assert phone.get_by_label(named, exact=True).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_screen_of_360_pixels(server: Uvicorn, open_page: OpenPage, scheme: str) -> None:
    page = ready(open_page(f"{server.base_url}/phone", 360, 740, color_scheme=scheme))
    for text in (*REVIEW[:3], "x" * 300):
        write(page, text)
    page.click("summary:has-text('Look at the rows')")
    for step in page.locator("#steps summary").all():
        step.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    below = "document.querySelector('.panel').getBoundingClientRect().top"
    phone_ends = "document.querySelector('.phone').getBoundingClientRect().bottom"
    assert page.evaluate(f"{below} >= {phone_ends}")


CONTRASTS = """
() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part / 255 <= 0.04045 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const backdrop = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [red, green, blue, alpha = 1] = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!text.length || !element.checkVisibility() || element.matches(":disabled")) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(backdrop(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) poor.push(`${element.className || element.tagName}: ${contrast.toFixed(2)}`);
  }
  return poor;
}
"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_as_wcag_aa_asks(
    server: Uvicorn, open_page: OpenPage, scheme: str
) -> None:
    page = ready(
        open_page(f"{server.base_url}/phone", color_scheme=scheme, reduced_motion="reduce")
    )
    for text in REVIEW:
        write(page, text)
    press(page, "Forged signature")
    page.get_by_text("Refused with 403.").wait_for()
    page.locator("#chat .bot .ticks.read").wait_for()
    page.click("summary:has-text('Look at the rows')")
    assert page.evaluate(CONTRASTS) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 19)"
    assert dark == (scheme == "dark")


def test_without_a_token_a_forgery_is_believed_and_a_restart_forgets_where_one_stands(
    tmp_path: Path, open_page: OpenPage
) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    with serve(tmp_path / "log", DATABASE_URL=url, CONVERSATION_STORE="memory") as first:
        page = ready(open_page(f"{first.base_url}/phone"))
        press(page, "Forged signature")
        page.get_by_text("Believed: no TWILIO_AUTH_TOKEN is set here.").wait_for()
        write(page, "iPhone 15")
        assert state(page) == "ASK_REVIEW"
        contact = page.locator("#contact").input_value()
    with serve(tmp_path / "log", DATABASE_URL=url, CONVERSATION_STORE="memory") as second:
        told = httpx.post(f"{second.base_url}/phone/records", json={"contact": contact}).json()
    assert told["state"] == "START"
    assert [row["body"] for row in told["tables"]["messages"]] == ["Hi", "iPhone 15"]
