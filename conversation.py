"""What the bot says next: no clock, no storage, no HTTP. Every sentence it can say is here.

    state      | just sent  | we reply                                                      | then
    -----------|------------|---------------------------------------------------------------|-----------
    START      | anything   | Hi! Which product is this review for?                         | ASK_NAME
    ASK_NAME   | product    | Okay, got it. What's your name?                               | ASK_REVIEW
    ASK_REVIEW | their name | Please send your review for {product}.                        | FINISH
    FINISH     | review     | Thanks {name} -- your review for {product} has been recorded. | START

A state says what we do when the next message arrives. A message without text, or with too much of
it, keeps the state and is asked for again.
"""  # noqa: E501 - a table is read as a table, and a test plays it

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

RULES_VERSION = 1
"""Goes up with every change of a rule or sentence: old logs are not judged by new wording."""


class State(StrEnum):
    START = "START"
    ASK_NAME = "ASK_NAME"
    ASK_REVIEW = "ASK_REVIEW"
    FINISH = "FINISH"


@dataclass(frozen=True, slots=True)
class Message:
    """A customer's message. `text` is trimmed and fit for XML; `media` holds (URL, type) pairs."""

    sid: str
    contact: str
    text: str
    media: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """What has been said so far. `id` is the SID that opened it, `position` counts its messages."""

    id: str
    state: State = State.START
    product_name: str = ""
    user_name: str = ""
    position: int = 0


@dataclass(frozen=True, slots=True)
class FinishedReview:
    user_name: str
    product_name: str
    product_review: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one message leads to: the conversation after it, our reply and, at the end, a review."""

    conversation: Conversation
    reply: str
    review: FinishedReview | None = None


GREETING = "Hi! Which product is this review for?"
GOT_PRODUCT = "Okay, got it. What's your name?"
GOT_NAME = "Please send your review for {product}."
GOT_REVIEW = "Thanks {name} -- your review for {product} has been recorded."

QUESTIONS = {
    State.ASK_NAME: "Which product is this review for?",
    State.ASK_REVIEW: "What's your name?",
    State.FINISH: "Please send your review for {product}.",
}
NOT_TEXT = "Sorry, I can only read text."
TOO_LONG = "Sorry, that is longer than {limit:,} characters."
APOLOGY = "Sorry, I couldn't save that. Please send it again in a minute."

MOST_CHARACTERS = {State.ASK_NAME: 150, State.ASK_REVIEW: 150, State.FINISH: 8_000}
"""Code points that an answer may have. Two echoes of 150 fit Twilio's 1,600 bytes in any script."""


def take_turn(conversation: Conversation | None, message: Message) -> Turn:
    """Answer a message; `conversation` is the contact's unfinished one, or None."""
    if conversation is None or conversation.state is State.START:
        return _greet(Conversation(id=message.sid, position=1))
    conversation = replace(conversation, position=conversation.position + 1)
    if is_blank(message.text):
        return _ask_again(conversation, NOT_TEXT)
    limit = MOST_CHARACTERS[conversation.state]
    if len(message.text) > limit:
        return _ask_again(conversation, TOO_LONG.format(limit=limit))
    return _STEPS[conversation.state](conversation, message.text)


def _greet(conversation: Conversation) -> Turn:
    return Turn(replace(conversation, state=State.ASK_NAME), GREETING)


def _hear_product(conversation: Conversation, product: str) -> Turn:
    return Turn(replace(conversation, state=State.ASK_REVIEW, product_name=product), GOT_PRODUCT)


def _hear_name(conversation: Conversation, name: str) -> Turn:
    after = replace(conversation, state=State.FINISH, user_name=name)
    return Turn(after, GOT_NAME.format(product=after.product_name))


def _hear_review(conversation: Conversation, text: str) -> Turn:
    name, product = conversation.user_name, conversation.product_name
    return Turn(
        replace(conversation, state=State.START),
        GOT_REVIEW.format(name=name, product=product),
        FinishedReview(user_name=name, product_name=product, product_review=text),
    )


def _ask_again(conversation: Conversation, trouble: str) -> Turn:
    question = QUESTIONS[conversation.state].format(product=conversation.product_name)
    return Turn(conversation, f"{trouble} {question}")


_STEPS = {
    State.ASK_NAME: _hear_product,
    State.ASK_REVIEW: _hear_name,
    State.FINISH: _hear_review,
}


def replay(messages: Iterable[Message]) -> list[Turn]:
    """Fold a conversation's logged messages, in order, into the turns they must have made."""
    turns: list[Turn] = []
    conversation = None
    for message in messages:
        turns.append(take_turn(conversation, message))
        conversation = turns[-1].conversation
    return turns


# Braille blank and the Hangul fillers: letters by category, empty to the eye.
_EMPTY_LETTERS = frozenset("\u2800\u3164\u115f\u1160\uffa0")
_EMPTY_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def is_blank(text: str) -> bool:
    """Say whether nothing in `text` can be seen: separators, controls, format marks, fillers."""
    return all(
        character in _EMPTY_LETTERS or unicodedata.category(character) in _EMPTY_CATEGORIES
        for character in text
    )
