"""The commands that the documentation shows are played: they say what is shown."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.paths import ROOT
from core.settings import Settings, SettingsError
from simulator.customer import Customer
from tests.support.commands import run_command
from tests.support.markdown import PAGES, commands, fenced, read
from tests.support.servers import free_port


class Curl:
    """Does what the curl commands do; remembers ETags, and which id the one shown is."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.etags: dict[str, str] = {}
        self.ids: dict[int, int] = {}

    def __call__(self, line: str) -> Any:
        words = shlex.split(line.partition(" | ")[0])
        options = list(pairwise(words))
        [address] = [word for word in words if word.startswith("http://localhost:8000")]
        path = address.removeprefix("http://localhost:8000")
        for shown, real in self.ids.items():
            path = re.sub(rf"/reviews/{shown}$", f"/reviews/{real}", path)
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


def test_the_dialogue_of_the_readme_is_what_happens(customer: Customer) -> None:
    lines = re.findall(r"^(customer|bot) +(.+)$", fenced("README.md", "text")[0], re.MULTILINE)
    assert [who for who, _ in lines] == ["customer", "bot"] * 4
    for (_, said), (_, answered) in zip(lines[::2], lines[1::2], strict=True):
        assert customer.says(said) == answered


def test_the_chat_is_what_happens(customer: Customer) -> None:
    [(_, transcript)] = commands("docs/quickstart.md", "python3 run.py chat")
    turns = re.findall(r"^you: (.*)\nbot: (.+)$", transcript, re.MULTILINE)
    assert len(turns) == 5
    for said, answered in turns:
        assert (customer.says(said) if said else customer.sends_photo()) == answered


def test_every_curl_command_gets_the_answer_that_is_shown(client: TestClient) -> None:
    pages = ("docs/quickstart.md", "docs/api.md", "docs/privacy.md")  # in the order of reading
    shown = [command for page in pages for command in commands(page, "curl")]
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


def test_a_backup_is_made_and_restored_as_shown(sqlite_url: str, tmp_path: Path) -> None:
    shown = [part for part in commands("docs/backup.md", "python3 run.py") if "/srv/" in part[1]]
    assert [line.split()[2] for line, _ in shown] == ["backup", "restore"]
    for line, output in shown:
        _, _, word, name = line.split()
        ran = run_command(word, str(tmp_path / name), DATABASE_URL=sqlite_url)
        said = ran.stdout.replace(str(tmp_path), "/srv/reviews")
        varies = r"(?<= )[0-9]+(?= )|[0-9]{8}T[0-9]{6}\.[0-9]{6}"
        assert re.sub(varies, "…", said.strip()) == re.sub(varies, "…", output.strip())


def test_the_advice_for_a_backup_of_postgresql_is_word_for_word() -> None:
    url = "postgresql://reviews:secret@localhost:5432/reviews"
    [shown] = [
        text for _, text in commands("docs/backup.md", "python3 run.py") if "pg_dump" in text
    ]
    assert run_command("backup", "backup.db", DATABASE_URL=url).stderr == shown


def test_doctor_says_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    [(_, shown)] = commands("docs/troubleshooting.md", "python3 run.py doctor")
    ran = run_command("doctor")
    assert ran.returncode == 1
    # What libpq says is libpq's own text.
    varies = "(?<=localhost:)[0-9]+|(?<=Error: ).*"
    assert re.sub(varies, "…", ran.stdout.strip()) == re.sub(varies, "…", shown.strip())


def test_the_settings_error_is_word_for_word(tmp_path: Path) -> None:
    [(_, shown)] = commands("docs/configuration.md", "ENVIRONMENT=production uvicorn main:app")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ENVIRONMENT": "production"}, tmp_path)
    assert str(caught.value) == shown.strip()


def test_every_command_that_serves_limits_how_long_clients_delay_its_end() -> None:
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    served = {
        name: re.findall(r"^ *\S*uvicorn main:app.*$", text, re.MULTILINE)
        for name, text in pages.items()
    }
    assert len(served["README.md"]) == 2
    assert "--reload" in served["README.md"][0]
    assert "--workers 4" in served["README.md"][1]
    lines = [line for found in served.values() for line in found]
    assert [line for line in lines if "--timeout-graceful-shutdown 10" not in line] == []
    # docs/deployment.md explains the command that README.md shows.
    assert served["deployment.md"][0] == served["README.md"][1]


def test_every_word_of_run_py_is_known_to_its_help() -> None:
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    words = set(re.findall(r"python3 run\.py ([a-z][a-z-]*)", text))
    printed = subprocess.run(
        [sys.executable, ROOT / "run.py", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert words == set(re.findall(r"python3 run\.py ([a-z][a-z-]*) ", printed))


def test_every_campaign_that_is_named_exists() -> None:
    for page in ("CONTRIBUTING.md", "docs/reliability.md", "docs/security.md"):
        for campaign in re.findall(r"python -m tests\.campaigns\.(\w+)", read(page)):
            assert ROOT.joinpath("tests", "campaigns", campaign, "__main__.py").exists()
