"""The documentation is true: what it shows is played, what it names exists."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

import models
from cli import backup, doctor
from conversation import state_machine
from conversation.model import State
from conversation.wording import APOLOGY, NOT_TEXT, TOO_LONG
from core.settings import Settings, SettingsError
from simulator.customer import Customer
from tests.conftest import MakeClient
from tests.support.servers import ROOT, free_port
from web.pages import dashboard, live_feed, login

README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
SETTINGS = [name.upper() for name in Settings.model_fields if name != "file"]
MADE_BY_ITSELF = {".env", ".venv", "test.db"}
"""What the README names and a fresh copy does not have."""


def fenced(language: str) -> list[str]:
    """Read the README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def cells(text: str) -> list[list[str]]:
    """Read the rows of all tables in a text, without the backticks around their cells."""
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def section(title: str) -> str:
    """Read what stands below a heading, up to the next of its rank."""
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def table(text: str, first_cell: str) -> list[list[str]]:
    """Read the one table whose head begins with this cell, with its head but not its ruler."""
    tables = map(cells, re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE))
    [(head, _ruler, *rows)] = [found for found in tables if found[0][0] == first_cell]
    return [head, *rows]


def commands(first_word: str) -> list[tuple[str, str]]:
    """Read `$ command` lines of the consoles with what is shown below each."""
    shown = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", "\n".join(fenced("console")), re.MULTILINE)
    return [(line, output) for line, output in shown if line.startswith(first_word)]


class Curl:
    """Does what the README's curl commands do; remembers ETags, and which id its `printed` is."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.etags: dict[str, str] = {}
        self.ids: dict[int, int] = {}

    def __call__(self, line: str) -> Any:
        words = shlex.split(line.partition(" | ")[0])
        options = list(pairwise(words))
        [address] = [word for word in words if word.startswith("http://localhost:8000")]
        path = address.removeprefix("http://localhost:8000")
        for printed, real in self.ids.items():
            path = re.sub(rf"/reviews/{printed}$", f"/reviews/{real}", path)
        fields = [value for option, value in options if option == "--data-urlencode"]
        method = dict(options).get("-X", "POST" if fields else "GET")
        known = self.etags.get(dict(options).get("--etag-compare", ""))
        response = self.client.request(
            method,
            path,
            data=dict(field.split("=", 1) for field in fields) or None,
            headers={"If-None-Match": known} if known else {},
        )
        if "--etag-save" in words:
            self.etags[dict(options)["--etag-save"]] = response.headers["ETag"]
        return response


def without_day(text: str) -> str:
    """Blank out the days, times and ids that differ from run to run."""
    return re.sub(r"^[0-9]+(?=,\+)|20[0-9-]{8}(T[0-9:.+]+)?", "…", text.strip(), flags=re.MULTILINE)


def without_sids(text: str) -> str:
    return re.sub("SM[0-9a-f]{32}", "SM…", text.strip())


# What it shows


def test_the_picture_of_a_conversation_is_what_happens(customer: Customer) -> None:
    bubbles = re.findall(r"^( *)│ (.+) │$", fenced("text")[0], re.MULTILINE)
    assert len(bubbles) == 8
    for (indent, said), (bots_indent, answered) in zip(bubbles[::2], bubbles[1::2], strict=True):
        assert (bool(indent), bool(bots_indent)) == (True, False)
        assert customer.says(said) == answered


def test_the_chat_is_what_happens(customer: Customer) -> None:
    [(_, transcript)] = commands("python3 run.py chat")
    turns = re.findall(r"^you: (.*)\nbot: (.+)$", transcript, re.MULTILINE)
    assert len(turns) == 5
    for said, answered in turns:
        assert (customer.says(said) if said else customer.sends_photo()) == answered


def test_every_curl_command_gets_the_answer_that_is_shown(client: TestClient) -> None:
    shown = commands("curl")
    assert len(shown) == 16
    curl = Curl(client)
    for line, answer in shown:
        response = curl(line)
        if "/webhook" in line:
            assert response.status_code == 200
            assert without_sids(response.text) == without_sids(answer)
        elif "-o page.json" in line:
            assert str(response.status_code) == answer.strip()
        elif "-w" in line:
            text, _, status = answer.strip().rpartition(" ")
            assert (response.text, str(response.status_code)) == (text, status)
        elif "json.tool" in line:
            [item], [printed] = response.json(), json.loads(answer)
            assert list(item) == list(printed)
            varies = {"id", "created_at", "updated_at", "conversation_id"}
            assert {k: v for k, v in item.items() if k not in varies} == {
                k: v for k, v in printed.items() if k not in varies
            }
            curl.ids[printed["id"]] = item["id"]
        else:
            assert without_day(response.text.replace("\r\n", "\n")) == without_day(answer)
    assert curl.ids


def test_the_copy_is_made_and_put_back_as_shown(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(environment="local", database_url=sqlite_url, conversation_store="database")
    monkeypatch.setattr(Settings, "load", lambda: settings)
    shown = [part for part in commands("python3 run.py") if "/srv/reviews" in part[1]]
    assert [line.split()[2] for line, _ in shown] == ["backup", "restore"]
    for line, output in shown:
        _, _, word, name = line.split()
        monkeypatch.setattr(sys, "argv", ["backup", word, str(tmp_path / name)])
        backup.main()
        said = capsys.readouterr().out.replace(str(tmp_path), "/srv/reviews")
        varies = r"(?<= )[0-9]+(?= )|[0-9]{8}T[0-9]{6}\.[0-9]{6}"
        assert re.sub(varies, "…", said.strip()) == re.sub(varies, "…", output.strip())


def test_the_advice_for_a_copy_of_postgresql_is_word_for_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgresql://reviews:secret@localhost:5432/reviews"
    settings = Settings(environment="local", database_url=url, conversation_store="database")
    monkeypatch.setattr(Settings, "load", lambda: settings)
    monkeypatch.setattr(sys, "argv", ["backup", "backup", "backup.db"])
    [shown] = [output for _, output in commands("python3 run.py backup") if "pg_dump" in output]
    with pytest.raises(SystemExit) as caught:
        backup.main()
    assert str(caught.value) == shown.strip()


def test_the_doctor_says_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath(".env").write_bytes(ROOT.joinpath(".env.example").read_bytes())
    tmp_path.joinpath(".env").chmod(0o600)
    settings = Settings.load(
        {
            "DATABASE_URL": f"postgresql://reviews:secret@localhost:{free_port()}/reviews",
            "TWILIO_AUTH_TOKEN": "t",
            "API_KEY": "k" * 16,
            "SECRET_KEY": "s" * 32,
        },
        tmp_path,
    )
    monkeypatch.setattr(Settings, "load", lambda: settings)
    monkeypatch.setattr(sys, "argv", ["doctor"])
    [(_, shown)] = commands("python3 run.py doctor")
    with pytest.raises(SystemExit) as caught:
        doctor.main()
    assert caught.value.code == 1
    # What libpq says of it is libpq's affair.
    varies = "(?<=localhost:)[0-9]+|(?<=Error: ).*"
    said = capsys.readouterr().out
    assert re.sub(varies, "…", said.strip()) == re.sub(varies, "…", shown.strip())


def test_the_refusal_to_start_is_word_for_word(tmp_path: Path) -> None:
    [(_, shown)] = commands("ENVIRONMENT=production uvicorn main:app")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ENVIRONMENT": "production"}, tmp_path)
    assert str(caught.value) == shown.strip()


def test_the_state_table_is_that_of_the_code() -> None:
    docstring = state_machine.__doc__ or ""
    [_, *rows] = re.findall(
        r"^    (\w+) +\| ([^|]+?) +\| ([^|]+?) +\| (\w+)$", docstring, re.MULTILINE
    )
    head, *shown = table(section("The conversation"), "state")
    assert head == ["state", "just sent", "we reply", "then"]
    assert [tuple(row) for row in shown] == rows
    assert len(rows) == len(State)


def test_the_sentences_around_the_table_are_said_by_the_bot() -> None:
    rules = section("The conversation")
    assert NOT_TEXT in rules
    assert APOLOGY in rules
    assert TOO_LONG.format(limit=150) in rules


# What it names


def test_the_settings_table_names_every_setting_in_order() -> None:
    [_, *rows] = table(section("Settings"), "setting")
    assert [row[0] for row in rows] == SETTINGS


def test_every_command_that_serves_limits_how_long_clients_hold_up_its_end() -> None:
    served = re.findall(r"^ *\S*uvicorn main:app.*$", README, re.MULTILINE)
    assert len(served) == 2
    assert [line for line in served if "--timeout-graceful-shutdown 10" not in line] == []


def test_every_word_of_run_py_is_known_to_its_help() -> None:
    text = README + "".join(file.read_text(encoding="utf-8") for file in DECISIONS)
    words = set(re.findall(r"python3 run\.py ([a-z][a-z-]*)", text))
    assert words >= {"chat", "demo", "test", "check", "check-data", "help"}
    assert words >= {"doctor", "forget", "backup", "restore"}
    printed = subprocess.run(
        [sys.executable, ROOT / "run.py", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert words == set(re.findall(r"python3 run\.py ([a-z][a-z-]*) ", printed))


def described(client: TestClient) -> dict[str, dict[str, Any]]:
    """Read the app's description of its operations, by method and path as the README has them."""
    paths = client.get("/openapi.json").json()["paths"]
    return {f"{way.upper()} {path}": paths[path][way] for path in paths for way in paths[path]}


def test_the_table_of_endpoints_is_that_of_the_app(client: TestClient) -> None:
    [_, *rows] = table(section("Endpoints"), "endpoint")
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
    named = [row[0] for row in table(section("Endpoints"), "page")[1:]]
    routes = [
        route
        for router in (dashboard.router, login.router, live_feed.router)
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    assert sorted(named) == sorted(f"{min(route.methods or [])} {route.path}" for route in routes)


def test_the_table_of_errors_is_that_of_the_app(client: TestClient) -> None:
    [_, *rows] = table(section("Endpoints"), "below `/api")
    answers: set[str] = set()
    for endpoint, operation in described(client).items():
        if " /api/" in endpoint:
            assert operation["responses"].keys() >= {"401", "422", "429", "503"}
            answers |= operation["responses"].keys()
    assert {row[0] for row in rows} == answers - {"200", "204"}


def test_the_table_of_filters_is_that_of_the_app(client: TestClient) -> None:
    [_, *rows] = table(section("Endpoints"), "filter")
    named = [name for row in rows for name in re.split("`, `", row[0])]
    for endpoint in ("/api/reviews", "/api/reviews.csv", "/api/stats"):
        taken = [each["name"] for each in described(client)[f"GET {endpoint}"]["parameters"]]
        assert [name for name in taken if name not in {"limit", "cursor"}] == named


def test_every_table_is_named_with_all_its_columns() -> None:
    named = {row[0]: row[1] for row in table(section("Tables"), "table")[1:]}
    tables = models.Base.metadata.tables
    assert named.keys() == tables.keys()
    for name, columns in named.items():
        missing = {column.name for column in tables[name].columns if column.name not in columns}
        assert missing == set()


def test_every_link_and_file_exists() -> None:
    for file in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DECISIONS]:
        text = file.read_text(encoding="utf-8")
        links = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
        quoted = set(re.findall(r"`([\w./-]+\.(?:py|md|txt|toml|db|jsonl)|\.env[.\w]*)`", text))
        missing = {name for name in quoted if not ROOT.joinpath(name).exists()} - MADE_BY_ITSELF
        missing |= {link for link in links if not file.parent.joinpath(link).exists()}
        assert missing == set(), file.name


def test_the_layout_names_every_file_at_the_top_that_is_code() -> None:
    rows = table(section("Layout"), "file")[1:]
    named = {name for row in rows for name in re.split("`, `", row[0])}
    assert {name for name in named if not ROOT.joinpath(name).exists()} == set()
    assert {file.name for file in ROOT.glob("*.py")} <= named
    assert {file.name for file in ROOT.glob("*.txt")} <= named
    assert {f"{file.parent.name}/" for file in ROOT.glob("*/*.py")} <= named


def test_decisions_are_numbered_and_tell_context_decision_and_consequences() -> None:
    assert [file.name[:5] for file in DECISIONS] == [
        f"{n:04}-" for n in range(1, len(DECISIONS) + 1)
    ]
    for file in DECISIONS:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {file.name[:4]} ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


# The example of a production file


def test_the_example_file_left_as_it_is_starts_nothing(tmp_path: Path) -> None:
    tmp_path.joinpath(".env").write_bytes(ROOT.joinpath(".env.example").read_bytes())
    with pytest.raises(SettingsError) as caught:
        Settings.load({}, tmp_path)
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "TWILIO_AUTH_TOKEN",
        "API_KEY",
    ]


def test_the_example_file_filled_in_starts(tmp_path: Path) -> None:
    tmp_path.joinpath(".env").write_bytes(ROOT.joinpath(".env.example").read_bytes())
    settings = Settings.load({"TWILIO_AUTH_TOKEN": "t", "API_KEY": "k" * 16}, tmp_path)
    assert settings.environment == "production"
    assert settings.conversation_store == "database"


# The sandbox


def test_a_tunnel_shows_what_the_readme_says_and_nothing_more(
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
