"""Clients that send slowly, for ever or nothing: a real server serves all others meanwhile."""

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from simulator import Customer, Simulator
from tests.captures import FORM
from tests.servers import Uvicorn, serve, wait_until

MANY = 500
HEAD = f"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n".encode()
TEXTS = ["Hi", "Lamp", "Ana", "Bright."]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uvicorn]:
    folder = tmp_path_factory.mktemp("server")
    with serve(folder / "log", DATABASE_URL=f"sqlite:///{folder / 'test.db'}") as running:
        yield running


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
            readable = {key.fd for key, _ in still_open.select(1.0)}
            for each in [each for each in sockets if each.fileno() in readable]:
                some = receive(each)
                answers[each] += some
                if not some:
                    still_open.unregister(each)
            if not readable:
                seconds += 1
                for key in still_open.get_map().values():
                    with suppress(OSError):
                        os.write(key.fd, b"x")
    return [answer for answer in answers.values() if answer]


def receive(connection: socket.socket) -> bytes:
    """Read what is there; nothing is the end, and so is a reset."""
    try:
        return connection.recv(4096)
    except OSError:
        return b""


def converse(server: Uvicorn) -> list[str]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=15) as client:
        customer = Customer(Simulator(client))
        return [customer.says(text) for text in TEXTS]


ANSWERS = [
    "Hi! Which product is this review for?",
    "Okay, got it. What's your name?",
    "Please send your review for Lamp.",
    "Thanks Ana -- your review for Lamp has been recorded.",
]


def test_500_dripping_bodies_keep_nobody_waiting_and_are_hung_up_on(server: Uvicorn) -> None:
    with connections(server, MANY, HEAD + b"Content-Length: 100000\r\n") as sockets:
        for each in sockets:  # from here on the body's deadline runs
            each.sendall(b"\r\nF")
        assert converse(server) == ANSWERS
        assert sum(map(is_waiting, sockets)) == MANY
        answers = drip_until_hung_up_on(sockets)
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
