"""Whether everybody can use the phone: small screens, keyboards, light and dark."""

from typing import Any

import pytest

from tests.pages.conftest import OpenPage
from tests.pages.phone_page import press, ready, write
from tests.pages.test_phone import REVIEW
from tests.servers import Uvicorn


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
