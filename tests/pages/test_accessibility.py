"""axe-core finds nothing serious on any page, in either theme. It is here for tests alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from database import open_database
from simulator import Customer
from tests.pages.browser import missing
from tests.pages.test_browser import browser, customer, finish_review, page, server
from tests.servers import serve
from tests.test_filters import record

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")

__all__ = ["browser", "customer", "page", "server"]  # fixtures

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"
FINDINGS = """async () => (await axe.run()).violations
    .filter((found) => ["serious", "critical"].includes(found.impact))
    .map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(" ")}`)"""


def findings(page: "Page", address: str) -> list[str]:
    page.goto(address)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(FINDINGS)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(
    server: str, page: "Page", customer: Customer, sqlite_url: str, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert findings(page, server) == []
    finish_review(customer, "Lamp", "Bright.")
    customer.says("Hi")
    database = open_database(sqlite_url)
    for status in ("failed", "sent", "pending"):
        record(database, "word " * 200, status=status if status != "pending" else None)
    database.close()
    for path in ("/", "/reviews/1", "/reviews/2", "/?q=nothing", "/?q=lamp&status=read"):
        assert findings(page, f"{server}{path}") == [], path
    page.goto(f"{server}/reviews/1")
    for fold in page.locator("summary").all():
        fold.click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(FINDINGS) == []


def test_a_barrier_would_be_found(server: str, page: "Page") -> None:
    page.goto(server)
    page.evaluate("document.querySelector('h2').innerHTML = '<img src=static/icon.svg>'")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    [found] = page.evaluate(FINDINGS)
    assert found.startswith("image-alt: ")


def test_the_login_has_no_serious_barrier(page: "Page", sqlite_url: str, tmp_path: Path) -> None:
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url, API_KEY="k" * 16) as running:
        assert findings(page, f"{running.base_url}/login") == []
        page.get_by_label("Key").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("That is not the key.").wait_for()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert page.evaluate(FINDINGS) == []
