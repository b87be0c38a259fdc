"""`python3 run.py`: a local server on a port, or a sentence why not."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from cli import serve
from core.paths import ROOT
from tests.support.commands import run_command
from tests.support.servers import ask, free_port, wait_until

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="signals and exec are POSIX's")


@contextmanager
def serving(port: int, database: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until it answers, and end it by Ctrl-C."""
    url = f"sqlite:///{database}"
    # A shell's background job ignores Ctrl-C and hands that on; ours must not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with output.open("wb") as file:
            server = subprocess.Popen(
                [sys.executable, "-m", "cli", "serve", f"--port={port}"],
                cwd=ROOT,
                env={**os.environ, "ENVIRONMENT": "production", "DATABASE_URL": url},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        wait_until(lambda: is_up(server, port, output), seconds=120)
        yield server
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def is_up(server: subprocess.Popen[bytes], port: int, output: Path) -> bool:
    assert server.poll() is None, output.read_text()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
    return ask(f"http://127.0.0.1:{port}/healthz").is_success


@POSIX_ONLY
def test_it_says_what_to_open_serves_locally_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    port, output = free_port(), tmp_path / "output"
    with serving(port, tmp_path / "test.db", output) as server:
        assert ask(f"http://127.0.0.1:{port}/phone").is_success  # which is local only
    said = output.read_text()
    assert said.startswith(f"Open  http://localhost:{port} ")
    for told in (f"http://localhost:{port}/phone", "/api/reviews", "/docs", "Ctrl-C"):
        assert told in said
    for word in ("chat", "demo"):
        assert f"python3 run.py {word} --url http://localhost:{port}\n" in said
    assert "starting environment=local" in said
    assert "Traceback" not in said
    assert server.returncode == 0


def test_it_reloads_and_waits_ten_seconds_at_most_for_clients_when_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def note(*words: object, **options: object) -> None:
        started.append((words, options))

    monkeypatch.setattr(uvicorn, "run", note)
    port = free_port()
    assert run_command("serve", "--port", str(port)).returncode == 0
    options = {"port": port, "reload": True, "timeout_graceful_shutdown": 10}
    assert started == [(("main:app",), options)]


def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run_command("serve", "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith(f"Port {port} cannot be used (")
    assert f"python3 run.py --port {port + 1 if port < 65535 else 8001}" in sentence


@POSIX_ONLY
def test_the_port_of_a_server_that_has_just_stopped_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""
    serve.require_free(port)


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_what_is_not_a_port_is_refused(port: str) -> None:
    result = run_command("serve", f"--port={port}")
    assert result.returncode == 2
    assert f"'{port}' is not a number from 1 to 65535" in result.stderr
