"""A real browser for the pages."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from audit.check import check
from db.engine import open_database
from models import Base
from run import find_browser
from tests.conftest import BROWSER, TOKEN, MakeClient, make_app
from tests.support.servers import serve_here
from tests.web.pages.browser import flags
from tests.web.pages.phone_page import ready

OpenPage = Callable[..., Any]


@pytest.fixture
def make_client(make_client: MakeClient) -> MakeClient:
    """Build clients that ask as a browser does."""

    def make(**settings: Any) -> TestClient:
        client = make_client(**settings)
        client.headers.update(BROWSER)
        return client

    return make


# For a module: while Playwright is there, no other event loop can run in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=flags())
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
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that believes signed messages alone; at the end its log and tables agree."""
    url = f"sqlite:///{tmp_path_factory.mktemp('server') / 'test.db'}"
    settings = {"database_url": url, "conversation_store": "database", "twilio_auth_token": TOKEN}
    with serve_here(make_app(**settings)) as address:
        yield address
    database = open_database(url)
    assert check(database).problems == []
    database.close()


@pytest.fixture(scope="module")
def emptied_server(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The address of a server that believes everybody, and its database's."""
    url = f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path_factory.mktemp('emptied'))}"
    # With rows for conversations, since a memory can't be emptied from here.
    with serve_here(make_app(database_url=url, conversation_store="database")) as address:
        yield address, url


@pytest.fixture
def fresh_database(emptied_server: tuple[str, str]) -> str:
    """The address of the fresh server's database."""
    _, url = emptied_server
    database = open_database(url)
    with database.write() as connection:
        for table in (*Base.metadata.tables, "sqlite_sequence"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    database.close()
    return url


@pytest.fixture
def fresh_server(emptied_server: tuple[str, str], fresh_database: str) -> str:  # noqa: ARG001
    """A server that believes everybody and has no review yet; its address."""
    address, _ = emptied_server
    return address


@pytest.fixture
def phone(server: str, open_page: OpenPage) -> Any:
    """The page, ready to write."""
    return ready(open_page(f"{server}/phone", reduced_motion="reduce"))


@pytest.fixture
def signing(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A local app that believes signed messages alone."""
    return make_client(database_url=sqlite_url, twilio_auth_token=TOKEN)
