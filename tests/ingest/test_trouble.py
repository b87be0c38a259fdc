"""One contact's trouble is never another's: poison, stale stores, several workers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from audit.check import check
from conversation.model import LogEnd
from conversation.wording import APOLOGY, GOT_NAME, GOT_PRODUCT, GREETING
from core.clock import utc_now
from db.engine import Database, open_database
from ingest.message_queue import MessageQueue
from ingest.pending import InDoubt, Reply
from ingest.timing import Timing
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from privacy import message_erasure
from storage import batch, contact_state, message_log
from storage.end_cache import NoCache
from tests.ingest.conftest import (
    ANA,
    BEN,
    THANKS,
    TTL,
    Interrupted,
    count,
    fail,
    message,
    once,
    outage,
    require_one_review,
    tell,
    tell_in_turn,
)
from tests.support.servers import wait_until


class TestPoison:
    @pytest.fixture(autouse=True)
    def _forbidden_word(self, database: Database) -> None:
        forbid = "ALTER TABLE messages ADD CONSTRAINT no_poison CHECK (body <> 'poison')"
        if database.is_sqlite:
            forbid = (
                "CREATE TRIGGER no_poison BEFORE INSERT ON messages WHEN new.body = 'poison'"
                " BEGIN SELECT RAISE(ABORT, 'no poison'); END"
            )
        with database.write() as connection:
            connection.execute(sa.text(forbid))

    def test_what_cannot_be_recorded_is_apologised_for_and_the_rest_of_its_batch_is(
        self, writer: Interrupted, database: Database
    ) -> None:
        replies = tell(writer, message(1), message(2, "poison", BEN), message(3, "hi", "+1"))
        assert [reply.text for reply in replies] == [GREETING, APOLOGY, GREETING]
        assert count(database, LoggedMessage) == 2

    def test_the_poisoned_contact_goes_on_where_it_was(
        self, writer: Interrupted, database: Database
    ) -> None:
        tell_in_turn(writer, message(1), message(9, "poison"))
        assert tell_in_turn(writer, message(2), message(3), message(4))[-1] == THANKS
        require_one_review(database)

    def test_poison_beside_a_commit_whose_answer_was_lost_leaves_nobody_stuck(
        self, writer: Interrupted, database: Database
    ) -> None:
        writer.after_commit = once(fail)
        replies = tell(writer, message(1), message(11, "poison", BEN), message(12, "hi", "+3"))
        assert [reply.text for reply in replies] == [GREETING, APOLOGY, GREETING]
        assert tell_in_turn(writer, message(2), message(3), message(4))[-1] == THANKS
        assert writer.is_able()
        assert check(database).problems == []

    def test_a_repeat_amid_an_outage_amid_a_poisoned_batch_leaves_nobody_stuck(
        self, writer: Interrupted, database: Database
    ) -> None:
        reached, go_on = threading.Event(), threading.Event()

        def stall_and_fail() -> None:
            reached.set()
            go_on.wait(30)
            raise outage()

        commits = iter([lambda: None, stall_and_fail])
        writer.before_commit = lambda: next(commits, lambda: None)()

        async def deliver() -> list[Reply]:
            batch = [message(1), message(11, "poison", BEN), message(12, "hi", "+3")]
            first = [asyncio.ensure_future(writer.submit(each)) for each in batch]
            await asyncio.to_thread(reached.wait, 30)
            again = asyncio.ensure_future(writer.submit(message(1)))
            await asyncio.sleep(0)
            go_on.set()
            return [*await asyncio.gather(*first), await again]

        replies = asyncio.run(deliver())
        assert [reply.text for reply in replies] == [GREETING, APOLOGY, GREETING, GREETING]
        assert tell_in_turn(writer, message(2), message(3), message(4))[-1] == THANKS
        assert check(database).problems == []


class TestWhatCannotEvenBeLookedUp:
    def test_a_message_of_unknown_fate_stalls_nobody_else(
        self, writer: Interrupted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, good_tries = batch.read, iter([True])

        def fail_for_ana(connection: Any, sids: list[str], *others: Any) -> Any:
            if "SM1" in sids and not next(good_tries, False):
                raise KeyError("an odd row")
            return read(connection, sids, *others)

        monkeypatch.setattr(batch, "read", fail_for_ana)
        writer.after_commit = once(fail)
        writer.timing = Timing(deadline_seconds=2.0)
        unknown, other = tell(writer, message(1), message(11, "hi", BEN))
        assert isinstance(unknown, InDoubt)
        assert other.text == GREETING
        wait_until(lambda: not writer._queue.all_pending())
        monkeypatch.undo()
        assert tell_in_turn(writer, *map(message, range(1, 5)))[-1] == THANKS

    def test_a_proof_that_fails_oddly_is_tried_again(
        self, writer: Interrupted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail_oddly(_connection: Any) -> None:
            raise ValueError("half a file")

        monkeypatch.setattr(message_log, "prove_writable", fail_oddly)
        writer.before_claim = fail
        writer.timing = Timing(deadline_seconds=0.5)  # not before the writer has tried
        assert tell(writer, message(1)) == [Reply(APOLOGY)]
        writer.before_claim = lambda: None
        assert not writer.is_able()
        monkeypatch.undo()
        wait_until(writer.is_able)


class TestACacheThatIsBehind:
    """What it says counts only where the log ends at that message."""

    def test_the_log_says_where_a_contact_stands(
        self, writer: Interrupted, database: Database
    ) -> None:
        tell_in_turn(writer, message(1), message(2))
        before = ends(database)
        tell(writer, message(3))
        writer._cache.put(before)
        assert tell(writer, message(4)) == [THANKS]
        require_one_review(database)

    def test_a_conversation_that_is_over_is_not_finished_again(
        self, writer: Interrupted, database: Database
    ) -> None:
        tell_in_turn(writer, message(1), message(2), message(3))
        before = ends(database)
        tell(writer, message(4))
        writer._cache.put(before)
        assert tell(writer, message(5, "Really lovely."))[0].text == GREETING
        assert count(database, Review) == 1
        assert check(database).problems == []

    def test_an_end_of_another_log_does_not_count(
        self, writer: Interrupted, database: Database
    ) -> None:
        """As after a restore: the log went on with other words in the same place."""
        tell_in_turn(writer, message(1), message(2))
        [end] = ends(database).values()
        elsewhere = {"product": "Sofa", "name": "Bo"}
        other = replace(end, message_sid="SM99", state="FINISH", answers=elsewhere)
        writer._cache.put({ANA: other})
        tell(writer, message(3))
        [end] = ends(database).values()
        for other in (
            replace(end, turn=9, answers=elsewhere),
            replace(end, received_at=end.received_at + timedelta(seconds=1), answers=elsewhere),
        ):
            with database.read() as connection:
                assert batch.read(connection, (), [ANA], {ANA: other}).ends == {ANA: end}
        assert tell(writer, message(4)) == [THANKS]
        require_one_review(database)

    def test_an_end_that_was_erased_does_not_count(
        self, writer: Interrupted, database: Database
    ) -> None:
        tell_in_turn(writer, message(1), message(2))
        with database.write() as connection:
            message_erasure.erase_words(connection, sa.true(), utc_now())
        assert tell(writer, message(3))[0].text == GREETING
        assert check(database).problems == []

    def test_an_end_that_makes_no_sense_is_recorded_past_it(
        self, writer: Interrupted, database: Database
    ) -> None:
        tell_in_turn(writer, message(1), message(2), message(3))
        [end] = ends(database).values()
        writer._cache.put({ANA: replace(end, turn="many", answers=None)})  # type: ignore[arg-type]
        assert tell(writer, message(4)) == [THANKS]
        require_one_review(database)


def ends(database: Database) -> dict[str, LogEnd]:
    """Read where Ana stands, as a cache may have kept it."""
    with database.read() as connection:
        return batch.read(connection, contacts=[ANA]).ends


class TestSeveralWorkers:
    @pytest.fixture
    def workers(self, postgres_url: str) -> Iterator[list[MessageWriter]]:
        with ExitStack() as running:
            workers = []
            for _ in range(3):
                database = open_database(postgres_url)
                running.callback(database.close)
                workers.append(MessageWriter(database, NoCache(), TTL))
                running.callback(workers[-1].close)
            yield workers

    def test_two_first_messages_of_a_new_contact_serialise(
        self, workers: list[MessageWriter], postgres_url: str
    ) -> None:
        async def at_once() -> list[Reply]:
            return await asyncio.gather(
                *(
                    worker.submit(message(3 * turn + n, "x", f"+{turn}"))
                    for turn in range(10)
                    for n, worker in enumerate(workers)
                )
            )

        replies = asyncio.run(at_once())
        for turn in range(10):
            said = {reply.text for reply in replies[3 * turn : 3 * turn + 3]}
            assert said == {GREETING, GOT_PRODUCT, GOT_NAME.format(product="x")}
        assert check(open_database(postgres_url)).problems == []

    def test_one_sid_at_three_workers_is_one_message(
        self, workers: list[MessageWriter], postgres_url: str
    ) -> None:
        async def at_once(number: int) -> set[Reply]:
            replies = (worker.submit(message(number)) for worker in workers)
            return set(await asyncio.gather(*replies))

        for number in range(1, 5):
            replies = asyncio.run(at_once(number))
            assert len(replies) == 1
        require_one_review(open_database(postgres_url))

    def test_busy_contacts_take_turns(self) -> None:
        queue = MessageQueue()
        busy = MessageQueue.BATCH // MessageQueue.BATCH_PER_CONTACT
        loop = asyncio.new_event_loop()
        for contact in range(busy + 1):
            for n in range(2 * MessageQueue.BATCH_PER_CONTACT):
                each = message(1000 * contact + n, "x", f"+{contact}")
                queue.call_writer(queue.enter(each, loop.create_future()))
        loop.close()
        first, second = queue.next_batch(), queue.next_batch()
        last_contact = f"+{busy}"
        assert last_contact not in {pending.message.contact for pending in first}
        assert second[0].message.contact == last_contact

    def test_stuck_contacts_stall_nobody_else(
        self, workers: list[MessageWriter], postgres_url: str
    ) -> None:
        """More of them than a batch has room for, held by a worker that is frozen."""
        elsewhere = open_database(postgres_url)
        stuck_contacts = [f"+{n}" for n in range(MessageQueue.BATCH)]

        async def past_a_frozen_worker() -> list[Reply]:
            with elsewhere.write() as connection:
                contact_state.try_lock(connection, stuck_contacts)
                crowd = [message(n, "x", contact) for n, contact in enumerate(stuck_contacts)]
                stuck = [asyncio.ensure_future(workers[0].submit(each)) for each in crowd]
                await asyncio.sleep(0)
                other = await workers[0].submit(message(999, "hi", BEN))
                assert not any(each.done() for each in stuck)
            return [other, *(await asyncio.gather(*stuck))]

        assert {reply.text for reply in asyncio.run(past_a_frozen_worker())} == {GREETING}

    def test_a_customer_who_writes_without_end_stalls_nobody_else(
        self, workers: list[MessageWriter], postgres_url: str
    ) -> None:
        elsewhere = open_database(postgres_url)

        async def past_the_crowd() -> Reply:
            with elsewhere.write() as connection:
                contact_state.lock(connection, ANA)
                crowd = [message(n, "x") for n in range(MessageQueue.BATCH + 1)]
                stuck = [asyncio.ensure_future(workers[0].submit(each)) for each in crowd]
                await asyncio.sleep(0)
                other = await workers[0].submit(message(999, "hi", BEN))
            await asyncio.gather(*stuck)
            return other

        assert asyncio.run(past_the_crowd()).text == GREETING
