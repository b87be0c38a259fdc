"""G14: a change of rules, wording or questions changes the meaning of nothing that was recorded."""

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from audit import conversation_checks
from audit.check import check
from conversation import state_machine
from conversation.model import Answers, Message, Outcome, State
from conversation.wording import APOLOGY, GREETING, QUESTIONS
from db.engine import Database
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from storage.end_cache import NoCache
from tests.ingest.conftest import TTL, tell_in_turn
from tests.support.replaying import differences

CONTACTS = [f"+1555000000{number}" for number in range(5)]
TEXTS = ("Hi", "Zanzibar lamp", "Wilhelmina", "Xylophones!")


@pytest.fixture
def sids() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def say(database: Database, sids: Iterator[int]) -> "Say":
    return Say(database, sids)


class Say:
    """Takes texts of a contact by the rules that are in force; returns the last reply."""

    def __init__(self, database: Database, sids: Iterator[int]) -> None:
        self._database, self._sids = database, sids

    def __call__(self, contact: str, *texts: str) -> str:
        writer = MessageWriter(self._database, NoCache(), TTL)
        said = (Message(f"SM{next(self._sids)}", contact, text) for text in texts)
        reply: str = tell_in_turn(writer, *said)[-1].text
        writer.close()
        assert reply != APOLOGY
        return reply


def change_the_rules(patch: pytest.MonkeyPatch) -> None:
    """Add a fifth question and a command, and word the old questions anew."""
    stars, cancelled = "ASK_STARS", "cancelled"

    def hear_name(answers: Answers, text: str) -> state_machine._Step:
        return state_machine._Step(
            Outcome.ANSWERED, stars, {**answers, "name": text}, "How many stars, 1 to 5?"
        )

    def hear_stars(answers: Answers, text: str) -> state_machine._Step:
        return state_machine._Step(
            Outcome.ANSWERED, State.FINISH, {**answers, "stars": text}, "And your review?"
        )

    answer = state_machine._answer

    def answer_or_cancel(state: str, answers: Answers, text: str) -> state_machine._Step:
        if text == "cancel":
            return state_machine._Step(cancelled, State.START, answers, "Nothing was recorded.")
        return answer(state, answers, text)

    patch.setitem(state_machine._STEPS, State.ASK_REVIEW, hear_name)
    patch.setitem(state_machine._STEPS, stars, hear_stars)
    patch.setitem(state_machine.MAX_CHARACTERS, stars, 150)
    patch.setitem(state_machine.MAX_CHARACTERS, State.ASK_NAME, 10)
    patch.setitem(QUESTIONS, stars, "How many stars, 1 to 5?")
    patch.setattr(state_machine, "_answer", answer_or_cancel)
    patch.setattr(state_machine, "GREETING", "Welcome! What did you buy?")
    patch.setattr(state_machine, "GOT_REVIEW", "Thank you, {name}.")
    known = conversation_checks._KNOWN | {cancelled}
    patch.setattr(conversation_checks, "_KNOWN", known)


def test_old_facts_stay_true_and_new_ones_are_right_when_the_rules_change(
    database: Database, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(CONTACTS[0], *TEXTS)
    for contact, count in zip(CONTACTS[1:4], (1, 2, 3), strict=True):
        say(contact, *TEXTS[:count], "")
    assert [*differences(database, TTL)] == []

    change_the_rules(monkeypatch)
    assert check(database, kept_for=TTL).problems == []
    assert [*differences(database, TTL)] != []  # a replay would call correct old reviews wrong

    # Who was in the middle goes on by the new rules, with what they have said so far.
    assert say(CONTACTS[1], "cancel") == "Nothing was recorded."
    assert say(CONTACTS[2], "Wilhelmina") == "How many stars, 1 to 5?"
    assert say(CONTACTS[2], "5", "Lovely.") == "Thank you, Wilhelmina."
    assert say(CONTACTS[3], "Xylophones!") == "Thank you, Wilhelmina."
    assert say(CONTACTS[4], "Hi", "Lamp", "Ana", "", "4", "Bright.") == "Thank you, Ana."
    assert say(CONTACTS[1], "Hi") == "Welcome! What did you buy?"

    assert check(database, kept_for=TTL).problems == []
    with database.read() as connection:
        names = connection.scalars(sa.select(Review.user_name).order_by(Review.id)).all()
        stars = connection.scalars(
            sa.select(LoggedMessage.answers).where(LoggedMessage.outcome == Outcome.FINISHED)
        ).all()
    assert names == ["Wilhelmina", "Wilhelmina", "Wilhelmina", "Ana"]
    assert sorted(answers.get("stars", "") for answers in stars) == ["", "", "4", "5"]


def test_an_older_program_greets_whom_a_newer_one_asked_a_question_it_does_not_know(
    database: Database, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        change_the_rules(newer)
        say(CONTACTS[0], "Hi", "Lamp", "Ana")
    assert say(CONTACTS[0], "5") == GREETING
    assert check(database).problems == []
