"""Copies of version 1's rules: what a message did before the log kept facts."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

START, ASK_NAME, ASK_REVIEW, FINISH = "START", "ASK_NAME", "ASK_REVIEW", "FINISH"

_MOST_CHARACTERS = {ASK_NAME: 150, ASK_REVIEW: 150, FINISH: 8_000}
"""Code points that an answer may have, by the state in which it arrives."""

_ANSWERS_OF = {ASK_NAME: (), ASK_REVIEW: ("product",), FINISH: ("product", "name")}
"""The answers that a conversation has in each state."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message did, and where its conversation stands after it."""

    outcome: str
    state: str
    answers: Mapping[str, str]


OPENED = Facts("opened", ASK_NAME, {})
ERASED = Facts("erased", START, {})
UNKNOWN = Facts("migrated", START, {})
"""The facts of a message whose conversation can't be replayed."""


def take_turn(before: Facts | None, text: str, *, is_finished: bool) -> Facts:
    """Return what a message did. `before` is None for the first message of a conversation.

    `is_finished` is what version 1 stored; it alone says that the message finished a review.
    """
    if before is None:
        return _finish({}, text) if is_finished else OPENED
    if before.state == START:  # the conversation was over
        return UNKNOWN
    if is_finished:
        return _finish(before.answers, text)
    if is_blank(text) or len(text) > _MOST_CHARACTERS[before.state]:
        return replace(before, outcome="asked_again")
    if before.state == ASK_NAME:
        return Facts("answered", ASK_REVIEW, {"product": text})
    if before.state == ASK_REVIEW:
        return Facts("answered", FINISH, {**before.answers, "name": text})
    return replace(before, outcome="migrated")  # a review by the rules, but none was stored


def _finish(answers: Mapping[str, str], text: str) -> Facts:
    return Facts("finished", START, {**answers, "review": text})


def stand_at(facts: Facts, state: str, product: str, name: str) -> Facts:
    """Correct the facts of a contact's last message by its row in the table conversations.

    A state that version 1 did not have is ignored.
    """
    if state not in _ANSWERS_OF:
        return facts
    known = {"product": product, "name": name}
    answers = {question: known[question] for question in _ANSWERS_OF[state]}
    if (state, answers) == (facts.state, facts.answers):
        return facts
    return Facts("migrated", state, answers)


class OldMessage(NamedTuple):
    """A message of version 1. Media and times are the text that the database has."""

    message_sid: str
    contact_number: str
    conversation_id: str
    position: int
    body: str
    media: str
    reply: str
    finished: bool
    received_at: str
    erased_at: str | None
    is_whole: bool
    """Whether all messages of the conversation are there, with their words."""
    turns_before: int
    """How many messages the contact has in earlier conversations."""
    last_turn: int
    state: str | None
    """The contact's state in the table conversations, if its row names this message."""
    product_name: str | None
    user_name: str | None


class Replay:
    """Replays messages, which must come in order of conversation and position."""

    def __init__(self) -> None:
        self._conversation_id: str | None = None
        self._before: Facts | None = None
        self._counts: dict[str, int] = {}

    def take(self, old: OldMessage) -> tuple[int, Facts]:
        """Return a message's turn and its facts."""
        if old.conversation_id != self._conversation_id:
            self._conversation_id, self._before, self._counts = old.conversation_id, None, {}
        # By contact, because a conversation of a damaged log may have two of them.
        count = self._counts[old.contact_number] = self._counts.get(old.contact_number, 0) + 1
        turn = old.turns_before + count
        facts = self._before = _find_facts(old, self._before, is_last=turn == old.last_turn)
        return turn, facts


def _find_facts(old: OldMessage, before: Facts | None, *, is_last: bool) -> Facts:
    """Return what a message did. `is_last` marks the contact's last one."""
    if old.erased_at is not None:
        return ERASED
    facts = UNKNOWN
    if old.is_whole:
        facts = take_turn(before, old.body, is_finished=bool(old.finished))
    if is_last and not old.finished and old.state is not None:
        return stand_at(facts, old.state, old.product_name or "", old.user_name or "")
    return facts


# Braille blank and the Hangul fillers: Unicode counts them as letters, and they are invisible.
_EMPTY_LETTERS = frozenset("\u2800\u3164\u115f\u1160\uffa0")
_EMPTY_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def is_blank(text: str) -> bool:
    """Say whether `text` has no visible character: only spaces, controls, format marks, fillers."""
    return all(
        character in _EMPTY_LETTERS or unicodedata.category(character) in _EMPTY_CATEGORIES
        for character in text
    )
