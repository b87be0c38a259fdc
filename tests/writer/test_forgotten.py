"""Nothing of a forgotten customer comes back: stores behind the log, outages, several workers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest

import forgetting
import message_log
from checker import check
from collector import Collector
from conversation import APOLOGY, GREETING, Conversation
from database import OUTAGES, Away, Database, open_database
from entry import Reply
from forgetting import forget_contact
from redis_client import RedisClient
from stores import DatabaseStore, MemoryStore, Store, open_store
from tests.databases import Valkey
from tests.traces import everything, traces
from tests.writer.conftest import (
    ANA,
    BEN,
    TEXTS,
    THANKS,
    TTL,
    Interrupted,
    fail,
    message,
    once,
    tell,
    tell_in_turn,
)

HELLO = Reply(GREETING)
SILENCE = Reply("")


@pytest.fixture(params=["memory", "redis", "database"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every store; test_forgetting.py has two of them on the other database."""
    return str(request.param)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, kind: str) -> str:
    url: str = request.getfixturevalue("postgres_url" if kind == "database" else "sqlite_url")
    return url


@pytest.fixture
def store(
    kind: str, database: Database, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> Interrupted:
    return Interrupted(open_store(kind, database, TTL, valkey.url), database, monkeypatch)


def where(store: Store, contact: str) -> Conversation | None:
    """Ask a store where a contact stands."""
    with store.hold({contact}, lambda: None) as held:
        return held.conversations[contact]


def insist_on_a_new_beginning(collector: Collector, database: Database) -> None:
    """Have the forgotten Ana write a review, which must be all that is known of her."""
    said = enumerate(("Hello again", "Sofa", "Ana", "Soft."), 101)
    replies = tell_in_turn(collector, *(message(number, text) for number, text in said))
    assert replies[0] == HELLO
    assert replies[3].text == "Thanks Ana -- your review for Sofa has been recorded."
    assert traces(database, *TEXTS[1:]) == []
    assert check(database).problems == []


def test_a_store_that_is_behind_the_log_is_not_gone_on_with(
    collector: Collector, store: Interrupted, database: Database
) -> None:
    """A Redis restored from before, or a server's memory while another process forgets."""
    behind: dict[str, Conversation | None] = {}
    for said in (1, 3):
        for since in (0, 1, 4):
            contact, first = f"+1555{said}{since}", 100 * said + 10 * since
            talk = [message(first + n, [*TEXTS, *TEXTS][n], contact) for n in range(said + since)]
            tell_in_turn(collector, *talk[:said])
            behind[contact] = where(store, contact)
            tell_in_turn(collector, *talk[said:])
            assert forget_contact(DatabaseStore(database, TTL), contact, "") is not None
    with store.hold(set(behind), lambda: None) as held:
        held.conversations.update(behind)
    for number, contact in enumerate(behind, 1000):
        assert tell(collector, message(number, "Hello again", contact)) == [HELLO]
    assert traces(database, *TEXTS[1:]) == []
    assert check(database).problems == []


def test_an_unfinished_conversation_that_another_store_left_goes_too(
    database: Database, collector: Collector
) -> None:
    earlier = Collector(DatabaseStore(database, TTL))
    tell_in_turn(earlier, message(1), message(2))
    earlier.close()
    assert forget_contact(collector._store, ANA, "") is not None
    assert where(DatabaseStore(database, TTL), ANA) is None
    insist_on_a_new_beginning(collector, database)


class TestAnOutageAmidAForgetting:
    def test_all_is_forgotten_or_nothing(
        self, collector: Collector, store: Interrupted, database: Database
    ) -> None:
        tell_in_turn(collector, *map(message, (1, 2, 3)))
        before = everything(database)
        store.before_commit = once(fail)
        with pytest.raises(OUTAGES):
            forget_contact(store, ANA, "")
        assert everything(database) == before
        assert tell(collector, message(4)) == [THANKS]
        tell_in_turn(collector, *map(message, (5, 6, 7)))
        # Now the answer is lost: what the memory and Redis still know is not gone on with.
        store.after_commit = once(fail)
        with pytest.raises(OUTAGES):
            forget_contact(store, ANA, "")
        assert traces(database, ANA, *TEXTS[1:]) == []
        insist_on_a_new_beginning(collector, database)

    @pytest.mark.parametrize("committed", [True, False])
    def test_a_message_whose_fate_is_unknown_meanwhile_brings_nothing_back(
        self,
        collector: Collector,
        store: Interrupted,
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
        committed: bool,
    ) -> None:
        tell_in_turn(collector, *map(message, (1, 2, 3)))
        if committed:
            store.after_commit = once(fail)
        else:
            store.before_commit = once(fail)
        wait, forgotten = collector._room.wait_closed, list[Any]()

        def wait_for_the_next_try(seconds: float) -> bool:
            if not forgotten:
                forgotten.append(forget_contact(store, ANA, ""))
            return wait(seconds)

        monkeypatch.setattr(collector._room, "wait_closed", wait_for_the_next_try)
        assert tell(collector, message(4)) == [SILENCE if committed else HELLO]
        assert traces(database, *TEXTS[1:3]) == []
        assert check(database).problems == []

    def test_redis_may_be_away_while_a_customer_is_forgotten(
        self, sqlite_url: str, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(RedisClient, "ANSWER_SECONDS", 0.05)
        monkeypatch.setattr(RedisClient, "LEFT_ALONE_SECONDS", 0.0)
        database = open_database(sqlite_url)
        store = open_store("redis", database, TTL, valkey.url)
        collector = Collector(store)
        tell_in_turn(collector, *map(message, (1, 2, 3)))
        valkey.freeze()
        assert forget_contact(store, ANA, "") is not None
        valkey.thaw()
        insist_on_a_new_beginning(collector, database)
        collector.close()
        database.close()


Opened = Callable[[], Store]


@pytest.fixture(params=["redis", "database"])
def another_worker(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Opened]:
    """Open the store of one worker after another, on one PostgreSQL."""
    url = request.getfixturevalue("valkey").url if request.param == "redis" else None
    with ExitStack() as opened:

        def open_one() -> Store:
            database = open_database(postgres_url)
            opened.callback(database.close)
            store = open_store(request.param, database, TTL, url)
            opened.callback(store.close)
            return store

        yield open_one


class TestSeveralWorkers:
    def test_who_is_being_answered_is_forgotten_after_that(
        self, another_worker: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answering, ours = another_worker(), another_worker()
        for contact in (ANA, BEN):
            collector = Collector(ours)
            tell(collector, message(int(contact[-2:]), contact=contact))
            collector.close()
        with ExitStack() as held:
            held.enter_context(answering.hold({ANA}, lambda: None))
            assert forget_contact(ours, BEN, "") is not None
            monkeypatch.setattr(forgetting, "PATIENCE_SECONDS", 0.1)
            with pytest.raises(Away, match="is being answered"):
                forget_contact(ours, ANA, "")
            monkeypatch.undo()
            monkeypatch.setattr("forgetting.time.sleep", lambda _seconds: held.close())
            assert forget_contact(ours, ANA, "") is not None

    def test_one_forgets_while_another_answers(
        self, another_worker: Opened, postgres_url: str
    ) -> None:
        ours, collector, written = another_worker(), Collector(another_worker()), Event()

        def forget_all() -> None:
            while not written.is_set():
                forget_contact(ours, ANA, "")

        with ThreadPoolExecutor(1) as owner:
            forgettings = owner.submit(forget_all)
            try:
                replies = tell_in_turn(collector, *map(message, range(1, 13)))
            finally:
                written.set()
            forgettings.result()  # raises what went wrong there
        assert not [reply for reply in replies if not isinstance(reply, Reply)]
        assert Reply(APOLOGY) not in replies
        collector.close()
        database = open_database(postgres_url)
        assert check(database).problems == []
        forget_contact(ours, ANA, "")
        assert traces(database, ANA, *TEXTS[1:]) == []
        database.close()


def test_who_writes_amid_their_forgetting_is_forgotten_with_what_they_wrote(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory store's process does not see another's hold; the log has one of them wait."""
    database = open_database(postgres_url)
    collector = Collector(MemoryStore(database, TTL))
    tell_in_turn(collector, message(1), message(2))
    append, written = message_log.append, list[str]()

    def append_late(*arguments: Any) -> None:
        if not written:
            written.append("Sarah")
            tell(collector, message(3))
        append(*arguments)

    monkeypatch.setattr(message_log, "append", append_late)
    assert forget_contact(DatabaseStore(database, TTL), ANA, "") is not None
    assert traces(database, ANA, *TEXTS[1:]) == []
    insist_on_a_new_beginning(collector, database)
    collector.close()
    database.close()
