"""The database fails at every moment: nothing is lost, doubled or said that is not true."""

import asyncio
import threading
from typing import Any

import pytest

from conversation.wording import APOLOGY, GREETING
from db import engine
from db.engine import Database, open_database
from db.errors import DatabaseUnavailable
from ingest.pending import ClientGone, InDoubt, Reply
from ingest.timing import Timing
from ingest.writer import MessageWriter
from models import LoggedMessage
from storage.end_cache import MemoryCache, NoCache
from tests.ingest.conftest import (
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
from tests.support.databases import Postgres, RunningPostgres
from tests.support.servers import wait_until


class TestAnOutage:
    def test_a_commit_that_never_happened_is_made_again(
        self, writer: Interrupted, database: Database
    ) -> None:
        for number in range(1, 5):
            writer.before_commit = once(fail)
            replies = tell(writer, message(number))
        assert replies == [THANKS]
        require_one_review(database)

    def test_a_commit_whose_answer_was_lost_is_found_in_the_log(
        self, writer: Interrupted, database: Database
    ) -> None:
        for number in range(1, 5):
            writer.after_commit = once(fail)
            replies = tell(writer, message(number))
        assert replies == [THANKS]
        require_one_review(database)

    def test_a_message_withdrawn_at_its_deadline_is_never_recorded(
        self, writer: Interrupted, database: Database
    ) -> None:
        writer.timing = Timing(deadline_seconds=0.05)
        writer.before_claim = fail
        assert tell(writer, message(1)) == [Reply(APOLOGY)]
        writer.before_claim = lambda: None
        writer.timing = Timing()
        assert tell(writer, message(5, "hi again"))[0].text == GREETING
        assert count(database, LoggedMessage) == 1

    def test_a_withdrawn_message_delivered_again_is_a_new_attempt(
        self, writer: Interrupted, database: Database
    ) -> None:
        writer.timing = Timing(deadline_seconds=0.05)
        writer.before_claim = fail
        tell(writer, message(1))
        writer.before_claim = lambda: None
        writer.timing = Timing()
        assert tell_in_turn(writer, *map(message, range(1, 5)))[-1] == THANKS
        require_one_review(database)

    def test_a_batch_goes_on_without_the_message_withdrawn_in_its_midst(
        self, writer: Interrupted, database: Database
    ) -> None:
        queue = writer._queue

        def withdraw_ana() -> None:
            queue.withdraw(queue._by_sid["SM1"])

        writer.before_claim = once(withdraw_ana)
        replies = tell(writer, message(1), message(2, "hi", BEN))
        assert replies[0] == Reply(APOLOGY)
        assert replies[1].text == GREETING
        assert count(database, LoggedMessage) == 1

    @pytest.mark.parametrize("committed", [True, False])
    def test_an_outcome_unknown_at_the_deadline_is_said_to_be_so(
        self, writer: Interrupted, database: Database, committed: bool
    ) -> None:
        """The retry gets the stored reply if there is one; else it is a new attempt."""
        tell_in_turn(writer, message(1), message(2))
        reached, go_on = threading.Event(), threading.Event()

        def stall() -> None:
            reached.set()
            go_on.wait(30)
            raise outage()

        if committed:
            writer.after_commit = once(stall)
        else:
            writer.before_commit = once(stall)
        writer.timing = Timing(deadline_seconds=0.2)
        assert isinstance(tell(writer, message(3))[0], InDoubt)
        assert reached.is_set()
        go_on.set()
        wait_until(lambda: not writer._queue.all_pending())
        assert count(database, LoggedMessage) == (3 if committed else 2)
        writer.timing = Timing()
        assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
        require_one_review(database)

    def test_a_delivery_that_waits_for_an_unknown_outcome_gets_its_reply(
        self, writer: Interrupted, database: Database
    ) -> None:
        reached, go_on = threading.Event(), threading.Event()

        def stall() -> None:
            reached.set()
            go_on.wait(30)
            raise outage()

        writer.before_commit = once(stall)

        async def deliver_twice() -> list[Any]:
            writer.timing = Timing(deadline_seconds=0.2)
            first = await asyncio.gather(writer.submit(message(1)), return_exceptions=True)
            writer.timing = Timing()
            again = asyncio.ensure_future(writer.submit(message(1)))
            await asyncio.sleep(0)
            go_on.set()
            return [*first, await again]

        first, again = asyncio.run(deliver_twice())
        assert isinstance(first, InDoubt)
        assert again.text == GREETING
        assert count(database, LoggedMessage) == 1

    def test_a_process_starts_while_the_database_is_away(self, postgres_url: str) -> None:
        host, _, _ = postgres_url.rpartition(":")
        database = open_database(f"{host}:1/nowhere")
        writer = MessageWriter(database, NoCache(), TTL)
        writer.start()
        assert not writer.is_able()
        writer.close()

    def test_it_recovers_by_itself(self, own_postgres: Postgres, own_postgres_url: str) -> None:
        database = open_database(own_postgres_url)
        writer = MessageWriter(database, NoCache(), TTL)
        tell_in_turn(writer, message(1), message(2))
        own_postgres.kill()
        writer.timing = Timing(deadline_seconds=0.5)  # not before the writer has tried
        assert tell(writer, message(3)) == [Reply(APOLOGY)]
        assert not writer.is_able()
        own_postgres.start()
        writer.timing = Timing()
        assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
        assert writer.is_able()
        writer.close()
        require_one_review(database)
        database.close()

    def test_an_answer_that_was_lost_is_not_called_unsaved_while_the_database_is_away(
        self, writer: Interrupted
    ) -> None:
        replies = tell_in_turn(writer, *map(message, range(1, 5)))
        writer.before_claim = fail
        writer.timing = Timing(deadline_seconds=0.05)
        assert tell_in_turn(writer, *map(message, range(1, 5))) == replies
        assert tell(writer, message(4, contact=BEN)) == [Reply(APOLOGY)]
        writer.before_claim = lambda: None

    def test_a_commit_that_surely_failed_is_apologised_for(
        self, writer: Interrupted, database: Database
    ) -> None:
        go_on = threading.Event()

        def stand_still() -> None:
            go_on.wait(30)

        def full_disk() -> None:
            writer.before_claim = stand_still  # or the deadline may come amid another COMMIT
            raise DatabaseUnavailable("database or disk is full")

        writer.before_commit = full_disk
        writer.timing = Timing(deadline_seconds=0.5)  # not before the writer has tried
        assert tell(writer, message(1)) == [Reply(APOLOGY)]
        assert not writer.is_able()
        writer.before_claim = writer.before_commit = lambda: None
        go_on.set()
        wait_until(writer.is_able)
        assert count(database, LoggedMessage) == 0


def test_words_are_dropped_in_time_also_while_the_database_is_away(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erased customer's words, for one."""
    database, cache = open_database(sqlite_url), MemoryCache(kept_seconds=0.2)
    writer = Interrupted(database, cache, monkeypatch, timing=Timing(remember_seconds=0.2))
    tell_in_turn(writer, message(1), message(2))
    writer.before_commit = fail
    writer.timing = Timing(deadline_seconds=0.05)
    tell(writer, message(3))
    wait_until(lambda: not cache._ends and not writer._queue._answered)
    assert not writer.is_able()
    writer.before_commit = lambda: None
    writer.close()
    database.close()


@pytest.mark.parametrize(
    ("waited", "pause", "longest"),
    [
        (0.0, 0.0, 0.05),
        (1.0, 0.1, 0.15),
        (5.9, 0.15, 0.05),  # the last try is 50 ms before the deadline
        (5.97, 0.15, 0.15),
        (None, 0.4, 0.8),
        (None, 0.8, 1.0),
    ],
)
def test_tries_are_close_while_somebody_waits_and_one_is_right_before_the_deadline(
    sqlite_url: str, waited: float | None, pause: float, longest: float
) -> None:
    """Another worker may record the message meanwhile: then an apology would be false."""
    writer = MessageWriter(open_database(sqlite_url), NoCache(), TTL)
    writer._queue.longest_wait = lambda: waited  # type: ignore[method-assign]
    assert writer._next_pause(pause) == pytest.approx(longest)


class TestAClientThatIsGone:
    def tell_and_leave(self, writer: Interrupted, leave: asyncio.Event | None) -> list[Any]:
        """Deliver a message; its client closes the connection at once, or when it is told to."""
        writer.timing = Timing(slow_seconds=0.0)

        async def deliver() -> list[Any]:
            async def gone() -> None:
                if leave is not None:
                    await leave.wait()

            waiting = writer.submit(message(1), gone)
            return [*await asyncio.gather(waiting, return_exceptions=True)]

        return asyncio.run(deliver())

    def test_has_nothing_recorded_after_an_outage_that_it_did_not_wait_for(
        self, writer: Interrupted, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        writer.before_claim = fail
        assert isinstance(self.tell_and_leave(writer, None)[0], ClientGone)
        wait_until(lambda: writer._queue.dropped == 1)
        writer.before_claim = lambda: None
        assert count(database, LoggedMessage) == 0
        assert "not recorded, nobody waits for it sid=SM1 dropped=1" in caplog.text
        assert tell_in_turn(writer, *map(message, range(1, 5)))[-1] == THANKS
        require_one_review(database)

    def test_takes_nothing_from_another_that_waits_for_the_same_message(
        self, writer: Interrupted, database: Database
    ) -> None:
        writer.timing = Timing(slow_seconds=0.0)
        writer.before_claim = fail

        async def at_once() -> list[Any]:
            async def gone() -> None:
                """It is gone at once."""

            left = asyncio.ensure_future(writer.submit(message(1), gone))
            stays = asyncio.ensure_future(writer.submit(message(1)))
            first = await asyncio.gather(left, return_exceptions=True)
            writer.before_claim = lambda: None
            return [*first, await stays]

        first, second = asyncio.run(at_once())
        assert isinstance(first, ClientGone)
        assert second.text == GREETING
        assert count(database, LoggedMessage) == 1

    def test_changes_nothing_for_one_that_stays(
        self, writer: Interrupted, database: Database
    ) -> None:
        writer.before_claim = once(fail)
        [reply] = self.tell_and_leave(writer, asyncio.Event())
        assert reply.text == GREETING
        assert count(database, LoggedMessage) == 1


def end_sessions(database: Database, postgres: RunningPostgres) -> None:
    """End the sessions of a database, as a restart of the server does."""
    postgres.run_sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE datname = '{database.engine.url.database}'"
    )


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestBrokenConnections:
    def test_the_batch_is_taken_again_at_once_on_a_new_connection(
        self,
        writer: Interrupted,
        database: Database,
        postgres: RunningPostgres,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tell_in_turn(writer, message(1), message(2))
        with database.read(), database.read():
            """Two more connections are in the pool."""
        wait, pauses = writer._queue.wait_closed, list[float]()

        def note_pause(seconds: float) -> bool:
            pauses.append(seconds)
            return wait(seconds)

        monkeypatch.setattr(writer._queue, "wait_closed", note_pause)
        end_sessions(database, postgres)
        assert tell_in_turn(writer, message(3), message(4))[-1] == THANKS
        assert pauses == [0.0]
        require_one_review(database)

    def test_one_that_broke_while_it_was_idle_is_replaced_before_its_use(
        self, database: Database, postgres: RunningPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "IDLE_SECONDS", 0.0)
        with database.read(), database.read():
            """Two connections are in the pool."""
        end_sessions(database, postgres)
        for _ in range(3):
            assert count(database, LoggedMessage) == 0
