"""Whether everybody can use the phone: small screens, keyboards, light and dark."""

from typing import Any

import pytest

from tests.web.pages.conftest import OpenPage
from tests.web.pages.phone_page import ready, write
from tests.web.pages.test_phone import REVIEW


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
def test_it_fits_a_screen_of_360_pixels(server: str, open_page: OpenPage, scheme: str) -> None:
    page = ready(open_page(f"{server}/phone", 360, 740, color_scheme=scheme))
    for text in (*REVIEW[:3], "x" * 300):
        write(page, text)
    page.click("summary:has-text('Show the rows')")
    for step in page.locator("#steps summary").all():
        step.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    below = "document.querySelector('.panel').getBoundingClientRect().top"
    phone_ends = "document.querySelector('.phone').getBoundingClientRect().bottom"
    assert page.evaluate(f"{below} >= {phone_ends}")
