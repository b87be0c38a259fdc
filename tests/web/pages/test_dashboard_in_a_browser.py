"""The dashboard in a real browser: news without reload, search, themes, small screens."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.clock import utc_now
from db.engine import open_database
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import PRODUCTION, make_app
from tests.reviews.test_query import record
from tests.support.servers import serve_here
from tests.web.pages.conftest import OpenPage
from tests.web.pages.hostile_texts import HOSTILE
from web.pages.dashboard import CARDS

MARK = "document.documentElement.dataset.mark"
"""What a reload would take away."""
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""What happens when a tab goes to the background, or comes back."""


@pytest.fixture
def customer(fresh_server: str) -> Iterator[Customer]:
    with httpx.Client(base_url=fresh_server, timeout=30, trust_env=False) as client:
        yield Customer(Simulator(client), "+15551234567")


@contextmanager
def serve_in_production(database_url: str) -> Iterator[str]:
    """Serve a production app without the proxy, so that its pages have this server's origin."""
    app = make_app(database_url=database_url, **PRODUCTION)
    with serve_here(app) as address:
        app.state.access = replace(app.state.access, own_origin=address)
        yield address


def finish_review(customer: Customer, product: str, text: str) -> None:
    for said in ("Hi", product, "Ana", text):
        customer.says(said)


def record_of(database_url: str, *products: str, status: str | None = None) -> None:
    """Record a review of each product, as the bot does."""
    database = open_database(database_url)
    for product in products:
        record(database, f"A fine {product}", product=product, status=status)
    database.close()


def test_a_review_appears_on_an_open_page_without_reload(
    fresh_server: str, open_page: OpenPage, customer: Customer
) -> None:
    page = open_page(fresh_server)
    page.get_by_text("No reviews yet").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate(f"{MARK} = 'here'")
    finish_review(customer, "Lamp", "<img src=x onerror=alert(1)>")
    page.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    page.locator(".card .ticks.read").wait_for()  # the simulator tells all three statuses
    page.locator("#figures .value", has_text="1").first.wait_for()
    finish_review(customer, "Sofa", "Soft.")
    page.get_by_text("Soft.").wait_for()
    assert page.locator(".card h3").all_inner_texts() == ["Sofa", "Lamp"]
    page.locator("#news", has_text="New review: Sofa").wait_for(state="attached")
    assert page.locator(".card time").first.inner_text() == "just now"
    assert page.evaluate(MARK) == "here"


def test_a_page_that_nobody_looks_at_asks_for_nothing_and_catches_up(
    fresh_server: str, open_page: OpenPage, customer: Customer
) -> None:
    page = open_page(fresh_server)
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate(HIDE, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    finish_review(customer, "Lamp", "Bright.")
    page.wait_for_timeout(3_000)
    assert asked == []
    page.evaluate(HIDE, False)
    page.get_by_text("Bright.").wait_for()


@pytest.mark.parametrize("missed", ["in the background", "asleep"])
def test_a_page_that_has_missed_the_news_loads_its_list_anew(
    fresh_server: str, open_page: OpenPage, fresh_database: str, missed: str
) -> None:
    def load_long_ago(route: Any) -> None:
        """Answer with the page of an hour ago, before a review that came 20 minutes ago."""
        answer = route.fetch()
        database = open_database(fresh_database)
        record(database, "Long ago", at=utc_now() - timedelta(minutes=20))
        database.close()
        an_hour_ago = (utc_now() - timedelta(hours=1)).isoformat()
        old = re.sub('data-last="[^"]*"', f'data-last="{an_hour_ago}"', answer.text())
        route.fulfill(response=answer, body=old)

    address = f"{fresh_server}/"
    page = open_page("about:blank")
    page.route(address, load_long_ago, times=1)
    if missed == "in the background":
        page.add_init_script(f"({HIDE})(true)")
    page.goto(address)
    if missed == "in the background":
        page.evaluate(HIDE, False)
    page.get_by_text("Long ago").wait_for()


def test_a_connection_that_nothing_comes_through_is_given_up(
    fresh_server: str, open_page: OpenPage
) -> None:
    page = open_page("about:blank")
    page.clock.install()
    page.route("**/events?*", lambda _: None, times=1)
    with page.expect_request("**/events?*"):
        page.goto(fresh_server)
    page.clock.fast_forward(31_000)
    page.get_by_text("Not connected", exact=True).wait_for()
    page.get_by_text("Live", exact=True).wait_for()


def test_a_page_that_is_told_to_load_its_list_again_and_again_takes_its_time(
    fresh_server: str, open_page: OpenPage
) -> None:
    asked = []

    def tell_of_many(route: Any) -> None:
        asked.append("events")
        route.fulfill(content_type="text/event-stream", body="id: x\nevent: many\ndata: {}\n\n")

    def load(route: Any) -> None:
        asked.append("list")
        route.continue_()

    def go_on_until(what: str, times: int, milliseconds: int) -> None:
        """Let so much of the page's time go by with every look."""
        while asked.count(what) < times:
            page.clock.run_for(milliseconds)
            page.wait_for_timeout(10)

    page = open_page("about:blank")
    page.clock.install()
    page.clock.pause_at(utc_now() + timedelta(minutes=1))  # it runs on until it is paused
    page.route(f"{fresh_server}/events?*", tell_of_many)
    page.route(f"{fresh_server}/", load)
    page.goto(fresh_server)
    go_on_until("list", 2, 1)
    go_on_until("events", 2, 0)
    page.evaluate("fetch('healthz')")  # it comes back when what came before has been heard
    page.clock.run_for(2_000)
    page.evaluate("fetch('healthz')")
    assert asked == ["list", "events", "list", "events"]
    page.clock.run_for(1_000)
    go_on_until("list", 3, 1)


def test_a_review_told_again_is_left_as_it_is(
    fresh_server: str, open_page: OpenPage, customer: Customer
) -> None:
    page = open_page(fresh_server)
    page.get_by_text("Live", exact=True).wait_for()
    finish_review(customer, "Lamp", "Bright.")
    page.locator(".card .ticks.read").wait_for()
    page.evaluate("document.querySelector('.card').dataset.mark = 'here'")
    page.evaluate(HIDE, True)
    page.evaluate(HIDE, False)  # a new stream tells it again
    finish_review(customer, "Sofa", "Soft.")
    page.get_by_text("Soft.").wait_for()
    assert page.locator(".card").last.get_attribute("data-mark") == "here"


def test_what_another_browser_erases_leaves_an_open_page(
    fresh_server: str, open_page: OpenPage, customer: Customer
) -> None:
    for product in ("Lamp", "Sofa"):
        finish_review(customer, product, "Fine.")
    page = open_page(fresh_server)
    page.get_by_text("Live", exact=True).wait_for()
    for number, left in ((1, ["Sofa"]), (2, [])):
        httpx.delete(f"{fresh_server}/api/reviews/{number}", trust_env=False).raise_for_status()
        page.locator(f"#review-{number}").wait_for(state="detached")
        assert page.locator(".card h3").all_inner_texts() == left
    page.get_by_text("No reviews yet").wait_for()


def test_a_login_that_has_ended_is_asked_for_again(open_page: OpenPage, sqlite_url: str) -> None:
    with serve_in_production(sqlite_url) as address:
        page = open_page(f"{address}/login", expected="status of 401")
        page.get_by_label("Key").fill("k" * 16)
        page.keyboard.press("Enter")
        page.get_by_text("Live", exact=True).wait_for()
        page.context.clear_cookies()
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        page.get_by_label("Key").wait_for()


def test_the_link_past_the_header_leads_to_the_content(
    fresh_server: str, open_page: OpenPage
) -> None:
    page = open_page(fresh_server)
    page.evaluate(f"{MARK} = 'here'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{fresh_server}/#main")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate(MARK) == "here"


def test_of_many_that_have_just_come_the_older_ones_stay_on_their_page(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    database = open_database(fresh_database)
    for second in range(CARDS + 5):
        record(database, at=utc_now() - timedelta(seconds=10 - second / 10))
    page = open_page(fresh_server)
    newest = record(database, "The newest", at=utc_now())
    database.close()
    page.get_by_text("The newest").wait_for()
    ids = page.locator(".card").evaluate_all("cards => cards.map(card => +card.dataset.id)")
    assert ids == [*range(newest, newest - CARDS - 1, -1)]


def test_what_is_typed_is_searched_at_once_and_stands_in_the_address(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    record_of(fresh_database, "Lamp", "Sofa", "Chair")
    page = open_page(fresh_server)
    page.evaluate(f"{MARK} = 'here'")
    page.get_by_label("Search").press_sequentially("FINE SOFA")
    page.locator(".card").nth(1).wait_for(state="detached")
    assert page.locator(".card h3").all_inner_texts() == ["Sofa"]
    assert page.url == f"{fresh_server}/?q=FINE+SOFA"
    page.get_by_label("Search").press_sequentially("s")
    page.get_by_text("No reviews match").first.wait_for()
    assert page.get_by_label("Search").evaluate("field => field === document.activeElement")
    page.get_by_label("Search").fill("")
    page.locator(".card").nth(2).wait_for()
    assert page.url == f"{fresh_server}/"
    page.get_by_label("Delivery").select_option("read")
    page.get_by_text("No reviews match").first.wait_for()
    assert page.evaluate(MARK) == "here"
    page.reload()
    assert page.get_by_label("Delivery").input_value() == "read"


def test_a_search_can_be_shared_and_the_back_button_undoes_it(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    record_of(fresh_database, "Lamp", "Sofa", status="read")
    page = open_page(fresh_server)
    page.get_by_label("Delivery").select_option("read")
    page.get_by_text("Clear filters").wait_for()
    page.get_by_label("Search").press_sequentially("sofa")
    page.locator(".card").nth(1).wait_for(state="detached")
    assert page.url == f"{fresh_server}/?q=sofa&status=read"
    shared = open_page(page.url)
    assert shared.locator(".card h3").all_inner_texts() == ["Sofa"]
    page.locator(".card h3 a").click()
    page.get_by_role("heading", name="Conversation").wait_for()
    for address, products in (("?q=sofa&status=read", 1), ("?status=read", 2), ("", 2)):
        page.go_back()
        page.wait_for_url(f"{fresh_server}/{address}")
        page.wait_for_function(f"document.querySelectorAll('.card').length === {products}")
    page.wait_for_function("document.getElementsByName('status')[0].value === ''")


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_product_of_two_lines_can_be_filtered_for(
    fresh_server: str, open_page: OpenPage, fresh_database: str, has_scripts: bool
) -> None:
    record_of(fresh_database, "Lamp\nblue", "Lamp", status="read")
    page = open_page(f"{fresh_server}/?product=Lamp%0Ablue", java_script_enabled=has_scripts)
    page.get_by_text("Filtered, one product: Lamp blue.").wait_for()
    page.get_by_label("Delivery").select_option("read")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/*status=read*")
    page.locator(".card").wait_for()
    assert page.locator(".card h3").all_inner_texts() == ["Lamp blue"]


def test_what_is_filtered_is_exported(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    record_of(fresh_database, "Lamp", "Sofa")
    page = open_page(fresh_server)
    page.get_by_label("Search").fill("sofa")
    page.locator(".card").nth(1).wait_for(state="detached")
    with page.expect_download() as download:
        page.get_by_text("Export as CSV").click()
    assert download.value.suggested_filename == "reviews.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert ["A fine Sofa" in line for line in lines] == [False, True]


def test_without_scripts_the_form_and_the_links_do_the_same(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    database = open_database(fresh_database)
    for product in ("Lamp", "Sofa"):
        record(database, "word " * 200, product=product)
    database.close()
    page = open_page(fresh_server, java_script_enabled=False)
    page.get_by_label("Search").fill("sofa")
    page.get_by_role("button", name="Search").click()
    assert page.locator(".card h3").all_inner_texts() == ["Sofa"]
    page.get_by_text("Clear filters").last.click()
    page.get_by_text("Sofa").click()
    assert page.url == f"{fresh_server}/reviews/2"
    page.get_by_text("Delete this review").click()
    page.get_by_role("button", name="Delete permanently").click()
    page.get_by_text("have been deleted").wait_for()
    assert page.locator(".card h3").all_inner_texts() == ["Lamp"]


def test_dark_is_dark_and_light_is_light(fresh_server: str, open_page: OpenPage) -> None:
    page = open_page(fresh_server)
    shades = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, ground.removeprefix("rgb(").rstrip(")").split(",")))
    assert shades["dark"] < 100
    assert shades["light"] > 600


def test_fifty_hostile_texts_are_text_and_none_leaves_a_screen_of_360_pixels(
    fresh_server: str, open_page: OpenPage, fresh_database: str
) -> None:
    database = open_database(fresh_database)
    for text in HOSTILE:
        number = record(database, text, product=text[:150], name=text[:150])
    database.close()
    page = open_page(fresh_server, 360, 740, expected="status of 4")
    shown: list[str] = []
    while True:
        heights = page.locator(".beginning").evaluate_all(
            "all => all.map((one) => one.offsetHeight)"
        )
        assert max(heights, default=0) < 400
        for fold in page.locator("#cards summary").all():
            fold.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#cards :is(img, script, style, form, iframe, base)").count() == 0
        shown += page.locator("#cards p.words, #cards .words p").all_text_contents()
        if not page.get_by_text("Older", exact=True).count():
            break
        page.get_by_text("Older", exact=True).click()
    assert shown == HOSTILE[::-1]
    for path in (f"/reviews/{number}", "/?q=nothing", "/login", "/?since=x"):
        page.goto(f"{fresh_server}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_login_of_a_production_server_lets_in_and_out(
    open_page: OpenPage, sqlite_url: str
) -> None:
    with serve_in_production(sqlite_url) as address:
        page = open_page(f"{address}/?q=lamp", expected="status of 401")
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Wrong key, please try again.").wait_for()
        page.get_by_label("Key").fill("k" * 16)
        page.keyboard.press("Enter")
        page.get_by_text("No reviews match").wait_for()
        assert page.url == f"{address}/?q=lamp"
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Key").wait_for()
        page.goto(address)
        assert "/login?next=" in page.url
        page.close()  # while there is a server for what it still asks for


@pytest.mark.parametrize("path", ["docs", "redoc"])
def test_the_description_of_the_api_is_shown_under_its_policy(
    fresh_server: str, open_page: OpenPage, path: str
) -> None:
    logo = "cdn.redoc.ly"  # Redoc would like to show its own, from its makers' host
    page = open_page(f"{fresh_server}/{path}", expected=logo)
    page.get_by_text("/api/reviews", exact=True).first.wait_for()
