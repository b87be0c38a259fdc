"""`chat` and `demo`, for people: what they read, write and say where something is wrong."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from audit.client_history import ClientHistory
from core.paths import ROOT
from simulator import demo as simulator_demo
from simulator.demo import demo, read_examples
from simulator.fake_twilio import Simulator
from simulator.twiml_reader import NotAnswered
from tests.conftest import make_app
from tests.support.commands import run_command
from tests.support.servers import serve_here

GOOD = {"product": "Lamp", "name": "Ana", "review": "Bright."}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"sqlite:///{tmp_path_factory.mktemp('server') / 'test.db'}"
    with serve_here(make_app(database_url=url)) as address:
        yield address


def run(server: str, *words: str) -> tuple[int, str, str]:
    """Run a command against the server; return its exit code and what it said."""
    ran = run_command(*words, "--url", server)
    return ran.returncode, ran.stdout, ran.stderr


def listed(file: Path, *reviews: object) -> Path:
    file.write_text("".join(f"{json.dumps(review)}\n" for review in reviews), encoding="utf-8")
    return file


# Reviews of one's own


@pytest.mark.parametrize(
    "line",
    [
        *("Hi!", "null", "[]", '"product name review"', "[" * 100_000),
        '{"product": "Lamp", "name": "Ana"}',
        '{"product": "Lamp", "name": "Ana", "review": 5}',
        '{"product": "Lamp", "name": "Ana", "review": "\\ud83d"}',
    ],
    ids=lambda line: line[:50],
)
def test_a_line_that_is_no_review_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "reviews"
    file.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    with pytest.raises(ValueError, match="line 3 is not an object with the texts"):
        read_examples(file)


@pytest.mark.parametrize("text", [" ", "x" * 151, "\ufeff"], ids=["blank", "long", "unseen"])
def test_a_text_that_the_bot_would_not_take_is_named(tmp_path: Path, text: str) -> None:
    file = listed(tmp_path / "reviews", GOOD, {**GOOD, "name": text})
    with pytest.raises(ValueError, match="line 2 has a text that is blank or too long"):
        read_examples(file)


def test_a_line_separator_within_a_review_ends_no_line(tmp_path: Path) -> None:
    review = {**GOOD, "review": "a\u2028b"}
    file = tmp_path / "reviews"
    file.write_text(f"{json.dumps(review, ensure_ascii=False)}\n", encoding="utf-8")
    assert read_examples(file) == [review]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_reviews_is_said_in_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "reviews"
    file.write_text(text)
    ran = run_command("demo", "--reviews", str(file))
    assert (ran.returncode, ran.stderr) == (1, f"{file} can't be read: it has no reviews\n")


def test_the_demo_compares_with_what_the_edge_makes_of_a_text(
    local: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    review = {"product": "Lamp\r\nblue", "name": "\x07Ana\0", "review": "\x1f Bright.\ufffe "}
    demo(Simulator(local), [review], customers=1)
    assert "All 1 are recorded exactly once" in capsys.readouterr().out


def test_the_demo_counts_no_review_that_its_customers_wrote_before(
    local: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulator.customer.random.randrange", lambda _: 1)
    for _ in range(2):
        demo(Simulator(local), [GOOD], customers=1)
    assert capsys.readouterr().out.count("All 1 are recorded exactly once") == 2


@pytest.mark.parametrize("answer", ["<p>Hi</p>", "5", "[1]", "[{}]", '"text"'])
def test_a_server_that_is_not_ours_is_told(answer: str) -> None:
    client = httpx.Client(
        base_url="http://127.0.0.1",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, text=answer)),
    )
    with client, pytest.raises(NotAnswered, match="no list of reviews: is it another program"):
        demo(Simulator(client), [GOOD], customers=1)


def test_where_one_gets_no_answer_the_others_do_not_begin(
    local: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []

    def play(_twilio: Simulator, contact: str, _review: object) -> None:
        began.append(contact)
        time.sleep(0.01)
        raise NotAnswered("none")

    monkeypatch.setattr(simulator_demo, "play", play)
    with pytest.raises(NotAnswered):
        demo(Simulator(local), [GOOD] * 1000, customers=1)
    assert len(began) < 1000


# The client history of a demo


def test_what_every_customer_was_told_is_written_for_check_data(
    server: str, tmp_path: Path
) -> None:
    reviews, file = listed(tmp_path / "reviews", GOOD), tmp_path / "client-history"
    code, said, _ = run(server, "demo", "--reviews", str(reviews), "--client-history", str(file))
    assert code == 0
    assert said.endswith(f"What every customer was told: {file}\n")
    assert [len(answers) for answers in ClientHistory.load(file).answers.values()] == [2, 2, 2, 2]


def test_a_client_history_that_can_be_written_nowhere_is_said_before_all_is_played(
    server: str, tmp_path: Path
) -> None:
    for file in (tmp_path, tmp_path / "none" / "client-history"):
        code, said, complained = run(server, "demo", "--client-history", str(file))
        assert (code, said) == (1, "")
        assert complained.startswith(f"{file} can't be written: ")
        assert complained.count("\n") == 1


# A chat that ends


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is POSIX's")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "</dev/null"])
def test_a_chat_without_input_or_output_ends(server: str, closed: str) -> None:
    command = f'exec "$0" -m cli chat --url {server} {closed}'
    ran = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=ROOT,
        input="Hi\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is POSIX's")
@pytest.mark.parametrize("environment", ["LC_ALL=C", "PYTHONIOENCODING=ascii", "LC_ALL=C.UTF-8"])
def test_a_chat_goes_on_after_bytes_that_are_no_text(server: str, environment: str) -> None:
    ran = subprocess.run(
        [
            *("/usr/bin/env", environment, sys.executable, "-m", "cli"),
            *("chat", "--url", server),
        ],
        cwd=ROOT,
        input=b"Hi\n\xff\xfe \xe6\x97\xa5\nAna\n",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.count(b"bot: ") == 3
