"""The writer's rules: exactly once, commit before reply, and nobody's trouble is another's."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from checker import check
from collector import Collector
from conversation import APOLOGY, Message
from models import Database, LoggedMessage, Review, open_database
from stores import DatabaseStore, Held, MemoryStore, Store
from tests.servers import Postgres, wait_until
from waiting_room import MessageSidTaken, OutcomeUnknown, Reply, WaitingRoom

ANA, BEN = "+15551234567", "+15557654321"
TTL = timedelta(hours=24)
TEXTS = ("hi", "iPhone 15", "Sarah", "Lovely.")
THANKS = Reply("Thanks Sarah -- your review for iPhone 15 has been recorded.", "SM1")


def message(number: int, text: str | None = None, contact: str = ANA) -> Message:
    return Message(f"SM{number}", contact, TEXTS[(number - 1) % 4] if text is None else text)


def outage() -> OperationalError:
    return OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))


class Interrupted:
    """A real store on a real database, with a say before the claim and around COMMIT itself."""

    def __init__(self, store: Store, database: Database, patch: pytest.MonkeyPatch) -> None:
        self._store = store
        self.before_claim: Callable[[], None] = lambda: None
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self.open, self.close = store.open, store.close
        dialect = database.engine.dialect
        really_commit = dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.before_commit()
            really_commit(connection)
            self.after_commit()

        patch.setattr(dialect, "do_commit", do_commit)

    @contextmanager
    def hold(self, contacts: Collection[str], claim: Callable[[], None]) -> Iterator[Held]:
        def claim_later() -> None:
            self.before_claim()
            claim()

        with self._store.hold(contacts, claim_later) as held:
            yield held


def once(action: Callable[[], None]) -> Callable[[], None]:
    """Do it the first time only."""
    left = [action]
    return lambda: left.pop()() if left else None


def fail() -> None:
    raise outage()


@pytest.fixture(params=[MemoryStore, DatabaseStore])
def store(
    request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Interrupted:
    return Interrupted(request.param(database, TTL), database, monkeypatch)


@pytest.fixture
def collector(store: Interrupted) -> Iterator[Collector]:
    running = Collector(store)
    running.start()
    yield running
    running.close()


def tell(collector: Collector, *messages: Message) -> list[Any]:
    """Deliver messages at once, in this order; return their replies, or what was raised."""

    async def deliver() -> list[Any]:
        replies = (collector.reply_to(each) for each in messages)
        return await asyncio.gather(*replies, return_exceptions=True)

    return asyncio.run(deliver())


def tell_in_turn(collector: Collector, *messages: Message) -> list[Any]:
    return [tell(collector, each)[0] for each in messages]


def count(database: Database, table: type[Review | LoggedMessage]) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def insist_on_one_review(database: Database) -> None:
    assert count(database, Review) == 1
    assert count(database, LoggedMessage) == 4
    assert check(database).problems == []


def test_four_messages_make_one_review(collector: Collector, database: Database) -> None:
    replies = tell_in_turn(collector, *map(message, range(1, 5)))
    assert replies[-1] == THANKS
    assert all(reply.confirms is None for reply in replies[:-1])
    insist_on_one_review(database)


def test_messages_that_wait_together_are_taken_in_order(
    collector: Collector, database: Database
) -> None:
    assert tell(collector, *map(message, range(1, 5)))[-1] == THANKS
    insist_on_one_review(database)


def test_twenty_deliveries_at_once_are_one_message(
    collector: Collector, database: Database
) -> None:
    for number in range(1, 5):
        assert len(set(tell(collector, *[message(number)] * 20))) == 1
    insist_on_one_review(database)


def test_a_repeat_gets_the_stored_words_after_a_restart(
    collector: Collector, database: Database
) -> None:
    replies = tell_in_turn(collector, *map(message, range(1, 5)))
    collector.close()
    assert tell_in_turn(collector, *map(message, range(1, 5))) == replies
    insist_on_one_review(database)


def test_a_repeat_of_an_old_message_changes_nothing(
    collector: Collector, database: Database
) -> None:
    tell_in_turn(collector, message(1), message(2))
    assert tell(collector, message(1))[0].text == "Hi! Which product is this review for?"
    assert tell_in_turn(collector, message(3), message(4))[-1] == THANKS
    insist_on_one_review(database)


def test_an_idle_conversation_starts_over(database: Database) -> None:
    now = [datetime(2026, 11, 23, tzinfo=UTC)]
    collector = Collector(DatabaseStore(database, TTL, lambda: now[0]), lambda: now[0])
    tell_in_turn(collector, message(1), message(2))
    now[0] += TTL + timedelta(seconds=1)
    assert tell(collector, message(3))[0].text == "Hi! Which product is this review for?"
    collector.close()
    assert check(database).problems == []


@pytest.mark.parametrize("where", ["overlapping", "logged"])
def test_a_sid_of_another_contact_is_refused(
    collector: Collector, database: Database, where: str
) -> None:
    stolen = message(1, "give it to me", BEN)
    if where == "overlapping":
        replies = tell(collector, message(1), stolen)
    else:
        replies = tell_in_turn(collector, message(1), stolen)
    assert isinstance(replies[1], MessageSidTaken)
    assert count(database, LoggedMessage) == 1


def test_the_first_text_of_a_sid_counts(collector: Collector) -> None:
    tell_in_turn(collector, message(1), message(2), message(2, "Sofa"), message(3))
    assert tell(collector, message(4))[0] == THANKS


def test_times_in_the_log_only_grow_even_when_the_clock_stands(database: Database) -> None:
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    collector = Collector(DatabaseStore(database, TTL), lambda: midnight)
    tell(collector, *map(message, range(1, 5)))
    collector.close()
    with database.read() as connection:
        rows = connection.execute(
            sa.select(LoggedMessage.received_at).order_by(LoggedMessage.position)
        )
        times = [row.received_at for row in rows]
    assert times == sorted(set(times))


class TestAnOutage:
    def test_a_commit_that_never_happened_is_made_again(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        for number in range(1, 5):
            store.before_commit = once(fail)
            replies = tell(collector, message(number))
        assert replies == [THANKS]
        insist_on_one_review(database)

    def test_a_commit_whose_answer_was_lost_is_found_in_the_log(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        for number in range(1, 5):
            store.after_commit = once(fail)
            replies = tell(collector, message(number))
        assert replies == [THANKS]
        insist_on_one_review(database)

    def test_a_message_withdrawn_at_its_deadline_is_never_recorded(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        collector.DEADLINE_SECONDS = 0.05
        store.before_claim = fail
        assert tell(collector, message(1)) == [Reply(APOLOGY)]
        store.before_claim = lambda: None
        collector.DEADLINE_SECONDS = 6.0
        assert tell(collector, message(5, "hi again"))[0].text.startswith("Hi!")
        assert count(database, LoggedMessage) == 1

    def test_a_withdrawn_message_delivered_again_is_a_new_attempt(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        collector.DEADLINE_SECONDS = 0.05
        store.before_claim = fail
        tell(collector, message(1))
        store.before_claim = lambda: None
        collector.DEADLINE_SECONDS = 6.0
        assert tell_in_turn(collector, *map(message, range(1, 5)))[-1] == THANKS
        insist_on_one_review(database)

    def test_a_batch_goes_on_without_the_message_withdrawn_in_its_midst(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        room = collector._room

        def withdraw_ana() -> None:
            room.withdraw(room._by_sid["SM1"])

        store.before_claim = once(withdraw_ana)
        replies = tell(collector, message(1), message(2, "hi", BEN))
        assert replies[0] == Reply(APOLOGY)
        assert replies[1].text.startswith("Hi!")
        assert count(database, LoggedMessage) == 1

    @pytest.mark.parametrize("committed", [True, False])
    def test_an_outcome_unknown_at_the_deadline_is_said_to_be_so(
        self, collector: Collector, store: Interrupted, database: Database, committed: bool
    ) -> None:
        """The retry gets the stored reply if there is one; else it is a new attempt."""
        tell_in_turn(collector, message(1), message(2))
        reached, go_on = threading.Event(), threading.Event()

        def stall() -> None:
            reached.set()
            go_on.wait(30)
            raise outage()

        if committed:
            store.after_commit = once(stall)
        else:
            store.before_commit = once(stall)
        collector.DEADLINE_SECONDS = 0.2
        assert isinstance(tell(collector, message(3))[0], OutcomeUnknown)
        assert reached.is_set()
        go_on.set()
        wait_until(lambda: not collector._room.everyone())
        assert count(database, LoggedMessage) == (3 if committed else 2)
        collector.DEADLINE_SECONDS = 6.0
        assert tell_in_turn(collector, message(3), message(4))[-1] == THANKS
        insist_on_one_review(database)

    def test_a_delivery_that_waits_for_an_unknown_outcome_gets_its_reply(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        reached, go_on = threading.Event(), threading.Event()

        def stall() -> None:
            reached.set()
            go_on.wait(30)
            raise outage()

        store.before_commit = once(stall)

        async def deliver_twice() -> list[Any]:
            collector.DEADLINE_SECONDS = 0.2
            first = await asyncio.gather(collector.reply_to(message(1)), return_exceptions=True)
            collector.DEADLINE_SECONDS = 6.0
            again = asyncio.ensure_future(collector.reply_to(message(1)))
            await asyncio.sleep(0)
            go_on.set()
            return [*first, await again]

        first, again = asyncio.run(deliver_twice())
        assert isinstance(first, OutcomeUnknown)
        assert again.text.startswith("Hi!")
        assert count(database, LoggedMessage) == 1

    def test_a_process_starts_while_the_database_is_away(self, postgres_url: str) -> None:
        host, _, _ = postgres_url.rpartition(":")
        database = open_database(f"{host}:1/nowhere")
        collector = Collector(DatabaseStore(database, TTL))
        collector.start()
        assert not collector.is_able()
        collector.close()

    def test_it_recovers_by_itself(self, postgres: Postgres, postgres_url: str) -> None:
        database = open_database(postgres_url)
        collector = Collector(DatabaseStore(database, TTL))
        tell_in_turn(collector, message(1), message(2))
        postgres.kill()
        collector.DEADLINE_SECONDS = 0.2
        assert tell(collector, message(3)) == [Reply(APOLOGY)]
        assert not collector.is_able()
        postgres.start()
        collector.DEADLINE_SECONDS = 6.0
        assert tell_in_turn(collector, message(3), message(4))[-1] == THANKS
        assert collector.is_able()
        collector.close()
        insist_on_one_review(database)
        database.close()


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
        self, collector: Collector, database: Database
    ) -> None:
        replies = tell(collector, message(1), message(2, "poison", BEN), message(3, "hi", "+1"))
        assert [reply.text[:3] for reply in replies] == ["Hi!", APOLOGY[:3], "Hi!"]
        assert count(database, LoggedMessage) == 2

    def test_the_poisoned_contact_goes_on_where_it_was(
        self, collector: Collector, database: Database
    ) -> None:
        tell_in_turn(collector, message(1), message(9, "poison"))
        assert tell_in_turn(collector, message(2), message(3), message(4))[-1] == THANKS
        insist_on_one_review(database)


class TestAStoreThatIsBehind:
    """Its step collides in the log, which then says where the contact stands."""

    def test_the_log_brings_it_up_to_date(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        tell_in_turn(collector, message(1), message(2))
        with store.hold({ANA}, lambda: None) as held:
            before = held.conversations[ANA]
        tell(collector, message(3))
        with store.hold({ANA}, lambda: None) as held:
            held.conversations[ANA] = before
        assert tell(collector, message(4)) == [THANKS]
        insist_on_one_review(database)

    def test_a_conversation_that_is_over_is_not_finished_again(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        tell_in_turn(collector, message(1), message(2), message(3))
        with store.hold({ANA}, lambda: None) as held:
            before = held.conversations[ANA]
        tell(collector, message(4))
        with store.hold({ANA}, lambda: None) as held:
            held.conversations[ANA] = before
        assert tell(collector, message(5, "Really lovely."))[0].text.startswith("Hi!")
        assert count(database, Review) == 1
        assert check(database).problems == []


class TestSeveralWorkers:
    @pytest.fixture
    def workers(self, postgres_url: str) -> Iterator[list[Collector]]:
        with ExitStack() as running:
            workers = []
            for _ in range(3):
                database = open_database(postgres_url)
                running.callback(database.close)
                workers.append(Collector(DatabaseStore(database, TTL)))
                running.callback(workers[-1].close)
            yield workers

    def test_two_first_messages_of_a_new_contact_serialise(
        self, workers: list[Collector], postgres_url: str
    ) -> None:
        async def at_once() -> list[Reply]:
            return await asyncio.gather(
                *(
                    worker.reply_to(message(3 * turn + n, "x", f"+{turn}"))
                    for turn in range(10)
                    for n, worker in enumerate(workers)
                )
            )

        replies = asyncio.run(at_once())
        for turn in range(10):
            said = sorted(reply.text for reply in replies[3 * turn : 3 * turn + 3])
            assert [text[:6] for text in said] == ["Hi! Wh", "Okay, ", "Please"]
        assert check(open_database(postgres_url)).problems == []

    def test_one_sid_at_three_workers_is_one_message(
        self, workers: list[Collector], postgres_url: str
    ) -> None:
        async def at_once(number: int) -> set[Reply]:
            replies = (worker.reply_to(message(number)) for worker in workers)
            return set(await asyncio.gather(*replies))

        for number in range(1, 5):
            replies = asyncio.run(at_once(number))
            assert len(replies) == 1
        insist_on_one_review(open_database(postgres_url))

    def test_stuck_contacts_stall_nobody_else(
        self, workers: list[Collector], postgres_url: str
    ) -> None:
        """More of them than a batch has room for, held by a worker that is frozen."""
        elsewhere = DatabaseStore(open_database(postgres_url), TTL)
        stuck_contacts = [f"+{n}" for n in range(WaitingRoom.BATCH)]

        async def past_a_frozen_worker() -> list[Reply]:
            with elsewhere.hold(stuck_contacts, lambda: None):
                crowd = [message(n, "x", contact) for n, contact in enumerate(stuck_contacts)]
                stuck = [asyncio.ensure_future(workers[0].reply_to(each)) for each in crowd]
                await asyncio.sleep(0)
                other = await workers[0].reply_to(message(999, "hi", BEN))
                assert not any(each.done() for each in stuck)
            return [other, *(await asyncio.gather(*stuck))]

        assert {r.text[:3] for r in asyncio.run(past_a_frozen_worker())} == {"Hi!"}

    def test_a_customer_who_writes_without_end_stalls_nobody_else(
        self, workers: list[Collector], postgres_url: str
    ) -> None:
        elsewhere = DatabaseStore(open_database(postgres_url), TTL)

        async def past_the_crowd() -> Reply:
            with elsewhere.hold({ANA}, lambda: None):
                crowd = [message(n, "x") for n in range(WaitingRoom.BATCH + 1)]
                stuck = [asyncio.ensure_future(workers[0].reply_to(each)) for each in crowd]
                await asyncio.sleep(0)
                other = await workers[0].reply_to(message(999, "hi", BEN))
            await asyncio.gather(*stuck)
            return other

        assert asyncio.run(past_the_crowd()).text.startswith("Hi!")


class TestLimits:
    def test_a_full_queue_apologises_at_once(
        self, collector: Collector, store: Interrupted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(WaitingRoom, "MOST_ENTRIES", 1)
        reached, go_on = threading.Event(), threading.Event()

        def stall() -> None:
            reached.set()
            go_on.wait(30)

        store.before_claim = once(stall)

        async def crowd() -> list[Reply]:
            first = asyncio.ensure_future(collector.reply_to(message(1)))
            await asyncio.to_thread(reached.wait)
            refused = await collector.reply_to(message(2, "hi", BEN))
            go_on.set()
            return [await first, refused]

        first, refused = asyncio.run(crowd())
        assert first.text.startswith("Hi!")
        assert refused == Reply(APOLOGY)

    def test_closing_answers_who_waits(self, collector: Collector, database: Database) -> None:
        async def leave() -> list[Reply]:
            waiting = [asyncio.ensure_future(collector.reply_to(message(n))) for n in range(1, 5)]
            await asyncio.sleep(0)
            await asyncio.to_thread(collector.close)
            return [await each for each in waiting]

        assert asyncio.run(leave())[-1] == THANKS
        insist_on_one_review(database)

    def test_it_can_be_started_again(self, collector: Collector) -> None:
        for number in (1, 5):
            collector.start()
            assert collector.is_able()
            assert tell(collector, message(number, contact=f"+{number}"))[0].text.startswith("Hi!")
            collector.close()

    def test_a_writer_that_dies_is_reported_and_believed_no_more(
        self, collector: Collector
    ) -> None:
        died = threading.Event()
        collector.start(on_death=died.set)
        assert collector.is_able()
        collector.take = None  # type: ignore[assignment,method-assign]
        assert isinstance(tell(collector, message(1))[0], TypeError)
        assert died.wait(10)
        assert not collector.is_able()
