"""axe-core finds nothing serious on any page, in either theme. It is here for tests alone."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from db.engine import open_database
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import make_app
from tests.reviews.test_query import record
from tests.support.servers import serve_here
from tests.web.pages.conftest import OpenPage
from tests.web.pages.phone_page import press, ready, write
from tests.web.pages.test_phone import REVIEW

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"
FINDINGS = """async () => (await axe.run({ resultTypes: ["violations"] })).violations
    .filter((found) => ["serious", "critical"].includes(found.impact))
    .map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(" ")}`)"""


def findings(page: Any, address: str = "") -> list[str]:
    """Look at an address, or at the page as it stands."""
    if address:
        page.goto(address)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(FINDINGS)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_of_the_dashboard_has_a_serious_barrier(
    fresh_server: str, open_page: OpenPage, fresh_database: str, scheme: str
) -> None:
    options = {"color_scheme": scheme, "reduced_motion": "reduce", "expected": "status of 4"}
    page = open_page(fresh_server, **options)
    assert findings(page) == []
    with httpx.Client(base_url=fresh_server, timeout=30, trust_env=False) as client:
        for text in (*REVIEW, "Hi"):
            Customer(Simulator(client), "+15551234567").says(text)
    database = open_database(fresh_database)
    for status in ("failed", "sent", None):
        record(database, "word " * 200, status=status)
    database.close()
    reviews = ("/", "/reviews/1", "/reviews/2", "/?q=nothing", "/?q=iphone&status=read")
    for path in (*reviews, "/reviews/999", "/?since=yesterday"):
        assert findings(page, f"{fresh_server}{path}") == [], path
    page.goto(f"{fresh_server}/reviews/1")
    for fold in page.locator("summary").all():
        fold.click()
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_phone_has_no_serious_barrier(server: str, open_page: OpenPage, scheme: str) -> None:
    phone = open_page(f"{server}/phone", color_scheme=scheme, reduced_motion="reduce")
    assert findings(ready(phone)) == []
    for text in REVIEW:
        write(phone, text)
    phone.locator("#chat .bot .ticks.read").wait_for()
    press(phone, "Forged signature")
    phone.get_by_text("Rejected with 403.").wait_for()
    for fold in phone.locator("summary").all():
        fold.click()
    assert findings(phone) == []


def test_the_login_has_no_serious_barrier(open_page: OpenPage, sqlite_url: str) -> None:
    with serve_here(make_app(database_url=sqlite_url, api_key="k" * 16)) as address:
        page = open_page(f"{address}/login", expected="status of 401")
        assert findings(page) == []
        page.get_by_label("Key").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("Wrong key, please try again.").wait_for()
        assert findings(page) == []


def test_a_barrier_would_be_found(fresh_server: str, open_page: OpenPage) -> None:
    page = open_page(fresh_server)
    page.evaluate("document.querySelector('h2').innerHTML = '<img src=static/icon.svg>'")
    [found] = findings(page)
    assert found.startswith("image-alt: ")
