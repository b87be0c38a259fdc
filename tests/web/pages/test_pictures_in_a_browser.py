"""Pictures of the pages as people see them, to look at; `--pictures FOLDER` keeps them there.

Then of a month with a thousand reviews, else with a dozen. What is asserted is only
that nothing leaves the screen sideways, and that the browser has nothing to complain of.
"""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from core.clock import utc_now
from db.engine import open_database
from models import LoggedMessage, Review
from simulator.customer import Customer
from simulator.demo import demo, read_examples
from simulator.fake_twilio import Simulator
from tests.conftest import make_app
from tests.support.servers import serve_here
from tests.web.pages.conftest import OpenPage
from tests.web.pages.phone_page import THANKS, press, ready, write
from tests.web.pages.test_phone import REVIEW

WIDE, NARROW = (1280, 900), (360, 740)
TIMES: list[tuple[Any, tuple[str, ...]]] = [
    (Review, ("created_at", "updated_at")),
]
Take = Callable[[str, Any], None]


@pytest.fixture
def take(request: pytest.FixtureRequest) -> Take:
    folder = request.config.getoption("--pictures")

    def take(name: str, page: Any) -> None:
        width = page.viewport_size["width"]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take


@pytest.fixture(scope="module")
def month(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server that has been collecting for a month: `run.py demo`, and some who stopped."""
    count = 1_000 if request.config.getoption("--pictures") else 12
    url = f"sqlite:///{tmp_path_factory.mktemp('month') / 'test.db'}"
    reviews = [*islice(cycle(read_examples()), count)]
    with serve_here(make_app(database_url=url, conversation_store="database")) as address:
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            demo(Simulator(client), reviews, customers=16)
            for number in range(count // 8):
                for text in REVIEW[: 1 + number % 3]:
                    Customer(Simulator(client), f"+44770090{number:04}").says(text)
        spread_over_a_month(url)
        yield address


def spread_over_a_month(database_url: str) -> None:
    """Give every conversation a time of its own, most of them lately, and the newest a status."""
    chosen = random.Random(7)
    database = open_database(database_url)
    with database.write() as connection:
        for conversation_id in connection.scalars(
            sa.select(LoggedMessage.conversation_id).distinct()
        ):
            end = utc_now() - timedelta(days=29.5 * chosen.random() ** 1.2)
            of_it = LoggedMessage.conversation_id == conversation_id
            for position in range(1, 5):
                at = end - timedelta(seconds=(4 - position) * 37)
                here = sa.update(LoggedMessage).where(of_it, LoggedMessage.position == position)
                connection.execute(here.values(received_at=at))
            for table, times in TIMES:
                connection.execute(
                    sa.update(table)
                    .where(table.conversation_id == conversation_id)
                    .values(dict.fromkeys(times, end))
                )
        newest = connection.scalars(sa.select(Review.id).order_by(Review.created_at.desc()))
        told = [("delivered", None), ("read", None), ("failed", 63016), ("sent", None)]
        for number, (status, code) in zip(newest.all(), told, strict=False):
            changes = {"status": status, "error_code": code}
            connection.execute(sa.update(Review).where(Review.id == number).values(changes))
    database.close()


LOOKS = {
    "": (WIDE, "light"),
    "-dark": (WIDE, "dark"),
    "-narrow": (NARROW, "light"),
    "-narrow-dark": (NARROW, "dark"),
}


def take_all(take: Take, name: str, page: Any) -> None:
    """Take a page light and dark, wide and narrow."""
    for look, ((width, height), scheme) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        take(f"{name}{look}", page)


def test_the_dashboard_after_a_month(month: str, open_page: OpenPage, take: Take) -> None:
    page = open_page(month)
    page.get_by_text("Live", exact=True).wait_for()
    take_all(take, "dashboard", page)
    page.locator("#list-title").evaluate("title => title.scrollIntoView()")
    take_all(take, "list", page)
    page.locator(".card h3 a").first.click()
    page.get_by_role("heading", name="Delivery").wait_for()
    take_all(take, "review", page)
    page.get_by_role("heading", name="Conversation").evaluate("said => said.scrollIntoView()")
    take_all(take, "said", page)


def test_the_dashboard_before_the_first_review(
    fresh_server: str, open_page: OpenPage, take: Take
) -> None:
    page = open_page(fresh_server)
    page.get_by_text("Live", exact=True).wait_for()
    take_all(take, "empty", page)
    page.goto(f"{fresh_server}/?q=nothing")
    take_all(take, "found-nothing", page)


def test_the_list_while_it_waits_for_an_answer(month: str, open_page: OpenPage, take: Take) -> None:
    page = open_page(month, *WIDE)
    page.get_by_text("Live", exact=True).wait_for()
    page.route("**/?q=*", lambda _: None)  # never answered
    page.get_by_label("Search").fill("lamp")
    page.locator("#list[aria-busy=true]").wait_for()
    page.locator("#list-title").evaluate("title => title.scrollIntoView()")
    page.wait_for_timeout(1_000)
    colour = page.locator(".card h3 a").first.evaluate("link => getComputedStyle(link).color")
    assert colour == "rgba(0, 0, 0, 0)"
    take("waiting", page)


def test_the_login(open_page: OpenPage, take: Take, sqlite_url: str) -> None:
    with serve_here(make_app(database_url=sqlite_url, api_key="k" * 16)) as address:
        page = open_page(f"{address}/login", expected="401")
        page.get_by_label("Key").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("Wrong key, please try again.").wait_for()
        take_all(take, "login", page)


def test_the_phone_amid_trouble(server: str, open_page: OpenPage, take: Take) -> None:
    page = ready(open_page(f"{server}/phone", reduced_motion="reduce"))
    for text in REVIEW:
        write(page, text)
    page.locator("#chat .bot .ticks.read").wait_for()
    press(page, "Send this again")
    page.get_by_text("the same words again").wait_for()
    assert page.locator("#chat .bot", has_text=THANKS).count() == 2
    page.locator("#steps > li").nth(10).wait_for()
    page.evaluate("scrollTo(0, 0)")
    take_all(take, "phone", page)
    page.locator("#states").evaluate("states => states.scrollIntoView()")
    take_all(take, "trouble", page)
