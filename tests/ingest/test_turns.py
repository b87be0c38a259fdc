"""Exactly once, in order, and commit before reply."""

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conversation.model import Message
from conversation.wording import APOLOGY, GREETING
from core.logs import logger
from db.engine import Database
from ingest.idempotency import MessageSidTaken
from ingest.message_queue import MessageQueue
from ingest.pending import Reply
from ingest.timing import Timing
from models import LoggedMessage
from tests.ingest.conftest import (
    BEN,
    THANKS,
    Interrupted,
    count,
    message,
    once,
    require_one_review,
    tell,
    tell_in_turn,
)


def test_four_messages_make_one_review(writer: Interrupted, database: Database) -> None:
    replies = tell_in_turn(writer, *map(message, range(1, 5)))
    assert replies[-1] == THANKS
    assert all(reply.confirms is None for reply in replies[:-1])
    require_one_review(database)


def test_messages_that_wait_together_are_taken_in_order(
    writer: Interrupted, database: Database
) -> None:
    assert tell(writer, *map(message, range(1, 5)))[-1] == THANKS
    require_one_review(database)


def stranger(number: int) -> Message:
    return message(10 + number, "hi", f"+1555{number:07}")


@pytest.mark.parametrize("timing", [Timing(linger_seconds=math.inf)], ids=["linger"])
def test_those_who_come_together_share_a_commit(writer: Interrupted) -> None:
    tell(writer, message(1))
    commits: list[int] = []
    writer.after_commit = lambda: commits.append(1)

    async def arrive(number: int) -> Reply:
        for _ in range(number):  # somebody more with every round of the event loop
            await asyncio.sleep(0)
        return await writer.submit(stranger(number))

    async def crowd() -> set[Reply]:
        return set(await asyncio.gather(*map(arrive, range(MessageQueue.FLUSH_AT))))

    assert asyncio.run(crowd()) == {Reply(GREETING)}
    assert len(commits) == 1


@pytest.mark.parametrize(
    ("others", "seconds"), [(MessageQueue.FLUSH_AT - 1, math.inf), (1, -1.0)], ids=["many", "long"]
)
def test_a_stream_of_others_keeps_nobody_waiting(others: int, seconds: float) -> None:
    queue = MessageQueue(timing=Timing(linger_seconds=seconds))
    loop = asyncio.new_event_loop()
    first, *_ = [queue.enter(stranger(n), loop.create_future()) for n in range(others + 1)]
    loop.close()
    with ThreadPoolExecutor(1) as writer:
        batch = writer.submit(queue.next_batch)
        queue.call_writer(first)  # not the last who came
        try:
            assert len(batch.result(timeout=10)) == others + 1
        finally:
            queue.close()


def test_an_answer_for_a_loop_that_is_gone_troubles_nobody(
    writer: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server is torn down amid a request, and the process goes on with another."""
    complaints: list[str] = []
    for level in ("warning", "error"):
        monkeypatch.setattr(logger, level, lambda text, *_, **__: complaints.append(text))
    committing, is_gone = threading.Event(), threading.Event()

    def wait_for_the_end() -> None:
        committing.set()
        assert is_gone.wait(10)

    writer.before_commit = once(wait_for_the_end)
    gone = asyncio.new_event_loop()
    delivery = gone.create_task(writer.submit(message(1)))
    while not committing.is_set():
        gone.run_until_complete(asyncio.sleep(0.001))
    gone.close()
    is_gone.set()
    assert tell(writer, message(1))[0].text == GREETING
    assert not delivery.done()
    assert complaints == []


def test_twenty_deliveries_at_once_are_one_message(writer: Interrupted, database: Database) -> None:
    for number in range(1, 5):
        assert len(set(tell(writer, *[message(number)] * 20))) == 1
    require_one_review(database)


def test_a_repeat_gets_the_stored_words_after_a_restart(
    writer: Interrupted, database: Database
) -> None:
    replies = tell_in_turn(writer, *map(message, range(1, 5)))
    writer.close()
    assert tell_in_turn(writer, *map(message, range(1, 5))) == replies
    require_one_review(database)


def test_a_repeat_of_an_old_message_changes_nothing(
    writer: Interrupted, database: Database
) -> None:
    tell_in_turn(writer, message(1), message(2))
    assert tell(writer, message(1))[0].text == GREETING
    assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
    require_one_review(database)


@pytest.mark.parametrize("where", ["overlapping", "logged"])
def test_a_sid_of_another_contact_is_refused(
    writer: Interrupted, database: Database, where: str
) -> None:
    stolen = message(1, "give it to me", BEN)
    if where == "overlapping":
        replies = tell(writer, message(1), stolen)
    else:
        replies = tell_in_turn(writer, message(1), stolen)
    assert isinstance(replies[1], MessageSidTaken)
    assert count(database, LoggedMessage) == 1


def test_the_first_text_of_a_sid_counts(writer: Interrupted) -> None:
    tell_in_turn(writer, message(1), message(2), message(2, "Sofa"), message(3))
    assert tell(writer, message(4))[0] == THANKS


class TestLimits:
    def test_a_full_queue_apologises_at_once(self) -> None:
        queue, loop = MessageQueue(max_pending=1), asyncio.new_event_loop()
        first = queue.enter(message(1), loop.create_future())
        refused = queue.enter(message(2, "hi", BEN), delivery := loop.create_future())
        loop.close()
        assert delivery.done()
        assert refused.result() == Reply(APOLOGY)
        assert queue.all_pending() == [first]

    def test_closing_answers_who_waits(self, writer: Interrupted, database: Database) -> None:
        async def leave() -> list[Reply]:
            waiting = [asyncio.ensure_future(writer.submit(message(n))) for n in range(1, 5)]
            await asyncio.sleep(0)
            await asyncio.to_thread(writer.close)
            return [await each for each in waiting]

        assert asyncio.run(leave())[-1] == THANKS
        require_one_review(database)

    def test_it_can_be_started_again(self, writer: Interrupted) -> None:
        for number in (1, 5):
            writer.start()
            assert writer.is_able()
            assert tell(writer, message(number, contact=f"+{number}"))[0].text == GREETING
            writer.close()

    def test_a_writer_that_dies_is_reported_and_believed_no_more(self, writer: Interrupted) -> None:
        died = threading.Event()
        writer.start(on_death=died.set)
        assert writer.is_able()
        writer._group_commit.take = None  # type: ignore[assignment,method-assign]
        assert isinstance(tell(writer, message(1))[0], TypeError)
        assert died.wait(10)
        assert not writer.is_able()
