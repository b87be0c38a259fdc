"""The doctor's command: what it prints, and its signed request to a service or to what is none."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli import doctor_signature
from cli.findings import Finding
from core.settings import Settings
from db.schema import SCHEMA_VERSION
from tests.cli.test_doctor import GONE, look, of
from tests.conftest import TOKEN, make_app
from tests.support.commands import run_command
from tests.support.servers import free_port, serve_here


@pytest.fixture(scope="module")
def server(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a token, whose PUBLIC_URL is the address it really has."""
    url = f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path_factory.mktemp('server'))}"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with serve_here(make_app(database_url=url, twilio_auth_token=TOKEN, public_url=address), port):
        yield address


WebServer = Callable[..., str]
LOCAL: dict[str, Any] = {"environment": "local", "database_url": "sqlite:///none.db"}


@pytest.fixture
def asked() -> list[str]:
    """The paths that the web servers of the test were asked for."""
    return []


@pytest.fixture
def web_server(asked: list[str]) -> Iterator[WebServer]:
    """Start a server that answers everything with one status; it returns its address."""
    with ExitStack() as running:

        def start(status: int, **headers: str) -> str:
            class Answer(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    asked.append(self.path)
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()

                def log_message(self, *_: Any) -> None:
                    """Say nothing."""

            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answer))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


def signatures(url: str | None, *tokens: str, **settings: Any) -> list[Finding]:
    """Look at the signature, as seen at `url`, with an installation's tokens."""
    settings = {"twilio_auth_token": tokens or (TOKEN,), "public_url": url, **settings}
    return of(
        "signature", look("sqlite:///no-such-folder/none.db", ask_public_url=True, **settings)
    )


def test_a_signature_that_is_not_checked_is_told(sqlite_url: str) -> None:
    [found] = of("signature", look(sqlite_url, ask_public_url=True))
    assert found.text == "not checked: anyone who can reach /webhook can send messages"
    assert found.advice
    assert not found.is_problem


def test_nothing_is_sent_where_that_is_not_asked_for(
    sqlite_url: str, web_server: WebServer, asked: list[str]
) -> None:
    settings: dict[str, Any] = {"twilio_auth_token": TOKEN, "public_url": web_server(204)}
    [found] = of("signature", look(sqlite_url, **settings))
    assert (found.text, found.advice) == (
        "checked; to try it through PUBLIC_URL: python3 run.py doctor --signature",
        "",
    )
    assert asked == []


def test_without_public_url_nothing_can_be_tried() -> None:
    [found] = signatures(None)
    assert (found.text, found.is_problem) == ("PUBLIC_URL is not set", True)


def test_the_right_token_is_believed_and_a_forged_signature_refused(server: str) -> None:
    assert signatures(server) == [
        Finding("signature", f"token 1 is accepted at {server}"),
        Finding("signature", f"a forged signature is rejected at {server}"),
    ]


def test_every_token_is_tried_while_they_are_exchanged(server: str) -> None:
    first, second, *_ = signatures(server, TOKEN, "another")
    assert first.text == f"token 1 is accepted at {server}"
    assert second.text == f"token 2 gets status 403 at {server}"
    assert "TWILIO_AUTH_TOKEN the one the service was started with" in second.advice
    assert second.is_problem


def test_another_spelling_of_the_public_url_is_refused(server: str) -> None:
    another = server.replace("127.0.0.1", "localhost")
    first = signatures(another)[0]
    assert first.text == f"token 1 gets status 403 at {another}"
    assert "PUBLIC_URL must be exactly the address that Twilio calls" in first.advice


def test_the_prefix_of_the_public_url_is_kept(web_server: WebServer, asked: list[str]) -> None:
    signatures(f"{web_server(204)}/reviews")
    assert {path.partition("?")[0] for path in asked} == {"/reviews/twilio-status-callback"}


def test_a_server_that_believes_everybody_is_a_problem(web_server: WebServer) -> None:
    url = web_server(204)
    right, forged = signatures(url)
    assert right.text == f"token 1 is accepted at {url}"
    assert not right.is_problem
    assert forged.text == f"a forged signature gets status 204 at {url}"
    assert "checks no signatures" in forged.advice
    assert forged.is_problem


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (308, "set PUBLIC_URL to https://elsewhere.example"),
        (404, "Another program answers there"),
        (200, "Another program answers there"),
        (502, "Does the service run behind the proxy"),
    ],
)
def test_what_is_not_our_answer_is_a_problem(
    web_server: WebServer, status: int, advice: str
) -> None:
    url = web_server(status, Location="https://elsewhere.example/twilio-status-callback")
    [found] = signatures(url)  # nothing is said of its signatures
    assert found.text == f"token 1 gets status {status} at {url}"
    assert advice in found.advice
    assert found.is_problem
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("https://elsewhere.example/reviews/twilio-status-callback", "elsewhere.example/reviews"),
        ("/reviews/twilio-status-callback", "/reviews"),
        ("/login", "/login"),
        ("", ""),
    ],
)
def test_the_advice_on_a_redirect_can_be_followed(
    web_server: WebServer, path: str, meant: str
) -> None:
    [found] = signatures(web_server(308, **({"Location": path} if path else {})))
    assert found.is_problem
    advised = found.advice.partition("PUBLIC_URL to ")[2]
    assert advised.endswith(meant)
    if path:
        assert Settings(**{**LOCAL, "public_url": advised}).public_url == advised


def test_a_server_that_is_not_there_is_a_problem_told_once() -> None:
    [found] = signatures(f"http://twilio:pa55@{GONE}", "one", "two")
    assert found.text.startswith(f"http://{GONE} can't be reached: ConnectError: ")
    assert found.is_problem


def test_a_host_that_can_be_no_name_is_a_problem() -> None:
    [found] = signatures("http://reviews..example.com")
    assert "can't be reached: UnicodeError: " in found.text
    assert found.is_problem


def test_a_server_that_never_answers_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_signature, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        [found] = signatures(url)
    assert found.text == f"{url} can't be reached: ReadTimeout: timed out"
    assert found.is_problem


# The command


def run(*options: str, **settings: str) -> tuple[int, str]:
    """Run the command with these settings; return its exit code and all it prints."""
    unset = dict.fromkeys(Settings.model_fields, "")
    given = {**unset, "environment": "local", **settings}
    ran = run_command("doctor", *options, **{name.upper(): value for name, value in given.items()})
    return ran.returncode, ran.stdout + ran.stderr


def test_the_command_prints_a_line_for_everything_and_ends_well(sqlite_url: str) -> None:
    code, printed = run(database_url=sqlite_url)
    assert code == 0
    assert printed.splitlines() == [
        "ok      settings   local, read from .env.local",
        f"ok      database   {sqlite_url} answers",
        f"ok      schema     up to date ({SCHEMA_VERSION})",
        "ok      database   a message can be written",
        "ok      clock      not behind the newest message in the log",
        "ok      store      memory",
        "advice  signature  not checked: anyone who can reach /webhook can send messages",
        "                   Set TWILIO_AUTH_TOKEN before others can reach it.",
        "Problems: none.",
    ]


def test_the_command_ends_with_1_where_there_is_a_problem(tmp_path: Path) -> None:
    code, printed = run(database_url=f"sqlite:///{tmp_path / 'none' / 'new.db'}")
    assert code == 1
    assert f"\nPROBLEM database   there is no folder {tmp_path / 'none'}\n      " in printed
    assert printed.endswith("\nProblems: 1.\n")


def test_settings_that_start_nothing_are_said_as_at_the_start() -> None:
    code, printed = run(environment="production", api_key="short")
    for name in ("DATABASE_URL", "TWILIO_AUTH_TOKEN", "PUBLIC_URL", "API_KEY"):
        assert f"  - {name} " in printed
    assert code == 1


def test_no_secret_is_told() -> None:
    """Not where everything is wrong either, which is when people show others what it says."""
    secrets = ["pa55word", "k3y" * 6, TOKEN, "0" + TOKEN, "s3cr3t" * 6]
    code, printed = run(
        "--signature",
        environment="production",
        database_url=f"postgresql://ana:pa55word@{GONE}/name?password=pa55word",
        conversation_store="redis",
        redis_url=f"redis://:pa55word@{GONE}/0",
        api_key=secrets[1],
        twilio_auth_token=",".join(secrets[2:4]),
        secret_key=secrets[4],
        public_url=f"https://twilio:pa55word@{GONE}",
    )
    assert code == 1
    for subject in ("database", "store", "signature"):
        assert f"PROBLEM {subject}" in printed
    assert [secret for secret in secrets if secret in printed] == []
