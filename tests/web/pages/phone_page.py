"""What a visitor does on the phone's page, and reads from it."""

from typing import Any

from conversation.wording import GOT_REVIEW
from tests.support.servers import ask

THANKS = GOT_REVIEW.format(name="Sarah", product="iPhone 15")


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
    return text.startswith("Nothing lost, nothing duplicated")


def reviews_of(server: str, page: Any) -> list[dict[str, Any]]:
    contact = page.locator("#contact").input_value().replace("+", "%2B")
    found: list[dict[str, Any]] = ask(f"{server}/api/reviews?contact={contact}").json()
    return found
