"""Nothing of an erased customer comes back: caches behind the log, outages, several workers."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from audit.check import check
from conversation.model import LogEnd
from conversation.wording import APOLOGY, GOT_REVIEW, GREETING
from core.pseudonym import pseudonym
from db.engine import Database, open_database
from db.errors import TRANSIENT_ERRORS
from ingest.pending import Reply
from models import LoggedMessage
from privacy.erasure import erase_contact
from storage import batch, contact_state
from tests.ingest.conftest import (
    ANA,
    TEXTS,
    THANKS,
    Interrupted,
    fail,
    message,
    once,
    tell,
    tell_in_turn,
)
from tests.support.traces import everything, traces

HELLO = Reply(GREETING)
SILENCE = Reply("")


def require_a_new_beginning(writer: Interrupted, database: Database) -> None:
    """Have the erased Ana write a review, which must be all that is known of her."""
    said = enumerate(("Hello again", "Sofa", "Ana", "Soft."), 101)
    replies = tell_in_turn(writer, *(message(number, text) for number, text in said))
    assert replies[0] == HELLO
    assert replies[3].text == GOT_REVIEW.format(name="Ana", product="Sofa")
    assert traces(database, *TEXTS[1:]) == []
    assert check(database).problems == []


def test_a_cache_that_is_behind_the_log_is_not_continued(
    writer: Interrupted, database: Database
) -> None:
    """A Redis restored from before, or a server's memory while another process erases."""
    behind: dict[str, LogEnd] = {}
    for said in (1, 3):
        for since in (0, 1, 4):
            contact, first = f"+1555{said}{since}", 100 * said + 10 * since
            talk = [message(first + n, [*TEXTS, *TEXTS][n], contact) for n in range(said + since)]
            tell_in_turn(writer, *talk[:said])
            with database.read() as connection:
                behind |= batch.read(connection, contacts=[contact]).ends
            tell_in_turn(writer, *talk[said:])
            assert erase_contact(database, contact, "") is not None
    writer._cache.put(behind)
    for number, contact in enumerate(behind, 1000):
        assert tell(writer, message(number, "Hello again", contact)) == [HELLO]
    assert traces(database, *TEXTS[1:]) == []
    assert check(database).problems == []


class TestAnOutageDuringAnErasure:
    def test_all_is_erased_or_nothing(self, writer: Interrupted, database: Database) -> None:
        tell_in_turn(writer, *map(message, (1, 2, 3)))
        before = everything(database)
        writer.before_commit = once(fail)
        with pytest.raises(TRANSIENT_ERRORS):
            erase_contact(database, ANA, "")
        assert everything(database) == before
        assert tell(writer, message(4)) == [THANKS]
        tell_in_turn(writer, *map(message, (5, 6, 7)))
        # Now the answer is lost: what the memory and Redis still know is not gone on with.
        writer.after_commit = once(fail)
        with pytest.raises(TRANSIENT_ERRORS):
            erase_contact(database, ANA, "")
        assert traces(database, ANA, *TEXTS[1:]) == []
        require_a_new_beginning(writer, database)

    @pytest.mark.parametrize("committed", [True, False])
    def test_a_message_in_doubt_meanwhile_brings_nothing_back(
        self,
        writer: Interrupted,
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
        committed: bool,
    ) -> None:
        tell_in_turn(writer, *map(message, (1, 2, 3)))
        if committed:
            writer.after_commit = once(fail)
        else:
            writer.before_commit = once(fail)
        wait, erased = writer._queue.wait_closed, list[Any]()

        def wait_for_the_next_try(seconds: float) -> bool:
            if not erased:
                erased.append(erase_contact(database, ANA, ""))
            return wait(seconds)

        monkeypatch.setattr(writer._queue, "wait_closed", wait_for_the_next_try)
        assert tell(writer, message(4)) == [SILENCE if committed else HELLO]
        assert traces(database, *TEXTS[1:3]) == []
        assert check(database).problems == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_worker_erases_while_another_answers(
    writer: Interrupted, database: Database, database_url: str
) -> None:
    elsewhere, written = open_database(database_url), Event()

    def erase_all() -> None:
        while not written.is_set():
            erase_contact(elsewhere, ANA, "")

    with ThreadPoolExecutor(1) as owner:
        erasures = owner.submit(erase_all)
        try:
            replies = tell_in_turn(writer, *map(message, range(1, 13)))
        finally:
            written.set()
        erasures.result()  # raises what went wrong there
    assert not [reply for reply in replies if not isinstance(reply, Reply)]
    assert Reply(APOLOGY) not in replies
    assert check(database).problems == []
    erase_contact(elsewhere, ANA, "")
    assert traces(database, ANA, *TEXTS[1:]) == []
    elsewhere.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_erased_right_before_the_lock_is_not_continued(
    writer: Interrupted,
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tell_in_turn(writer, *map(message, (1, 2, 3)))
    elsewhere, try_lock = open_database(database_url), contact_state.try_lock
    erase_once = once(lambda: erase_contact(elsewhere, ANA, ""))

    def lock_late(connection: sa.Connection, contacts: Collection[str]) -> Collection[str]:
        erase_once()
        return try_lock(connection, contacts)

    monkeypatch.setattr(contact_state, "try_lock", lock_late)
    assert tell(writer, message(4)) == [HELLO]
    assert traces(database, *TEXTS[1:3]) == []
    assert check(database).problems == []
    elsewhere.close()


def test_the_turns_of_a_pseudonym_go_on_after_each_erasure(
    writer: Interrupted, database: Database
) -> None:
    for number in range(3):
        tell_in_turn(writer, *(message(10 * number + n) for n in range(1, 4)))
        assert erase_contact(database, ANA, "") is not None
    with database.read() as connection:
        rows = connection.execute(sa.select(LoggedMessage).order_by(LoggedMessage.turn)).all()
    assert [row.turn for row in rows] == [*range(1, 10)]
    assert {row.contact_number for row in rows} == {pseudonym(ANA, "")}
    assert [row.position for row in rows] == [1, 2, 3] * 3
    require_a_new_beginning(writer, database)
