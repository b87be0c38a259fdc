"""Clients that send slowly, for ever or nothing: a real server serves all others meanwhile."""

import re
import selectors
import shlex
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING
from core.paths import ROOT
from ingest.timing import Timing
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.support.captures import FORM
from tests.support.servers import Uvicorn, serve, wait_until

MANY = 500
SPARE_FILES = 200
"""What a process has open beside those connections."""
MEGABYTES_SENT = 256
HEAD = f"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n".encode()
TEXTS = ["Hi", "Lamp", "Ana", "Bright."]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uvicorn]:
    folder = tmp_path_factory.mktemp("server")
    url = f"sqlite:///{folder / 'test.db'}"
    with files_for_many(), serve(folder / "log", DATABASE_URL=url) as running:
        yield running


@contextmanager
def files_for_many() -> Iterator[None]:
    """Let this process, and a server that it starts, open so many files, if that is allowed."""
    if sys.platform == "win32":  # which has no such limit
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MANY + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{MANY} connections take {needed} open files, and {hard} are allowed here.")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connections(server: Uvicorn, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open so many connections, each of which has sent this much."""
    with ExitStack() as opened:
        sockets = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(count)
        ]
        for each in sockets:
            each.sendall(sent)
            each.setblocking(False)
        yield sockets


def is_waiting(connection: socket.socket) -> bool:
    """Say whether the server has neither answered nor hung up."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def drip_until_hung_up_on(sockets: list[socket.socket]) -> list[bytes]:
    """Send one more byte a second on each until the server has closed all; return its answers."""
    answers = dict.fromkeys(sockets, b"")
    seconds = 0
    with selectors.DefaultSelector() as still_open:
        for each in sockets:
            still_open.register(each, selectors.EVENT_READ)
        while still_open.get_map():
            assert seconds < 30, "the server does not hang up"
            readable = [socket_of(key) for key, _ in still_open.select(1.0)]
            for each in readable:
                some = receive(each)
                answers[each] += some
                if not some:
                    still_open.unregister(each)
            if not readable:
                seconds += 1
                for key in still_open.get_map().values():
                    with suppress(OSError):
                        socket_of(key).send(b"x")
    return [answer for answer in answers.values() if answer]


def socket_of(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def receive(connection: socket.socket) -> bytes:
    """Read what is there; nothing is the end, and so is a reset."""
    try:
        return connection.recv(4096)
    except OSError:
        return b""


@contextmanager
def customer_of(server: Uvicorn) -> Iterator[Customer]:
    """Connect a customer, who waits for long: how fast the machine is does not matter here."""
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as client:
        assert client.get("/healthz").status_code == 200
        yield Customer(Simulator(client))


def converse(server: Uvicorn) -> list[str]:
    with customer_of(server) as customer:
        return [customer.says(text) for text in TEXTS]


ANSWERS = [
    GREETING,
    GOT_PRODUCT,
    GOT_NAME.format(product="Lamp"),
    GOT_REVIEW.format(name="Ana", product="Lamp"),
]


def test_500_dripping_bodies_keep_nobody_waiting_and_are_hung_up_on(server: Uvicorn) -> None:
    head = HEAD + b"Content-Length: 100000\r\n"
    with customer_of(server) as customer, connections(server, MANY, head) as sockets:
        for each in sockets:  # from here on the body's deadline runs
            each.sendall(b"\r\nF")
        said = [customer.says(TEXTS[0])]
        assert sum(map(is_waiting, sockets)) == MANY, "answered after the first was hung up on"
        said += [customer.says(text) for text in TEXTS[1:]]
        answers = drip_until_hung_up_on(sockets)
    assert said == ANSWERS
    assert answers  # of some, as a reset may overtake an answer
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half-a-head"])
def test_500_connections_without_a_request_keep_nobody_waiting(
    server: Uvicorn, sent: bytes
) -> None:
    with connections(server, MANY, sent) as sockets:
        assert converse(server) == ANSWERS
        assert sum(map(is_waiting, sockets)) == MANY


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", id="of-no-length"),
        pytest.param(HEAD + b"Content-Length: 1000000000000\r\n\r\n", id="of-a-terabyte"),
        pytest.param(
            HEAD.replace(FORM.encode(), b"text/plain") + b"Transfer-Encoding: chunked\r\n\r\n",
            id="of-another-kind",
        ),
    ],
)
def test_a_body_without_end_is_hung_up_on(server: Uvicorn, head: bytes) -> None:
    part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if b"chunked" in head else b"x" * 0x10000
    with connections(server, 1, head) as [connection]:
        connection.settimeout(30)
        sent = 0
        with suppress(ConnectionError):
            while sent < 1 << 30:  # far more than the system holds on its way
                connection.sendall(part)
                sent += len(part)
        assert sent < 1 << 30
    assert converse(server) == ANSWERS


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process has, Linux tells")
@pytest.mark.parametrize(
    ("head", "answer"),
    [
        pytest.param(HEAD.replace(b"/webhook", b"/nowhere"), b"404 Not Found", id="no-such-path"),
        pytest.param(HEAD.replace(b"POST", b"PUT"), b"405 Method Not Allowed", id="wrong-method"),
        pytest.param(HEAD + b"Origin: https://evil.example\r\n", b"403 Forbidden", id="origin"),
        pytest.param(
            HEAD.replace(b"POST /webhook", b"DELETE /api/reviews/1").replace(b"localhost", b"x"),
            b"401 Unauthorized",
            id="no-key",
        ),
        pytest.param(HEAD.replace(b"POST /webhook", b"GET /healthz"), b"200 OK", id="needs-none"),
    ],
)
def test_a_body_that_goes_on_after_its_answer_is_thrown_away(
    server: Uvicorn, head: bytes, answer: bytes
) -> None:
    """Who asks for no form is answered before the body comes; uvicorn keeps nothing of it then."""
    with connections(server, 1, head + b"Content-Length: 1000000000000\r\n\r\n") as [connection]:
        connection.settimeout(30)
        assert connection.recv(4096).startswith(b"HTTP/1.1 " + answer)
        megabytes_before = megabytes_of(server)
        for _ in range(2 * MEGABYTES_SENT):
            connection.sendall(b"x" * 0x80000)
        assert converse(server) == ANSWERS
        assert megabytes_of(server) - megabytes_before < MEGABYTES_SENT / 4


def megabytes_of(server: Uvicorn) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_beyond_its_limit_a_server_refuses_and_then_goes_on(
    tmp_path: Path, sqlite_url: str
) -> None:
    """What the README has uvicorn started with, `--limit-concurrency`, with a lower number."""
    log = tmp_path / "log"
    with serve(log, DATABASE_URL=sqlite_url, UVICORN_LIMIT_CONCURRENCY="20") as server:
        with connections(server, 20, HEAD + b"Content-Length: 9\r\n\r\n") as sockets:
            wait_until(lambda: not is_waiting(sockets[-1]))
            assert sockets[-1].recv(4096).startswith(b"HTTP/1.1 503 ")
        wait_until(server.is_up)
        assert converse(server) == ANSWERS


def test_what_a_client_did_not_wait_for_is_not_recorded_once_the_database_is_back(
    server: Uvicorn,
) -> None:
    """Its customer may have been told by another worker to send it again."""
    body = b"From=whatsapp%3A%2B15550009999&Body=Hi&MessageSid=SMimpatient"
    head = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode()
    file = server.log.with_name("test.db")
    with closing(sqlite3.connect(file, isolation_level=None)) as another_program:
        another_program.execute("BEGIN IMMEDIATE")
        with socket.create_connection(("127.0.0.1", server.port)) as impatient:
            impatient.sendall(head + body)
            time.sleep(2 * Timing().slow_seconds)
        time.sleep(0.1)  # for the server to notice
        another_program.execute("COMMIT")
        wait_until(lambda: "nobody waits for it sid=SMimpatient" in server.log.read_text())
        recorded = "SELECT count(*) FROM messages WHERE message_sid = 'SMimpatient'"
        assert another_program.execute(recorded).fetchone() == (0,)
    assert converse(server) == ANSWERS


LARGE_FILE = "/static/vendor/swagger-ui-5.35.0/swagger-ui-bundle.js"


def options_of_production() -> dict[str, str]:
    """Read the options that the README has uvicorn started with in production."""
    readme = ROOT.joinpath("README.md").read_text(encoding="utf-8")
    [words] = re.findall(r"^ *\.venv/bin/uvicorn main:app (.*)$", readme, re.MULTILINE)
    options = shlex.split(words)
    return dict(zip(options[::2], options[1::2], strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_reads_nothing_does_not_hold_up_the_end(
    tmp_path: Path, sqlite_url: str, workers: int
) -> None:
    """The README's command, with one second in place of ten and another number of workers."""
    options = options_of_production() | {"--workers": str(workers)}
    if "--timeout-graceful-shutdown" in options:
        options["--timeout-graceful-shutdown"] = "1"
    words = [word for option in options.items() for word in option]
    get = f"GET {LARGE_FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with (
        serve(tmp_path / "log", workers, words, DATABASE_URL=sqlite_url) as server,
        connections(server, 1, get * 10) as [connection],
    ):
        wait_until(lambda: not is_waiting(connection))
        server.process.terminate()
        server.process.wait(30)
        assert "timeout graceful shutdown exceeded" in server.log.read_text()
