"""A real browser for the pages."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from run import find_browser

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OpenPage = Callable[..., Any]


# For a module: while Playwright is there, no other event loop can run in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for root, as in a container.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=[*FLAGS, *["--no-sandbox"] * as_root]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Open an address in a fresh browser; errors and what the policy refuses fail the test.

    `expected` is an error, or a part of one, that does not.
    """
    complaints: list[str] = []
    contexts = []

    def open_page(
        url: str, width: int = 1280, height: int = 900, expected: str = "", **options: Any
    ) -> Any:
        def complain(message: Any) -> None:
            is_expected = expected and expected in message.text
            if message.type in {"error", "warning"} and not is_expected:
                complaints.append(message.text)

        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, locale="en-GB", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
