"""Our own server, in a process of its own or in this one, and what tests with processes need."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from core.paths import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_with_parent() -> None:
    """Have Linux end the server when pytest is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def ask(url: str) -> httpx.Response:
    """GET over plain HTTP, without reading all the certificates of the world first."""
    return httpx.get(url, timeout=15, trust_env=False, verify=False)  # noqa: S501


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a fact that must come true; raises TimeoutError where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not true after {seconds} s")
        time.sleep(0.02)


class Uvicorn:
    """`uvicorn main:app` in a process of its own, with these settings.

    `under` is a command that it is started by, and that leaves its process id to it; `options`
    are more of uvicorn's.
    """

    def __init__(
        self,
        log: Path,
        workers: int = 1,
        app: str = "main:app",
        under: Sequence[str] = (),
        options: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.port = free_port()
        self.log = log
        arguments = ("--port", str(self.port), "--workers", str(workers), *options)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "uvicorn", app, *arguments],
                cwd=ROOT,
                env={**os.environ, "ENVIRONMENT": "local", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return ask(f"{self.base_url}/healthz").is_success
        except httpx.TransportError:
            return False

    def workers(self) -> list[int]:
        """List the process ids of its workers, by the lines uvicorn logs (oldest first)."""
        lines = self.log.read_text().splitlines()
        started = [line for line in lines if "Started server process [" in line]
        return [int(line.partition("[")[2].partition("]")[0]) for line in started]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@contextlib.contextmanager
def serve(
    log: Path, workers: int = 1, options: Sequence[str] = (), **environment: str
) -> Iterator[Uvicorn]:
    """Run a server for as long as the block does."""
    server = Uvicorn(log, workers, options=options, **environment)
    try:
        wait_until(server.is_up)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def serve_here(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Have uvicorn serve an app in a thread of this process, and yield its address.

    It is there at once, for tests of what is served rather than of how processes behave.
    """
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        [listening] = server.servers[0].sockets
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
