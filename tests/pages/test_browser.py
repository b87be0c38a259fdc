"""The pages in a real browser: news without reload, search, themes, small screens, no violation."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from dashboard import CARDS
from database import open_database, utc_now
from run import find_browser
from simulator import Customer, Simulator
from tests.conftest import PUBLIC_URL, TOKEN
from tests.pages.browser import flags, missing
from tests.pages.test_dashboard import HOSTILE
from tests.servers import serve
from tests.test_filters import record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")

MARK = "document.documentElement.dataset.mark"
"""What a reload would take away."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=flags())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A page in a window of its own. No script may fail on it, nothing may break its policy."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("console", lambda told: troubles.append(told.text) if told.type == "error" else None)
    yield page
    page.close()
    # A browser tells of every answer that is a refusal.
    assert [
        each for each in troubles if "the server responded with a status of 401" not in each
    ] == []


@pytest.fixture
def server(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url) as running:
        yield running.base_url


@pytest.fixture
def customer(server: str) -> Iterator[Customer]:
    with httpx.Client(base_url=server, timeout=30, trust_env=False) as client:
        yield Customer(Simulator(client), "+15551234567")


def finish_review(customer: Customer, product: str, text: str) -> None:
    for said in ("Hi", product, "Ana", text):
        customer.says(said)


def test_a_review_appears_on_an_open_page_without_reload(
    server: str, page: "Page", customer: Customer
) -> None:
    page.goto(server)
    page.get_by_text("No reviews yet").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate(f"{MARK} = 'here'")
    finish_review(customer, "Lamp", "<img src=x onerror=alert(1)>")
    page.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    page.locator(".card .ticks.read").wait_for()  # the simulator tells all three statuses
    finish_review(customer, "Sofa", "Soft.")
    page.get_by_text("Soft.").wait_for()
    assert page.locator(".card h3").all_inner_texts() == ["Sofa", "Lamp"]
    page.locator("#news", has_text="New review: Sofa").wait_for(state="attached")
    page.locator("#figures .value", has_text="2").first.wait_for()
    assert page.locator(".card time").first.inner_text() == "just now"
    assert page.evaluate(MARK) == "here"


def test_a_page_that_nobody_looks_at_asks_for_nothing_and_catches_up(
    server: str, page: "Page", customer: Customer
) -> None:
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.goto(server)
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate(hide, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    finish_review(customer, "Lamp", "Bright.")
    page.wait_for_timeout(3_000)
    assert asked == []
    page.evaluate(hide, False)
    page.get_by_text("Bright.").wait_for()


def test_of_many_that_have_just_come_the_older_ones_stay_on_their_page(
    server: str, page: "Page", sqlite_url: str
) -> None:
    database = open_database(sqlite_url)
    for second in range(CARDS + 5):
        record(database, at=utc_now() - timedelta(seconds=10 - second / 10))
    page.goto(server)
    newest = record(database, "The newest", at=utc_now())
    database.close()
    page.get_by_text("The newest").wait_for()
    ids = page.locator(".card").evaluate_all("cards => cards.map(card => +card.dataset.id)")
    assert ids == [*range(newest, newest - CARDS - 1, -1)]


def test_what_is_typed_is_searched_at_once_and_stands_in_the_address(
    server: str, page: "Page", sqlite_url: str
) -> None:
    database = open_database(sqlite_url)
    for product in ("Lamp", "Sofa", "Chair"):
        record(database, f"A fine {product}", product=product)
    database.close()
    page.goto(server)
    page.evaluate(f"{MARK} = 'here'")
    page.get_by_label("Search").press_sequentially("FINE SOFA")
    page.locator(".card").nth(1).wait_for(state="detached")
    assert page.locator(".card h3").all_inner_texts() == ["Sofa"]
    assert page.url == f"{server}/?q=FINE+SOFA"
    page.get_by_label("Search").press_sequentially("s")
    page.get_by_text("No review is like this").first.wait_for()
    assert page.get_by_label("Search").evaluate("field => field === document.activeElement")
    page.get_by_label("Search").fill("")
    page.locator(".card").nth(2).wait_for()
    assert page.url == f"{server}/"
    page.get_by_label("Delivery").select_option("read")
    page.get_by_text("No review is like this").first.wait_for()
    assert page.evaluate(MARK) == "here"
    page.reload()
    assert page.get_by_label("Delivery").input_value() == "read"


def test_without_scripts_the_form_and_the_links_do_the_same(
    server: str, browser: "Browser", sqlite_url: str
) -> None:
    database = open_database(sqlite_url)
    for product in ("Lamp", "Sofa"):
        record(database, "word " * 200, product=product)
    database.close()
    page = browser.new_page(java_script_enabled=False)
    page.goto(server)
    page.get_by_label("Search").fill("sofa")
    page.get_by_role("button", name="Search").click()
    assert page.locator(".card h3").all_inner_texts() == ["Sofa"]
    page.get_by_text("Show all").last.click()
    page.get_by_text("Sofa").click()
    assert page.url == f"{server}/reviews/2"
    page.get_by_text("Erase this review").click()
    page.get_by_role("button", name="Erase for good").click()
    page.get_by_text("have been erased").wait_for()
    assert page.locator(".card h3").all_inner_texts() == ["Lamp"]
    page.close()


def test_dark_is_dark_and_light_is_light(server: str, page: "Page") -> None:
    page.goto(server)
    ground = "getComputedStyle(document.body).backgroundColor"
    shades = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shades[scheme] = sum(
            map(int, page.evaluate(ground).removeprefix("rgb(").rstrip(")").split(","))
        )
    assert shades["dark"] < 100
    assert shades["light"] > 600


def test_nothing_leaves_a_screen_of_360_pixels_whatever_was_written(
    server: str, page: "Page", sqlite_url: str
) -> None:
    database = open_database(sqlite_url)
    for text in HOSTILE:
        number = record(database, text, product=text[:150], name=text[:150])
    database.close()
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", f"/reviews/{number}", "/?q=nothing", "/login", "/?since=x"):
        response = httpx.get(f"{server}{path}", trust_env=False)
        if response.status_code == 200:
            page.goto(f"{server}{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    page.goto(server)
    for fold in page.locator("summary").all():
        fold.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelectorAll('#cards img, #cards script').length") == 0


def test_the_login_of_a_production_server_lets_in_and_out(
    page: "Page", sqlite_url: str, tmp_path: Path
) -> None:
    with serve(
        tmp_path / "log",
        ENVIRONMENT="production",
        DATABASE_URL=sqlite_url,
        API_KEY="k" * 16,
        TWILIO_AUTH_TOKEN=TOKEN,
        PUBLIC_URL=PUBLIC_URL,
    ) as running:
        page.goto(f"{running.base_url}/?q=lamp")
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("That is not the key.").wait_for()
        page.get_by_label("Key").fill("k" * 16)
        page.keyboard.press("Enter")
        page.get_by_text("No review is like this").wait_for()
        assert page.url == f"{running.base_url}/?q=lamp"
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Key").wait_for()
        page.goto(running.base_url)
        assert "/login?next=" in page.url


def test_an_open_page_does_not_keep_a_server_from_ending(
    page: "Page", sqlite_url: str, tmp_path: Path
) -> None:
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url) as running:
        page.goto(running.base_url)
        page.get_by_text("Live", exact=True).wait_for()
        page.goto("about:blank")  # or it would complain of the server's end
        started = time.monotonic()
        running.stop()
        assert time.monotonic() - started < 10
