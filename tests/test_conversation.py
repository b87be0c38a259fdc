"""The conversation, by its own table and by every branch."""

import re
from dataclasses import replace

import pytest

import conversation
from conversation import Conversation, Message, State, is_blank, replay, take_turn

QUESTIONS = {
    State.ASK_NAME: "Which product is this review for?",
    State.ASK_REVIEW: "What's your name?",
    State.FINISH: "Please send your review for iPhone 15.",
}
AT = {
    State.ASK_NAME: Conversation("SM1", State.ASK_NAME, position=1),
    State.ASK_REVIEW: Conversation("SM1", State.ASK_REVIEW, "iPhone 15", position=2),
    State.FINISH: Conversation("SM1", State.FINISH, "iPhone 15", "Sarah", position=3),
}


def message(text: str, sid: str = "SM9") -> Message:
    return Message(sid, "+15551234567", text)


def table() -> list[tuple[str, str, str]]:
    """Read state, reply and next state from the docstring's table."""
    rows = re.findall(
        r"^    (\w+) +\| [^|]+\| ([^|]+?) *\| *(\w+)$", conversation.__doc__ or "", re.M
    )
    return [row for row in rows if row[0] != "state"]


def test_the_table_in_the_docstring_is_what_happens() -> None:
    rows = table()
    assert [state for state, _, _ in rows] == list(State)
    under_way = None
    for (state, reply, then), heard in zip(
        rows, ["hello", "iPhone 15", "Sarah", "Lovely."], strict=True
    ):
        assert (under_way.state if under_way else State.START) == state
        turn = take_turn(under_way, message(heard))
        assert turn.reply == reply.replace("{product}", "iPhone 15").replace("{name}", "Sarah")
        assert turn.conversation.state == then
        under_way = turn.conversation


def test_a_finished_conversation_makes_one_review_of_what_was_typed() -> None:
    texts = ["hi", "  Sofa cover {product} %s", "O'Brien", "Nice\nbut *small*"]
    turns = replay(message(text, f"SM{n}") for n, text in enumerate(texts))
    assert [turn.review for turn in turns[:-1]] == [None] * 3
    assert turns[-1].review == conversation.FinishedReview(texts[2], texts[1], texts[3])
    assert [turn.conversation.position for turn in turns] == [1, 2, 3, 4]
    assert {turn.conversation.id for turn in turns} == {"SM0"}
    assert turns[-1].reply.startswith("Thanks O'Brien -- your review for   Sofa cover {product} %s")


@pytest.mark.parametrize("state", AT)
@pytest.mark.parametrize(
    "nothing",
    ["", " ", "\n\t ", "\u200b\u200d\ufeff", "\u2800", "\u3164\u115f\u1160\uffa0", "\u202e\x85"],
)
def test_a_message_without_text_keeps_the_state_and_is_asked_for_again(
    state: State, nothing: str
) -> None:
    turn = take_turn(AT[state], message(nothing))
    assert turn.reply == f"Sorry, I can only read text. {QUESTIONS[state]}"
    assert turn.conversation == replace(AT[state], position=AT[state].position + 1)
    assert turn.review is None


@pytest.mark.parametrize(("state", "limit"), conversation.MOST_CHARACTERS.items())
def test_a_text_over_the_limit_is_asked_for_again(state: State, limit: int) -> None:
    turn = take_turn(AT[state], message("😊" * (limit + 1)))
    assert turn.reply == f"Sorry, that is longer than {limit:,} characters. {QUESTIONS[state]}"
    assert turn.conversation.state is state
    assert take_turn(AT[state], message("😊" * limit)).conversation.state is not state


def test_the_limits_are_150_150_and_8000() -> None:
    assert list(conversation.MOST_CHARACTERS.values()) == [150, 150, 8000]
    assert conversation.TOO_LONG.format(limit=8000).endswith("longer than 8,000 characters.")


@pytest.mark.parametrize("text", ["", "a photo's caption", "x" * 9000])
def test_anything_opens_a_conversation(text: str) -> None:
    turn = take_turn(None, message(text, "SM7"))
    assert turn.conversation == Conversation("SM7", State.ASK_NAME, position=1)
    assert turn.reply == "Hi! Which product is this review for?"


def test_a_finished_conversation_is_followed_by_a_new_one() -> None:
    finished = take_turn(AT[State.FINISH], message("Lovely.")).conversation
    assert finished.state is State.START
    assert take_turn(finished, message("hi", "SM8")).conversation.id == "SM8"


def test_every_reply_fits_1600_bytes_whatever_is_echoed() -> None:
    widest = "\U0010ffff" * 150
    turns = replay(message(text) for text in ["hi", widest, widest, "x" * 8001, "", "fine"])
    assert turns[-1].review is not None
    assert max(len(turn.reply.encode()) for turn in turns) < 1600


def test_visible_text_in_any_script_is_text() -> None:
    for text in ["a", "👍", "שלום", "日本", "\u200bx", "·", "‏1", "नेहा"]:
        assert not is_blank(text), text
