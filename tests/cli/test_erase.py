"""`run.py erase +1555…`: beside a server, or without one."""

import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from audit.check import check
from conversation.wording import GREETING
from db.engine import open_database
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import MakeClient, database_of, listed
from tests.support.commands import run_command
from tests.support.sentences import is_thanks
from tests.support.servers import serve
from tests.support.traces import (
    ANA,
    BEN,
    SILENCE,
    WORDS,
    everything,
    finish,
    require_order,
    tell,
    traces,
)


def erase(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings in its environment."""
    # An empty value hides that of whoever runs the tests.
    return run_command("erase", *arguments, **{"API_KEY": "", **settings})


def refusal(*arguments: str, **settings: str) -> str:
    """Run the command; return the sentence that it ends with."""
    result = erase(*arguments, **settings)
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr.removesuffix("\n")


def test_a_known_customer_is_erased(make_client: MakeClient, database_url: str) -> None:
    client = make_client(database_url=database_url, conversation_store="database")
    for product in WORDS[0], "Sofa":
        finish(client, ANA, product, *WORDS[1:])
    finish(client, BEN, "Chair", "Ben", "Hard.")
    result = erase(f"whatsapp:{ANA}", DATABASE_URL=database_url)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("Erased: 2 reviews, the words of 8 messages, and the number itself.\n")
    assert [item["contact_number"] for item in listed(client)] == [BEN]
    assert traces(database_of(client), ANA, ANA[1:], *WORDS, "Sofa") == []
    require_order(client)


def test_of_an_unknown_customer_it_says_so(sqlite_url: str) -> None:
    result = erase(ANA, DATABASE_URL=sqlite_url)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"There is no data about {ANA}.\n"


def test_a_database_that_is_away_is_told_in_a_sentence() -> None:
    result = erase(ANA, DATABASE_URL="postgresql://postgres:p4ssw0rd@127.0.0.1:1/x")
    assert (result.returncode, result.stdout) == (1, "")
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith("erase failed on postgresql://postgres@127.0.0.1:1/x: Operational")
    assert "p4ssw0rd" not in sentence


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    sentence = refusal(ANA, DATABASE_URL=f"sqlite:///{tmp_path / 'none.db'}")
    assert sentence.startswith(f"erase failed on sqlite:///{tmp_path / 'none.db'}: ")
    assert sentence.endswith("unable to open database file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], [""], ["whatsapp:"], ["+1", "555"], ["--all"]])
def test_a_customer_must_be_named(arguments: list[str]) -> None:
    result = erase(*arguments, DATABASE_URL="sqlite:////no/where.db")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: run.py ")


def test_a_database_of_another_schema_is_left_as_it_is(sqlite_url: str) -> None:
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    sentence = refusal(ANA, DATABASE_URL=sqlite_url)
    assert sentence.startswith(f"{sqlite_url} has schema 0001, and this program needs ")


def test_wrong_settings_are_named() -> None:
    wrong = {"DATABASE_URL": "mysql://x/y", "API_KEY": "short", "RETENTION_DAYS": "0"}
    said = refusal(ANA, ENVIRONMENT="production", **wrong)
    for name in wrong:
        assert f"- {name} must " in said


class TestBesideAServerThatKeepsConversationsInMemory:
    def test_the_conversation_that_its_memory_still_holds_is_over(
        self, make_client: MakeClient, sqlite_url: str
    ) -> None:
        server = make_client(database_url=sqlite_url)
        sent = finish(server, ANA)
        tell(server, ANA, "Hi", "Zanzibar rug", "Wilhelmina")
        tell(server, BEN, "Hi", "Chair")
        assert erase(ANA, DATABASE_URL=sqlite_url).returncode == 0
        # First of all: a repeat would have the server ask the log where Ana stands.
        assert tell(server, ANA, "Hello again") == GREETING
        for form in sent:
            assert server.post("/webhook", data=form).content == SILENCE
        assert is_thanks(tell(server, ANA, "Lamp", "Ana", "Bright."))
        assert is_thanks(tell(server, BEN, "Ben", "Hard."))
        assert [item["product_name"] for item in listed(server)] == ["Chair", "Lamp"]
        assert traces(database_of(server), "Zanzibar", "Wilhelmina", "Xylophones") == []
        require_order(server)

    def test_a_customer_may_write_on_meanwhile(self, tmp_path: Path, sqlite_url: str) -> None:
        """Two real processes; no log shows a number, not even uvicorn's lines of requests."""
        with serve(tmp_path / "log", DATABASE_URL=sqlite_url, LOG_LEVEL="DEBUG") as server:
            with httpx.Client(base_url=server.base_url, trust_env=False) as line:
                ana = Customer(Simulator(line), ANA, delivers=())
                ana.says("Zanzibar")
                with ThreadPoolExecutor(1) as owner:
                    command = owner.submit(erase, ANA, DATABASE_URL=sqlite_url)
                    while not command.done():
                        assert ana.says("Zanzibar")
                assert command.result().returncode == 0
                assert ana.says("Wilhelmina")
                path = f"/api/contacts/{ANA}"
                assert [line.delete(path).status_code, line.get(path).status_code] == [204, 405]
        log = server.log.read_text()
        assert '"DELETE /api/contacts/' in log
        assert not [word for word in (ANA[1:], "Zanzibar", "Wilhelmina") if word in log]
        database = open_database(sqlite_url)
        # So many messages split pages, which may leave bytes behind until VACUUM: see README.
        left = everything(database)
        assert not [word for word in (ANA, "Zanzibar", "Wilhelmina") if word in left]
        assert check(database).problems == []
        database.close()
