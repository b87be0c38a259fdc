"""The pages of the documentation: how long they are, and where their links lead."""

import re
from pathlib import Path

import pytest

from core.paths import ROOT
from core.settings import Settings, SettingsError
from tests.support.markdown import DECISIONS, GUIDES, PAGES, anchors, read

MADE_BY_ITSELF = {".env", ".venv", "test.db", "backup.db"}
"""What pages name and a fresh copy does not have."""


def test_the_readme_is_short() -> None:
    text = read("README.md")
    assert len(text.encode()) <= 6_144
    assert len(text.split()) <= 900


def test_the_readme_leads_to_every_page() -> None:
    text = read("README.md")
    assert [page.name for page in GUIDES if f"](docs/{page.name})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if "://" in link:
            continue
        target = page.parent.joinpath(link).resolve() if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "security.md"],  # its tests are named below tests/
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"`([\w./-]+\.(?:py|md|txt|toml|db|jsonl|svg)|\.env[.\w]*)`", text)
    folders = re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", text)
    missing = {name for name in (*files, *folders) if not ROOT.joinpath(name).exists()}
    assert missing - MADE_BY_ITSELF == set()


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
