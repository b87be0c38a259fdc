"""The conversation, by its own table and by every branch."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from conversation import state_machine, wording
from conversation.model import Answers, LogEnd, Message, Outcome, Situation, State, Turn
from conversation.state_machine import replay, take_turn
from conversation.wording import GOT_REVIEW, GREETING, NOT_TEXT, TOO_LONG
from core.text import is_blank

QUESTIONS = {state: asked.format(product="iPhone 15") for state, asked in wording.QUESTIONS.items()}
SO_FAR: dict[str, Answers] = {
    State.ASK_NAME: {},
    State.ASK_REVIEW: {"product": "iPhone 15"},
    State.FINISH: {"product": "iPhone 15", "name": "Sarah"},
}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TTL = timedelta(hours=24)


def at(state: str, received_at: datetime = NOW, *, is_erased: bool = False) -> Situation:
    """Make the situation of a contact whose fifth message led to this state."""
    answers = SO_FAR.get(state, {})
    end = LogEnd("SM5", 5, "SM3", 3, state, answers, received_at, is_erased)
    return Situation(NOW, TTL, end)


def message(text: str, sid: str = "SM9") -> Message:
    return Message(sid, "+15551234567", text)


def table() -> list[tuple[str, str, str]]:
    """Read state, reply and next state from the docstring's table."""
    rows = re.findall(
        r"^    (\w+) +\| [^|]+\| ([^|]+?) *\| *(\w+)$", state_machine.__doc__ or "", re.M
    )
    return [row for row in rows if row[0] != "state"]


def test_the_table_in_the_docstring_is_what_happens() -> None:
    rows = table()
    assert [state for state, _, _ in rows] == list(State)
    turns = replay(map(message, ["hello", "iPhone 15", "Sarah", "Lovely."]))
    for (_, reply, then), turn in zip(rows, turns, strict=True):
        assert turn.reply == reply.replace("{product}", "iPhone 15").replace("{name}", "Sarah")
        assert turn.state == then


def test_a_finished_conversation_makes_one_review_of_what_was_typed() -> None:
    texts = ["hi", "  Sofa cover {product} %s", "O'Brien", "Nice\nbut *small*"]
    turns = replay(message(text, f"SM{n}") for n, text in enumerate(texts))
    assert [turn.is_finished for turn in turns] == [False, False, False, True]
    assert turns[-1].answers == {"product": texts[1], "name": texts[2], "review": texts[3]}
    assert [turn.number for turn in turns] == [turn.position for turn in turns] == [1, 2, 3, 4]
    assert {turn.conversation_id for turn in turns} == {"SM0"}
    assert turns[-1].reply == GOT_REVIEW.format(name="O'Brien", product=texts[1])


@pytest.mark.parametrize("state", SO_FAR)
@pytest.mark.parametrize(
    "nothing",
    ["", " ", "\n\t ", "\u200b\u200d\ufeff", "\u2800", "\u3164\u115f\u1160\uffa0", "\u202e\x85"],
)
def test_a_message_without_text_keeps_the_state_and_is_asked_for_again(
    state: State, nothing: str
) -> None:
    reply = f"{NOT_TEXT} {QUESTIONS[state]}"
    turn = take_turn(at(state), message(nothing))
    assert turn == Turn(6, "SM3", 4, Outcome.ASKED_AGAIN, state, SO_FAR[state], reply)


@pytest.mark.parametrize(("state", "limit"), state_machine.MAX_CHARACTERS.items())
def test_a_text_over_the_limit_is_asked_for_again(state: State, limit: int) -> None:
    turn = take_turn(at(state), message("😊" * (limit + 1)))
    assert turn.reply == f"{TOO_LONG.format(limit=limit)} {QUESTIONS[state]}"
    assert (turn.outcome, turn.state, turn.answers) == ("asked_again", state, SO_FAR[state])
    assert take_turn(at(state), message("😊" * limit)).state != state


def test_the_limits_are_150_150_and_8000() -> None:
    assert list(state_machine.MAX_CHARACTERS.values()) == [150, 150, 8000]


OPENED = Turn(6, "SM9", 1, Outcome.OPENED, State.ASK_NAME, {}, GREETING)


@pytest.mark.parametrize("text", ["", "a photo's caption", "x" * 9000])
def test_anything_opens_a_conversation(text: str) -> None:
    assert take_turn(Situation(NOW, TTL), message(text)) == replace(OPENED, number=1)
    assert take_turn(at(State.START), message(text)) == OPENED


@pytest.mark.parametrize(
    "situation",
    [
        at(State.ASK_NAME, NOW - TTL - timedelta(microseconds=1)),
        at(State.ASK_NAME, NOW + timedelta(days=1, microseconds=1)),
        at(State.ASK_NAME, is_erased=True),
        at("ASK_STARS"),
    ],
    ids=["idle", "dated ahead by a wrong clock", "erased", "in a state of a newer program"],
)
def test_what_is_over_is_followed_by_a_new_conversation(situation: Situation) -> None:
    assert take_turn(situation, message("iPhone 15")) == OPENED


@pytest.mark.parametrize("received_at", [NOW - TTL, NOW + timedelta(days=1)])
def test_what_is_not_idle_goes_on(received_at: datetime) -> None:
    turn = take_turn(at(State.ASK_NAME, received_at), message("iPhone 15"))
    assert (turn.outcome, turn.conversation_id, turn.position) == ("answered", "SM3", 4)


def test_every_reply_fits_1600_bytes_whatever_is_echoed() -> None:
    widest = "\U0010ffff" * 150
    turns = replay(message(text) for text in ["hi", widest, widest, "x" * 8001, "", "fine"])
    assert turns[-1].is_finished
    assert max(len(turn.reply.encode()) for turn in turns) < 1600


def test_visible_text_in_any_script_is_text() -> None:
    for text in ["a", "👍", "שלום", "日本", "\u200bx", "·", "‏1", "नेहा"]:
        assert not is_blank(text), text
