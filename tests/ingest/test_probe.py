"""The probe: an idle writer proves that it can write, and says so to nobody but is_able."""

import threading
from collections.abc import Iterator

import pytest

from db.engine import Database
from ingest.timing import Timing
from models import LoggedMessage
from storage.end_cache import NoCache
from tests.ingest.conftest import Interrupted, count, fail, message, tell
from tests.support.servers import wait_until


@pytest.fixture
def idle(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupted]:
    """A writer that probes as soon as it is idle."""
    timing = Timing(slow_probe_seconds=1.0)
    writer = Interrupted(database, NoCache(), monkeypatch, timing=timing, probe_seconds=0.02)
    writer.start()
    yield writer
    writer.before_commit = lambda: None
    writer.close()


def test_an_idle_writer_notices_an_outage_and_its_end(
    idle: Interrupted, database: Database
) -> None:
    assert idle.is_able()
    idle.before_commit = fail
    wait_until(lambda: not idle.is_able())
    idle.before_commit = lambda: None
    wait_until(idle.is_able)
    assert count(database, LoggedMessage) == 0


def test_a_probe_that_gets_no_answer_is_an_outage(idle: Interrupted) -> None:
    go_on = threading.Event()

    def freeze() -> None:
        go_on.wait(30)

    idle.before_commit = freeze
    wait_until(lambda: not idle.is_able())
    go_on.set()
    wait_until(idle.is_able)


def test_a_message_is_taken_between_probes(idle: Interrupted, database: Database) -> None:
    assert tell(idle, message(1))[0].text.startswith("Hi!")
    assert count(database, LoggedMessage) == 1


def test_messages_that_cannot_be_recorded_are_no_proof(
    idle: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_oddly(*_arguments: object) -> bool:
        return False

    monkeypatch.setattr(idle._group_commit, "take", fail_oddly)
    wait_until(lambda: not idle.is_able())
    monkeypatch.undo()


def test_duplicates_prove_nothing_so_a_probe_follows_them_during_an_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Interrupted(database, NoCache(), monkeypatch)
    tell(writer, message(1))
    commits: list[str] = []

    def note_outage() -> None:
        if not commits:
            writer._outage.note_failure("read-only")
        commits.append("COMMIT")

    writer.before_commit = note_outage
    tell(writer, message(1))
    wait_until(lambda: len(commits) == 2)  # of the batch, which only read, and of the probe
    writer.close()
