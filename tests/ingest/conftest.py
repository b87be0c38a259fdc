"""The writer on real databases, and an interruption at the moments that matter."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from audit.check import check
from conversation.model import Message
from conversation.wording import GOT_REVIEW
from core.clock import utc_now
from db.engine import Database
from ingest.pending import PendingMessage, Reply
from ingest.timing import Timing
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from storage.end_cache import EndCache, open_cache

ANA, BEN = "+15551234567", "+15557654321"
TTL = timedelta(hours=24)
TEXTS = ("hi", "iPhone 15", "Sarah", "Lovely.")
THANKS = Reply(GOT_REVIEW.format(name="Sarah", product="iPhone 15"), "SM1")


def message(number: int, text: str | None = None, contact: str = ANA) -> Message:
    return Message(f"SM{number}", contact, TEXTS[(number - 1) % 4] if text is None else text)


def outage() -> OperationalError:
    return OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))


class Interrupted(MessageWriter):
    """A writer on a real database, with a say before the claim and around COMMIT itself.

    It does not probe while it is idle, unless told to: each test says itself what commits.
    """

    def __init__(
        self,
        database: Database,
        cache: EndCache,
        patch: pytest.MonkeyPatch,
        clock: Callable[[], datetime] = utc_now,
        timing: Timing | None = None,
        probe_seconds: float = 3600.0,
    ) -> None:
        self.before_claim: Callable[[], None] = lambda: None
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        timing = replace(timing or Timing(), probe_seconds=probe_seconds)
        super().__init__(database, cache, TTL, clock, timing=timing)
        dialect = database.engine.dialect
        really_commit = dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.before_commit()
            really_commit(connection)
            self.after_commit()

        patch.setattr(dialect, "do_commit", do_commit)

    def _reset(self) -> None:
        super()._reset()
        queue = self._queue
        really_claim = queue.claim

        def claim(messages: Iterable[PendingMessage]) -> None:
            self.before_claim()
            really_claim(messages)

        queue.claim = claim  # type: ignore[method-assign]


def once(action: Callable[[], object]) -> Callable[[], None]:
    """Do it the first time only."""
    left = [action]

    def do() -> None:
        if left:
            left.pop()()

    return do


def fail() -> None:
    raise outage()


@pytest.fixture(params=["memory", "redis", "database"])
def cache(request: pytest.FixtureRequest) -> EndCache:
    """The cache of each store."""
    url = request.getfixturevalue("valkey").url if request.param == "redis" else None
    return open_cache(request.param, url)


@pytest.fixture
def timing() -> Timing:
    """The durations of `writer`; a test may parametrise them."""
    return Timing()


@pytest.fixture
def writer(
    database: Database, cache: EndCache, timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Interrupted]:
    running = Interrupted(database, cache, monkeypatch, timing=timing)
    running.start()
    yield running
    running.close()


def tell(writer: MessageWriter, *messages: Message) -> list[Any]:
    """Deliver messages at once, in this order; return their replies, or what was raised."""

    async def deliver() -> list[Any]:
        replies = (writer.submit(each) for each in messages)
        return await asyncio.gather(*replies, return_exceptions=True)

    return asyncio.run(deliver())


def tell_in_turn(writer: MessageWriter, *messages: Message) -> list[Any]:
    return [tell(writer, each)[0] for each in messages]


def count(database: Database, table: type[Review | LoggedMessage]) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def require_one_review(database: Database) -> None:
    assert count(database, Review) == 1
    assert count(database, LoggedMessage) == 4
    assert check(database).problems == []
