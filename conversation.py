"""What the bot says next: no clock, no storage, no HTTP. Every sentence it can say is here.

    state      | just sent  | we reply                                                      | then
    -----------|------------|---------------------------------------------------------------|-----------
    START      | anything   | Hi! Which product is this review for?                         | ASK_NAME
    ASK_NAME   | product    | Okay, got it. What's your name?                               | ASK_REVIEW
    ASK_REVIEW | their name | Please send your review for {product}.                        | FINISH
    FINISH     | review     | Thanks {name} -- your review for {product} has been recorded. | START

A state says what we do when the next message arrives. A message without text, or with too much of
it, keeps the state and is asked for again. A conversation that is idle for too long is over.
"""  # noqa: E501 - a table is read as a table, and a test plays it

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from core.text import is_blank

Answers = Mapping[str, str]
"""What a customer has said so far, by question: product, name, review."""


class State(StrEnum):
    START = "START"
    ASK_NAME = "ASK_NAME"
    ASK_REVIEW = "ASK_REVIEW"
    FINISH = "FINISH"


class Outcome(StrEnum):
    """What a message did. The log keeps it, so that later rules can't change what it meant."""

    OPENED = "opened"
    ANSWERED = "answered"
    ASKED_AGAIN = "asked_again"
    FINISHED = "finished"
    MIGRATED = "migrated"
    """Made by a migration, from what was known of a contact before there were facts."""
    ERASED = "erased"
    """Erased before there were facts."""


@dataclass(frozen=True, slots=True)
class Message:
    """A customer's message. `text` is trimmed and fit for XML; `media` holds (URL, type) pairs."""

    sid: str
    contact: str
    text: str
    media: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a contact stands: the facts of the contact's last message.

    `turn` counts the contact's messages and `position` those of the conversation, both from 1.
    """

    message_sid: str
    turn: int
    conversation_id: str
    position: int
    state: str
    answers: Answers
    received_at: datetime
    is_erased: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a turn depends on besides its message. `end` is None for a new contact."""

    now: datetime
    idle_after: timedelta
    end: LogEnd | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a message leads to: the facts for the log, and our reply."""

    number: int
    """The contact's turn, from 1."""
    conversation_id: str
    position: int
    outcome: str
    state: str
    answers: Answers
    reply: str

    @property
    def is_finished(self) -> bool:
        """Say whether this message finished a review, which `answers` then holds."""
        return self.outcome == Outcome.FINISHED

    def log_end(self, message: Message, received_at: datetime) -> LogEnd:
        """Return where the contact stands after this turn."""
        return LogEnd(
            message.sid,
            self.number,
            self.conversation_id,
            self.position,
            self.state,
            self.answers,
            received_at,
        )


GREETING = "Hi! Which product is this review for?"

GOT_PRODUCT = "Okay, got it. What's your name?"

GOT_NAME = "Please send your review for {product}."

GOT_REVIEW = "Thanks {name} -- your review for {product} has been recorded."

QUESTIONS: dict[str, str] = {
    State.ASK_NAME: "Which product is this review for?",
    State.ASK_REVIEW: "What's your name?",
    State.FINISH: "Please send your review for {product}.",
}

NOT_TEXT = "Sorry, I can only read text."

TOO_LONG = "Sorry, that is longer than {limit:,} characters."

APOLOGY = "Sorry, I couldn't save that. Please send it again in a minute."

MOST_CHARACTERS: dict[str, int] = {State.ASK_NAME: 150, State.ASK_REVIEW: 150, State.FINISH: 8_000}
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
    limit = MOST_CHARACTERS[state]
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
