"""Send prepared requests to a server on this machine: wrk where it is installed, or ourselves."""

import asyncio
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversation import wording

WRK = shutil.which("wrk")
NAME = "wrk" if WRK else "our own client, as wrk is not installed"
SCRIPT = Path(__file__).with_name("wrk.lua")
APOLOGY = wording.APOLOGY.encode()


@dataclass(slots=True)
class Load:
    """What came of sending: how many answers in how many seconds, and how many were no reply.

    An apology, that a message could not be saved, is none.
    """

    seconds: float = 0.0
    answered: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    """In seconds, as many as were taken down."""


def send(port: int, requests: Sequence[bytes], connections: int, seconds: int) -> Load:
    """Keep `connections` busy for so long, one request after another on each."""
    if WRK is None:
        return asyncio.run(_keep_busy(port, requests, connections, seconds))
    return _send_with_wrk(WRK, port, requests, connections, seconds)


def send_all(port: int, requests: Sequence[bytes], connections: int) -> Load:
    """Send every request once, however long it takes; by our own client."""
    return asyncio.run(_keep_busy(port, requests, connections, math.inf))


def _send_with_wrk(
    wrk: str, port: int, requests: Sequence[bytes], connections: int, seconds: int
) -> Load:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(requests))
        file.flush()
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}", "--", file.name],
            check=True,
            capture_output=True,
            text=True,
        )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Load(told["seconds"], told["answered"], told["refused"])


def send_steadily(port: int, requests: Sequence[bytes], per_second: float) -> Load:
    """Send each request at its time, whether or not those before it have been answered.

    Latencies count from that time, so a server that stalls is charged for all who had to wait.
    """
    return asyncio.run(_send_on_time(port, requests, per_second))


def send_together(port: int, streams: Sequence[tuple[Sequence[bytes], float]]) -> list[Load]:
    """Send several streams at once, each steadily at so many a second; return the load of each."""

    async def send() -> list[Load]:
        return await asyncio.gather(*(_send_on_time(port, *stream) for stream in streams))

    return asyncio.run(send())


class _Connection(asyncio.Protocol):
    """One request at a time, and its answer."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bool] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def close(self) -> None:
        self._answer = None
        self._transport.close()

    async def ask(self, request: bytes) -> bool:
        """Send a request; return whether the answer was a reply."""
        if self._transport.is_closing():
            raise ConnectionResetError("the server hung up on an idle connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(body) == int(length.partition(b"\r\n")[0]):
            self._received = bytearray()
            is_reply = b"<Message" in body and APOLOGY not in body
            self._answer.set_result(head.startswith(b"HTTP/1.1 200") and is_reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))


async def _connect(port: int) -> _Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
    return connection


async def _close(connections: Sequence[_Connection]) -> None:
    for connection in connections:
        connection.close()
    await asyncio.sleep(0)  # transports close in the loop's next round


async def _keep_busy(
    port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Load:
    load, waiting = Load(), iter(requests)
    opened = [await _connect(port) for _ in range(connections)]
    began = time.perf_counter()

    async def work(connection: _Connection) -> None:
        while time.perf_counter() - began < seconds and (request := next(waiting, None)):
            is_reply = await connection.ask(request)  # first: += would read before it waits
            load.refused += not is_reply
            load.answered += 1

    await asyncio.gather(*map(work, opened))
    load.seconds = time.perf_counter() - began
    await _close(opened)
    return load


async def _send_on_time(port: int, requests: Sequence[bytes], per_second: float) -> Load:
    load = Load()
    # The longest idle goes next: uvicorn hangs up on one that idles for five seconds.
    idle = deque([await _connect(port) for _ in range(8)])
    began = time.perf_counter()

    async def deliver(request: bytes, due: float) -> None:
        connection = idle.popleft() if idle else await _connect(port)
        is_reply = await connection.ask(request)
        load.refused += not is_reply
        load.latencies.append(time.perf_counter() - due)
        load.answered += 1
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            due = began + number / per_second
            await asyncio.sleep(due - time.perf_counter() - 0.002)
            while time.perf_counter() < due:  # the loop's own timers are late by a millisecond
                await asyncio.sleep(0)
            group.create_task(deliver(request, due))
    load.seconds = time.perf_counter() - began
    await _close([*idle])
    return load
