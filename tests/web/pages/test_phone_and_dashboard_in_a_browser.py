"""The phone in one tab, the dashboard in another."""

from tests.web.pages.conftest import OpenPage
from tests.web.pages.phone_page import ready, write
from tests.web.pages.test_phone import REVIEW


def test_a_conversation_on_the_phone_appears_on_an_open_dashboard(
    server: str, open_page: OpenPage
) -> None:
    dashboard = open_page(f"{server}/")
    dashboard.get_by_text("No reviews yet").wait_for()
    phone = ready(open_page(f"{server}/phone", reduced_motion="reduce"))
    for text in REVIEW:
        write(phone, text)
    dashboard.get_by_text("Amazing battery life.").first.wait_for()
    dashboard.get_by_text("No reviews yet").wait_for(state="hidden")
