"""What the bot does next: no clock, no storage, no HTTP. Its sentences are in conversation.wording.

    state      | just sent  | we reply                                                      | then
    -----------|------------|---------------------------------------------------------------|-----------
    START      | anything   | Hi! Which product is this review for?                         | ASK_NAME
    ASK_NAME   | product    | Okay, got it. What's your name?                               | ASK_REVIEW
    ASK_REVIEW | their name | Please send your review for {product}.                        | FINISH
    FINISH     | review     | Thanks {name} -- your review for {product} has been recorded. | START

A state says what we do when the next message arrives. A message without text, or with too much of
it, keeps the state and is asked for again. A conversation that is idle for too long is over.
"""  # noqa: E501 - a table is read as a table, and a test plays it

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from conversation.model import Answers, LogEnd, Message, Outcome, Situation, State, Turn
from conversation.wording import (
    GOT_NAME,
    GOT_PRODUCT,
    GOT_REVIEW,
    GREETING,
    NOT_TEXT,
    QUESTIONS,
    TOO_LONG,
)
from core.text import is_blank

MAX_CHARACTERS: dict[str, int] = {State.ASK_NAME: 150, State.ASK_REVIEW: 150, State.FINISH: 8_000}
"""Code points that an answer may have. Two echoes of 150 fit Twilio's 1,600 bytes in any script."""

MAX_AHEAD = timedelta(days=1)
"""A last message dated further ahead of now was dated by a wrong clock: it counts as idle."""


class _Step(NamedTuple):
    """What a message does, wherever in the log that is."""

    outcome: str
    state: str
    answers: Answers
    reply: str


def take_turn(situation: Situation, message: Message) -> Turn:
    """Answer a message."""
    end = situation.end
    number = end.turn + 1 if end else 1
    if end is None or not is_under_way(end, situation.now, situation.idle_after):
        return Turn(number, message.sid, 1, *_greet())
    step = _answer(end.state, end.answers, message.text)
    return Turn(number, end.conversation_id, end.position + 1, *step)


def is_under_way(end: LogEnd, now: datetime, idle_after: timedelta) -> bool:
    """Say whether a conversation goes on: not finished, not erased and not idle.

    A state that this program does not know (a newer one wrote it) is over.
    """
    is_idle = not now - idle_after <= end.received_at <= now + MAX_AHEAD
    return end.state in _STEPS and not end.is_erased and not is_idle


def _answer(state: str, answers: Answers, text: str) -> _Step:
    if is_blank(text):
        return _ask_again(state, answers, NOT_TEXT)
    limit = MAX_CHARACTERS[state]
    if len(text) > limit:
        return _ask_again(state, answers, TOO_LONG.format(limit=limit))
    return _STEPS[state](answers, text)


def _greet() -> _Step:
    return _Step(Outcome.OPENED, State.ASK_NAME, {}, GREETING)


def _hear_product(answers: Answers, text: str) -> _Step:
    answers = {**answers, "product": text}
    return _Step(Outcome.ANSWERED, State.ASK_REVIEW, answers, GOT_PRODUCT)


def _hear_name(answers: Answers, text: str) -> _Step:
    answers = {**answers, "name": text}
    return _Step(Outcome.ANSWERED, State.FINISH, answers, GOT_NAME.format(**answers))


def _hear_review(answers: Answers, text: str) -> _Step:
    answers = {**answers, "review": text}
    return _Step(Outcome.FINISHED, State.START, answers, GOT_REVIEW.format(**answers))


def _ask_again(state: str, answers: Answers, trouble: str) -> _Step:
    question = QUESTIONS[state].format(**answers)
    return _Step(Outcome.ASKED_AGAIN, state, answers, f"{trouble} {question}")


_STEPS: dict[str, Callable[[Answers, str], _Step]] = {
    State.ASK_NAME: _hear_product,
    State.ASK_REVIEW: _hear_name,
    State.FINISH: _hear_review,
}


def replay(messages: Iterable[Message]) -> list[Turn]:
    """Take the turns of one new contact's messages, all at one moment, by today's rules."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    turns: list[Turn] = []
    end = None
    for message in messages:
        turns.append(take_turn(Situation(now, timedelta(hours=1), end), message))
        end = turns[-1].log_end(message, now)
    return turns
