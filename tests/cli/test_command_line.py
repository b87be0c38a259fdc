"""The parser of all commands, and what happens before each: files, settings, the database."""

import re
import shutil
from pathlib import Path

import pytest

from cli.command_line import COMMANDS
from core.paths import ROOT
from tests.support.commands import run_command


def test_help_lists_every_command_with_a_sentence() -> None:
    result = run_command("--help")
    assert result.returncode == 0
    assert re.findall(r"^    ([a-z-]+) +[A-Z]", result.stdout, re.MULTILINE) == [*COMMANDS]


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_its_own_help(word: str) -> None:
    result = run_command(word, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: run.py {word} [-h]")


@pytest.mark.parametrize("words", [["dance"], ["forget", "+15551234567"], []])
def test_an_unknown_word_is_refused_with_the_list(words: list[str]) -> None:
    result = run_command(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: run.py [-h] ")


def test_names_of_files_start_from_the_folder_given(sqlite_url: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copied = run_command("--folder", str(elsewhere), "backup", "copy", DATABASE_URL=sqlite_url)
    assert copied.returncode == 0
    assert [*elsewhere.iterdir()] == [elsewhere / "copy"]
    absolute = tmp_path / "absolute"
    run_command("--folder", str(elsewhere), "backup", str(absolute), DATABASE_URL=sqlite_url)
    assert absolute.exists()
    for words in (["check-data", "--client-history", "none"], ["check-data", "--client", "none"]):
        said = run_command("--folder", str(elsewhere), *words, DATABASE_URL=sqlite_url).stderr
        assert str(elsewhere / "none") in said
    said = run_command("--folder", str(elsewhere), "demo", "--reviews=none").stderr
    assert said.startswith(f"{elsewhere / 'none'} can't be read: ")


@pytest.fixture
def production(tmp_path: Path) -> str:
    """A file for production that is not filled in."""
    return str(shutil.copy(ROOT / ".env.example", tmp_path / "production.env"))


@pytest.mark.parametrize("word", ["chat", "demo", "doctor", "check-data"])
def test_a_command_goes_by_the_file_that_is_named(production: str, word: str) -> None:
    said = run_command(word, ENV_FILE=production, ENVIRONMENT="").stderr
    assert "(read from production.env and the process environment)" in said
    assert "TWILIO_AUTH_TOKEN is not set" in said


def test_nothing_but_a_local_installation_is_served(production: str) -> None:
    for environment in ("", "production"):
        result = run_command("serve", ENV_FILE=production, ENVIRONMENT=environment)
        assert result.returncode == 1
        assert "ENVIRONMENT is local, but production.env is for production" in result.stderr


def test_ctrl_c_is_left_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["chat"], "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_command("chat")
