"""The documentation is true: what it shows is played, what it names exists."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import conversation
import models
from settings import Settings, SettingsError
from simulator import Customer
from tests.conftest import MakeClient
from tests.servers import ROOT

README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
SETTINGS = [name.upper() for name in Settings.model_fields if name != "file"]
MADE_BY_ITSELF = {".env", ".venv", "test.db"}
"""What the README names and a fresh copy does not have."""


def fenced(language: str) -> list[str]:
    """Read the README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def cells(text: str) -> list[list[str]]:
    """Read the rows of tables, without the backticks of their cells."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def section(title: str) -> str:
    """Read what stands below a heading, up to the next of its rank."""
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def commands(first_word: str) -> list[tuple[str, str]]:
    """Read `$ command` lines of the consoles with what is shown below each."""
    shown = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", "\n".join(fenced("console")), re.MULTILINE)
    return [(line, output) for line, output in shown if line.startswith(first_word)]


def curl(client: TestClient, line: str) -> Any:
    """Do what a curl command does that has an address and perhaps a form."""
    words = shlex.split(line.partition(" | ")[0])
    [address] = [word for word in words if word.startswith("http://localhost:8000")]
    path = address.removeprefix("http://localhost:8000")
    fields = [words[at + 1] for at, word in enumerate(words) if word == "--data-urlencode"]
    if not fields:
        return client.get(path)
    return client.post(path, data=dict(field.split("=", 1) for field in fields))


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
    assert len(shown) == 8
    for line, answer in shown:
        response = curl(client, line)
        if "/webhook" in line:
            assert response.status_code == 200
            assert without_sids(response.text) == without_sids(answer)
        elif "/twilio-status-callback" in line:
            assert (str(response.status_code), response.text) == (answer.strip(), "")
        else:
            [item], [printed] = response.json(), json.loads(answer)
            assert list(item) == list(printed)
            varies = {"id", "created_at", "updated_at", "conversation_id"}
            assert {k: v for k, v in item.items() if k not in varies} == {
                k: v for k, v in printed.items() if k not in varies
            }


def test_the_refusal_to_start_is_word_for_word(tmp_path: Path) -> None:
    [(_, shown)] = commands("ENVIRONMENT=production uvicorn main:app")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ENVIRONMENT": "production"}, tmp_path)
    assert str(caught.value) == shown.strip()


def test_the_state_table_is_that_of_the_code() -> None:
    docstring = conversation.__doc__ or ""
    [_, *rows] = re.findall(
        r"^    (\w+) +\| ([^|]+?) +\| ([^|]+?) +\| (\w+)$", docstring, re.MULTILINE
    )
    table = cells(section("The conversation"))
    assert table[0] == ["state", "just sent", "we reply", "then"]
    assert [tuple(row) for row in table[2:]] == rows
    assert len(rows) == len(conversation.State)


def test_the_sentences_around_the_table_are_said_by_the_bot() -> None:
    rules = section("The conversation")
    assert conversation.NOT_TEXT in rules
    assert conversation.APOLOGY in rules
    assert conversation.TOO_LONG.format(limit=150) in rules


# What it names


def test_the_settings_table_names_every_setting_in_order() -> None:
    [_, _, *rows] = cells(section("Settings"))
    assert [row[0] for row in rows] == SETTINGS


def test_every_word_of_run_py_is_known_to_its_help() -> None:
    text = README + "".join(file.read_text(encoding="utf-8") for file in DECISIONS)
    words = set(re.findall(r"python3 run\.py ([a-z][a-z-]*)", text))
    assert words >= {"chat", "demo", "test", "check", "check-data", "help"}
    printed = subprocess.run(
        [sys.executable, ROOT / "run.py", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert words <= set(re.findall(r"python3 run\.py ([a-z][a-z-]*) ", printed))


def test_every_endpoint_of_the_table_is_served(client: TestClient) -> None:
    named = [row[0].partition(" ") for row in cells(section("Endpoints")) if row[0].find(" /") > 0]
    assert len(named) == 9
    for method, _, path in named:
        response = client.request(method, path, follow_redirects=False)
        assert response.status_code not in {404, 405}, path


def test_every_endpoint_of_the_app_is_in_the_table(client: TestClient) -> None:
    named = {row[0] for row in cells(section("Endpoints"))}
    described = client.get("/openapi.json").json()["paths"]
    assert {f"{way.upper()} {path}" for path in described for way in described[path]} <= named


def test_every_table_is_named_with_all_its_columns() -> None:
    named = {row[0]: row[1] for row in cells(section("Tables"))[2:]}
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
    named = {name for row in cells(section("Layout"))[2:] for name in re.split("`, `", row[0])}
    assert {name for name in named if not ROOT.joinpath(name).exists()} == set()
    assert {file.name for file in ROOT.glob("*.py")} <= named
    assert {file.name for file in ROOT.glob("*.txt")} <= named


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
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/api/reviews"):
        assert client.get(path, headers=tunnel, follow_redirects=False).status_code == 401
