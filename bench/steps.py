"""Where a message's time goes: every step of its way, alone and again and again.

`run.py bench steps`. A step by itself finds its code and data in the processor's caches; in the
service it does not. That, and uvicorn's own work, is why a message costs more there.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
import uvloop
from fastapi import Request

from bench.report import save, table, tell
from bench.subjects import POSTGRESQL, SQLITE, open_laboratory
from bench.traffic import PUBLIC_URL, TOKEN, make_traffic
from conversation.model import Message
from conversation.state_machine import take_turn
from conversation.wording import GREETING
from core import logs
from core.clock import utc_now
from db.engine import Database, open_database
from ingest import group_commit
from ingest.group_commit import GroupCommit
from ingest.message_queue import MessageQueue
from ingest.pending import Reply
from ingest.writer import MessageWriter
from simulator.fake_twilio import ACCOUNT_SID
from storage.end_cache import NoCache
from web.form_body import parse, read_pairs, read_signed_form
from whatsapp.inbound import TwilioAccount
from whatsapp.signature import canonical_form, is_signed
from whatsapp.twiml import write_reply

BATCH = 64
ROUNDS = 5
IDLE_AFTER = timedelta(hours=24)
TWILIO = TwilioAccount((TOKEN,), ACCOUNT_SID, PUBLIC_URL)


def requests_of(raw: Sequence[bytes]) -> list[Request]:
    """Make of each request what uvicorn makes of it."""
    made = []
    for each in raw:
        head, _, body = each.partition(b"\r\n\r\n")
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]

        async def receive(body: bytes = body) -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/webhook",
            "query_string": b"",
            "headers": [(name.lower(), value) for name, value in lines],
        }
        made.append(Request(scope, receive))
    return made


def microseconds(step: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    """Take the best of some rounds, divided by the inputs."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for each in inputs:
            step(each)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / len(inputs)


async def async_microseconds(
    step: Callable[[Request], Awaitable[object]], raw: Sequence[bytes]
) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        requests = requests_of(raw)
        began = time.perf_counter()
        for each in requests:
            await step(each)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / len(raw)


async def read_message(request: Request) -> Message:
    """Read a message as the webhook does."""
    return TWILIO.parse_message(await read_signed_form(request, PUBLIC_URL))


async def at_the_edge(raw: Sequence[bytes]) -> tuple[dict[str, float], list[Message]]:
    """Time what the event loop does to read a message and to write an answer."""
    bodies = [each.partition(b"\r\n\r\n")[2] for each in raw]
    forms = [parse(body) for body in bodies]
    signatures = [
        each.partition(b"X-Twilio-Signature: ")[2].partition(b"\r\n")[0].decode() for each in raw
    ]
    url = f"{PUBLIC_URL}/webhook"
    signed = [*zip(signatures, forms, strict=True)]
    parsing = microseconds(parse, bodies)
    found = {
        "read the body": await async_microseconds(read_pairs, raw) - parsing,
        "parse the form": parsing,
        "check the signature": microseconds(
            lambda s: is_signed(s[0], (TOKEN,), url, canonical_form(s[1])), signed
        ),
    }
    whole = await async_microseconds(read_message, raw)
    found["check the fields, clean the text"] = whole - sum(found.values())
    found["write TwiML"] = microseconds(
        lambda sid: write_reply(GREETING, sid, PUBLIC_URL), [ACCOUNT_SID]
    )
    messages = [await read_message(request) for request in requests_of(raw)]
    found["wait for the answer, and be woken"] = await waiting(messages)
    return found, messages


class WithoutWriter(MessageWriter):
    """A writer without a thread: the benchmark answers its messages, to measure the waiting."""

    def __init__(self) -> None:
        super().__init__(cast(Database, None), NoCache(), IDLE_AFTER)
        self.queue = self._queue

    def _ensure_writer(self) -> None:
        pass


async def waiting(messages: Sequence[Message]) -> float:
    """Time what waiting itself costs: the queue, the timer, the wake-up, for a batch at once."""
    writer = WithoutWriter()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for place in range(0, len(messages), BATCH):
            part = messages[place : place + BATCH]
            crowd = [asyncio.create_task(writer.submit(message)) for message in part]
            for _ in range(3):
                await asyncio.sleep(0)
            batch = writer.queue.next_batch()
            writer.queue.claim(batch)
            writer.queue.answer({pending: Reply(GREETING) for pending in batch})
            await asyncio.gather(*crowd)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / len(messages)


def in_the_writer(database: Database, messages: Sequence[Message], loop: Any) -> dict[str, float]:
    """Time what the writer does for messages that come in batches."""
    queue = MessageQueue()
    writer = GroupCommit(database, NoCache(), queue, utc_now, IDLE_AFTER, "")
    taken: dict[str, float] = defaultdict(float)
    with timed_statements(database, taken), timed_calls(taken):
        for place in range(0, len(messages), BATCH):
            if place == 4 * BATCH:  # until now statements were compiled
                taken.clear()
            for message in messages[place : place + BATCH]:
                queue.call_writer(queue.enter(message, loop.create_future()))
            batch = queue.next_batch()
            began = time.perf_counter()
            writer.take(batch)
            taken["whole"] += time.perf_counter() - began
    whole = taken.pop("whole")
    taken["the rest of the batch's work"] = whole - sum(taken.values())
    return {step: 1e6 * seconds / (len(messages) - 4 * BATCH) for step, seconds in taken.items()}


@contextmanager
def timed_statements(database: Database, taken: dict[str, float]) -> Iterator[None]:
    """Note how long statements take at the driver, by what they are, and COMMIT."""
    began: list[float] = []
    dialect: Any = database.engine.dialect
    really_commit = dialect.do_commit

    def before(*_: Any) -> None:
        began.append(time.perf_counter())

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        step = (
            "statements that read" if "SELECT" in statement[:7] else "BEGIN, statements that write"
        )
        taken[step] += time.perf_counter() - began.pop()

    def commit(connection: Any) -> None:
        start = time.perf_counter()
        really_commit(connection)
        taken["COMMIT"] += time.perf_counter() - start

    sa.event.listen(database.engine, "before_cursor_execute", before)
    sa.event.listen(database.engine, "after_cursor_execute", after)
    dialect.do_commit = commit
    yield
    dialect.do_commit = really_commit


@contextmanager
def timed_calls(taken: dict[str, float]) -> Iterator[None]:
    """Note how long the turns themselves take, and the log's lines."""
    really: dict[str, Callable[..., Any]] = {
        "take_turn": take_turn,
        "_log_taken": group_commit._log_taken,
    }
    steps = {"take_turn": "take the turn", "_log_taken": "log a line"}

    def timing(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return really[name](*arguments)
            finally:
                taken[steps[name]] += time.perf_counter() - start

        return call

    for name in really:
        setattr(group_commit, name, timing(name))
    yield
    for name, function in really.items():
        setattr(group_commit, name, function)


def main(*, quick: bool, into: Path) -> None:
    raw = make_traffic(2_048 if quick else 16_384).requests
    with open_laboratory() as laboratory:
        logs.configure("INFO")
        lines = logging.FileHandler(laboratory.folder / "lines")
        lines.setFormatter(logs.logger.handlers[0].formatter)
        logs.logger.handlers = [lines]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as uvicorn's
            edge, messages = runner.run(at_the_edge(raw))
            columns = {"at the edge": edge}
            for subject in (SQLITE, POSTGRESQL):
                database = open_database(laboratory.new_database(subject))
                database.migrate()
                writing = in_the_writer(database, messages, runner.get_loop())
                columns[subject.name] = writing
                database.close()
        lines.close()
    rows = [
        [where, step, f"{taken:.1f}"]
        for where, steps in columns.items()
        for step, taken in steps.items()
    ]
    head = ["where", "step", f"microseconds a message, {BATCH} a batch"]
    tell(f"\n{table([head, *rows])}")
    save(into, "steps", columns)
