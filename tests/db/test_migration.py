"""A database of version 1 becomes one with facts: nothing is lost, and nothing is half done."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.schema import MIGRATIONS
from tests.db.test_schema import new_url
from tests.support.migration_support import (
    ANA,
    ASKED_NAME,
    ASKED_REVIEW,
    BO,
    FINISHED,
    OPENED,
    REVIEW,
    SAID,
    UNKNOWN,
    Version1,
    at,
    facts,
)

__all__ = ["new_url"]


@pytest.fixture
def old(new_url: str) -> Iterator[Version1]:
    """A database of version 1, of both kinds in turn."""
    made = Version1(new_url)
    yield made
    made.database.close()


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_finished_and_an_unfinished_conversation_have_their_facts(
    new_url: str, revision: str
) -> None:
    old = Version1(new_url, revision)
    old.converse("A", ANA, *REVIEW, finished=True)
    old.converse("B", BO, "hi", "Lamp")
    log = old.migrated()
    assert [facts(row) for sid, row in sorted(log.items()) if sid[0] == "A"] == FINISHED
    assert [facts(log[sid]) for sid in ("B", "B-2")] == [OPENED, ASKED_NAME]
    assert {(row.settings_version, json.dumps(row.context)) for row in log.values()} == {(0, "{}")}
    with old.database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
    assert sorted(tables) == ["alembic_version", "messages", "reviews"]
    old.database.close()


def test_words_replies_media_and_times_stay_as_they_were(old: Version1) -> None:
    media = [{"url": "https://api.twilio.com/1?a=b\\c", "type": "image/jpeg"}]
    body = "Größe\t\\N \\. 'x' \"y\"\n👍\u2028"
    columns = {"body": body, "reply": f"{body}!", "media": json.dumps(media)}
    old.log("A", ANA, **columns, received_at=at(0.00001), erased_at=None)
    old.log("B", BO, **columns, received_at=at(1), erased_at=at(2))
    log = old.migrated()
    for row in log.values():
        assert (row.body, row.reply, row.media) == (body, f"{body}!", media)
    assert [row.received_at for row in log.values()] == [at(0.00001), at(1)]
    assert [row.erased_at for row in log.values()] == [None, at(2)]


def test_answers_are_kept_as_they_were_written(old: Version1) -> None:
    old.converse("A", ANA, "hi", "Größe 👍")
    old.migrated()
    with old.database.read() as connection:
        query = sa.text("SELECT CAST(answers AS TEXT) FROM messages WHERE position = 2")
        assert connection.scalar(query) == '{"product": "Größe 👍"}'


def test_what_was_no_answer_was_asked_again(old: Version1) -> None:
    old.converse("A", ANA, *("", " \u2800", "x" * 151, "Lamp", "y" * 151, "Ana", "z" * 8001, ""))
    expected = [OPENED, ("asked_again", "ASK_NAME", {}), ("asked_again", "ASK_NAME", {})]
    expected += [ASKED_NAME, ("asked_again", *ASKED_NAME[1:]), ASKED_REVIEW]
    expected += [("asked_again", *ASKED_REVIEW[1:])] * 2
    assert [facts(row) for _, row in sorted(old.migrated().items())] == expected


def test_of_erased_words_nothing_is_told(old: Version1) -> None:
    old.converse("A", ANA, *REVIEW, finished=True)
    old.execute(
        "UPDATE messages SET body = '', reply = '', erased_at = :received_at",
        {"received_at": at(9)},
    )
    old.converse("B", BO, "hi", "Lamp", "Bo")
    old.execute("UPDATE messages SET body = '', erased_at = received_at WHERE message_sid = 'B-2'")
    log = old.migrated()
    assert {facts(log[sid])[0] for sid in ("A", "A-2", "A-3", "A-4", "B-2")} == {"erased"}
    assert {facts(row)[1:] == UNKNOWN[1:] for row in log.values()} == {True}
    assert [facts(log[sid]) for sid in ("B", "B-3")] == [UNKNOWN, UNKNOWN]


def test_an_erased_contact_keeps_its_turns_and_loses_its_tombstone(old: Version1) -> None:
    name = "forgotten-" + "0" * 64
    for sid, position in (("A", 1), ("A-2", 2), ("end-0123", 3)):
        columns = {"conversation_id": "A", "position": position, "body": "", "erased_at": at(5)}
        old.log(sid, name, **columns, received_at=at(position))
    old.log("END-1", BO)  # a developer's own SID
    log = old.migrated()
    assert {sid: (row.turn, row.outcome) for sid, row in log.items()} == {
        "A": (1, "erased"),
        "A-2": (2, "erased"),
        "END-1": (1, "opened"),
    }


def test_turns_follow_the_conversations_and_their_positions_whatever_clocks_said(
    old: Version1,
) -> None:
    old.converse("C", ANA, "hi", "Lamp", minute=20)
    old.converse("A", ANA, "hi", "Lamp", minute=10)
    old.converse("D", ANA, "hi", minute=20)
    old.converse("B", ANA, "hi", "Lamp", "Ana", minute=5)
    old.execute(
        "UPDATE messages SET received_at = :received_at WHERE message_sid = 'B-2'",
        {"received_at": at(-99)},
    )
    old.execute(
        "UPDATE messages SET received_at = :received_at WHERE message_sid = 'B-3'",
        {"received_at": at(99)},
    )
    old.converse("E", BO, "hi", minute=7)
    log = old.migrated()
    assert log.pop("E").turn == 1
    assert sorted(log, key=lambda sid: log[sid].turn) == [
        *("B", "B-2", "B-3", "A", "A-2", "C", "C-2", "D")
    ]
    assert sorted(row.turn for row in log.values()) == [*range(1, 9)]


def test_what_was_stored_decides_whether_a_review_was_finished(old: Version1) -> None:
    old.converse("A", ANA, "hi", "Lamp", "Fine", finished=True)
    old.converse("B", ANA, *REVIEW, "Hello?", minute=10)
    log = old.migrated()
    assert facts(log["A-3"]) == ("finished", "START", {"product": "Lamp", "review": "Fine"})
    assert facts(log["B-4"]) == facts(log["B-5"]) == ("migrated", *ASKED_REVIEW[1:])


def test_what_version_1_can_not_have_written_is_not_interpreted(old: Version1) -> None:
    old.converse("A", ANA, *REVIEW, "more", finished=True)
    old.execute("UPDATE messages SET finished = (position = 4)")
    old.log("B-2", ANA, conversation_id="B", position=2, body="Lamp")
    old.log("C", ANA, rules=2)
    old.converse("D", ANA, "hi", "Lamp")
    old.log("D-3", BO, conversation_id="D", position=3, body="Bo")
    log = old.migrated()
    assert facts(log["A-4"]) == ("finished", "START", SAID)
    assert {facts(log[sid]) == UNKNOWN for sid in ("A-5", "B-2", "C", "D-3")} == {True}


def test_the_table_conversations_says_where_a_contact_stands_at_the_end(old: Version1) -> None:
    old.converse("A", ANA, "hi", "Lamp")
    old.remember(ANA, "A", 2, "ASK_REVIEW", "Lamp", "left over")
    old.converse("B", BO, "hi", "Lamp", "Bo")
    old.remember(BO, "B", 3, "FINISH", "Lamps", "Bob")
    log = old.migrated()
    assert facts(log["A-2"]) == ASKED_NAME
    assert facts(log["B-3"]) == ("migrated", "FINISH", {"product": "Lamps", "name": "Bob"})
    assert facts(log["B-2"]) == ASKED_NAME


@pytest.mark.parametrize(
    ("conversation_id", "position", "state"),
    [("A", 1, "FINISH"), ("A", 3, "FINISH"), ("B", 1, "FINISH"), ("A", 2, "ASK_RATING")],
)
def test_the_table_conversations_says_nothing_of_another_message_or_state(
    old: Version1, conversation_id: str, position: int, state: str
) -> None:
    old.converse("B", ANA, "hi", minute=-5)
    old.converse("A", ANA, "hi", "Lamp")
    old.remember(ANA, conversation_id, position, state, "Lamps", "Bob")
    log = old.migrated()
    assert [facts(log[sid]) for sid in ("B", "A", "A-2")] == [OPENED, OPENED, ASKED_NAME]


def test_the_table_conversations_says_nothing_of_finished_and_erased_messages(
    old: Version1,
) -> None:
    old.converse("A", ANA, *REVIEW, finished=True)
    old.remember(ANA, "A", 4, "FINISH", "Lamps", "Bob")
    old.log("B", BO, body="", erased_at=at(1))
    old.remember(BO, "B", 1, "ASK_NAME")
    log = old.migrated()
    assert (facts(log["A-4"])[0], facts(log["B"])[0]) == ("finished", "erased")


def test_a_contact_who_is_only_in_the_table_conversations_goes_on(old: Version1) -> None:
    old.remember(ANA, "A", 2, "ASK_REVIEW", "Lamp")
    old.remember(BO, "B", 2, "ASK_RATING", "Lamp")
    old.converse("C", "+1", "hi")
    old.remember("+2", "C", 1, "ASK_NAME")
    log = old.migrated()
    assert sorted(log) == ["C", "migrated-A"]
    row = log["migrated-A"]
    assert (row.contact_number, row.turn, row.conversation_id, row.position) == (ANA, 1, "A", 2)
    assert facts(row) == ("migrated", "ASK_REVIEW", {"product": "Lamp"})
    assert (row.body, row.reply, row.media, row.received_at) == ("", "", [], at(60))


def test_words_that_are_erased_later_are_not_left_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    old = Version1(f"sqlite:///{file}")
    old.converse("A", ANA, "hi", "Lamp", "Ana", "Secret words", finished=True)
    old.migrated()
    old.execute("UPDATE messages SET body = '', answers = '{}'")
    old.database.close()
    assert b"Secret words" not in file.read_bytes()
    assert not file.with_name("old.db-wal").exists()


SOURCES = [*(MIGRATIONS / "versions").glob("*.py")]
SOURCES += [MIGRATIONS / name for name in ("adoption.py", "frozen.py", "version_1.py")]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_a_migration_imports_nothing_that_may_change(file: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    outer = {name.partition(".")[0] for name in names if not name.startswith("db.migrations")}
    assert outer <= {*sys.stdlib_module_names, "sqlalchemy", "alembic"}
