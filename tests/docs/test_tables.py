"""The tables of the documentation are those of the code."""

import re
import xml.etree.ElementTree as ET
from typing import Any

from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

import models
from conversation import state_machine, wording
from conversation.model import Outcome, State
from core.paths import ROOT
from core.settings import Settings
from tests.conftest import MakeClient
from tests.support.markdown import names_in, read, section, table
from tests.test_architecture import FLOORS
from web.pages import dashboard, live_feed, login

SETTINGS = [name.upper() for name in Settings.model_fields if name != "file"]


def test_the_settings_table_names_every_setting_in_order() -> None:
    rows = table(section("docs/configuration.md", "Settings"), "setting")
    assert [row[0] for row in rows] == SETTINGS


def test_the_state_table_is_that_of_the_code() -> None:
    docstring = state_machine.__doc__ or ""
    [_, *rows] = re.findall(
        r"^    (\w+) +\| ([^|]+?) +\| ([^|]+?) +\| (\w+)$", docstring, re.MULTILINE
    )
    shown = table(section("docs/conversation.md", "States"), "state")
    assert [tuple(row) for row in shown] == rows
    assert len(rows) == len(State)


def test_every_sentence_of_the_bot_is_in_the_table_of_what_it_says_when() -> None:
    rows = table(section("docs/conversation.md", "What the bot says when"), "when")
    said = "\n".join(row[1] for row in rows)
    sentences = [value for name, value in vars(wording).items() if name.isupper()]
    texts = [text for text in sentences if isinstance(text, str)]
    assert len(texts) == 7
    assert [text for text in texts if text.format(limit=150, **ECHO) not in said] == []
    outcomes = {row[3] for row in rows} - {"not logged"}
    assert outcomes == set(Outcome) - {Outcome.MIGRATED, Outcome.ERASED}


ECHO = {"product": "{product}", "name": "{name}"}


def test_every_table_is_described_with_all_its_columns_in_order() -> None:
    tables = models.Base.metadata.tables
    described = re.findall(r"^## `(\w+)`$", read("docs/data-model.md"), re.MULTILINE)
    assert set(described) == set(tables)
    for name in described:
        rows = table(section("docs/data-model.md", f"`{name}`"), "column")
        columns = tables[name].columns
        assert [row[0] for row in rows] == [column.name for column in columns]
        optional = [row[0] for row in rows if row[1].startswith("optional")]
        assert optional == [column.name for column in columns if column.nullable]


def test_every_outcome_is_described() -> None:
    rows = table(section("docs/data-model.md", "Facts in the log"), "outcome")
    assert [row[0] for row in rows] == list(Outcome)


def test_the_table_of_floors_is_the_one_that_is_enforced() -> None:
    rows = table(section("docs/architecture.md", "Floors"), "floor")
    assert {package: int(floor) for floor, package, _ in rows} == FLOORS


def test_the_picture_of_floors_is_the_one_that_is_enforced() -> None:
    svg = ET.parse(ROOT / "docs" / "architecture.svg")  # noqa: S314 - a file of ours
    texts = {
        group.get("class"): [(text.get("y"), text.text) for text in group]
        for group in svg.iter("{http://www.w3.org/2000/svg}g")
    }
    floor_at = {height: int(number or 0) for height, number in texts["number"]}
    assert {package: floor_at[height] for height, package in texts["name"]} == FLOORS


def described(client: TestClient) -> dict[str, dict[str, Any]]:
    """Read the app's description of its operations, by method and path as the table has them."""
    paths = client.get("/openapi.json").json()["paths"]
    return {f"{way.upper()} {path}": paths[path][way] for path in paths for way in paths[path]}


def test_the_table_of_routes_is_that_of_the_app(client: TestClient) -> None:
    rows = table(section("docs/api.md", "Routes"), "endpoint")
    named = {
        endpoint: set(re.findall(r"\b[2345][0-9]{2}\b", answers)) for endpoint, _, answers in rows
    }
    pages = {"GET /phone", "GET /docs", "GET /redoc", "GET /openapi.json"}
    assert named.keys() == described(client).keys() | pages
    for page in pages:
        response = client.get(page.partition(" ")[2], follow_redirects=False)
        assert str(response.status_code) in named[page]
    for endpoint, operation in described(client).items():
        answers = set(operation["responses"])
        if " /api/" in endpoint:
            assert named[endpoint] == answers - {"401", "422", "429", "503"}
        assert named[endpoint] <= answers


def test_the_table_of_pages_is_that_of_the_app() -> None:
    named = [row[0] for row in table(section("docs/api.md", "Routes"), "page")]
    routes = [
        (method, route.path)
        for router in (dashboard.router, login.router, live_feed.router)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "HEAD"
    ]
    assert sorted(named) == sorted(f"{method} {path}" for method, path in routes)


def test_the_table_of_errors_is_that_of_the_app(client: TestClient) -> None:
    rows = table(section("docs/api.md", "Errors"), "below `/api")
    answers: set[str] = set()
    for endpoint, operation in described(client).items():
        if " /api/" in endpoint:
            assert operation["responses"].keys() >= {"401", "422", "429", "503"}
            answers |= operation["responses"].keys()
    assert {row[0] for row in rows} == answers - {"200", "204"}


def test_the_table_of_filters_is_that_of_the_app(client: TestClient) -> None:
    rows = table(section("docs/api.md", "Filters"), "filter")
    named = [name for row in rows for name in names_in(row[0])]
    for endpoint in ("/api/reviews", "/api/reviews.csv", "/api/stats"):
        taken = [each["name"] for each in described(client)[f"GET {endpoint}"]["parameters"]]
        assert set(taken) - {"limit", "cursor"} == set(named)


def source() -> str:
    """Read the whole code of the product."""
    patterns = [pattern for name in FLOORS for pattern in (f"{name}.py", f"{name}/**/*.py")]
    files = [file for pattern in patterns for file in ROOT.glob(pattern)]
    return "".join(file.read_text(encoding="utf-8") for file in files)


def test_every_log_line_that_is_explained_is_logged() -> None:
    lines = [row[0] for row in table(read("docs/troubleshooting.md"), "log line")]
    assert len(lines) > 15
    code = source()
    assert [line for line in lines if line not in code] == []


def test_every_name_of_the_code_in_the_glossary_exists() -> None:
    names = re.findall(r"`([A-Za-z]+_\w+|[A-Z][a-z]+[A-Z]\w+)`", read("docs/glossary.md"))
    assert len(names) > 10
    code = source()
    assert [name for name in names if name not in code and not name.lower().endswith("_x")] == []


def test_a_tunnel_shows_what_the_page_says_and_nothing_more(
    make_client: MakeClient, sqlite_url: str
) -> None:
    client = make_client(
        database_url=sqlite_url, twilio_auth_token="t", conversation_store="memory"
    )
    tunnel = {"Host": "a1b2.ngrok-free.app", "X-Forwarded-Proto": "https"}
    shown = {
        path: client.get(path, headers=tunnel, follow_redirects=False).status_code
        for path in ("/healthz", "/readyz", "/static/icon.svg")
    }
    assert set(shown.values()) == {200}
    hidden = ["GET /", "GET /reviews/1", "GET /docs", "GET /redoc", "GET /openapi.json"]
    hidden += [endpoint for endpoint in described(client) if " /api/" in endpoint]
    assert len(hidden) == 11
    for endpoint in hidden:
        method, _, path = re.sub("{.*}", "1", endpoint).partition(" ")
        response = client.request(method, path, headers=tunnel, follow_redirects=False)
        assert response.status_code == 401
