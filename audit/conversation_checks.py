"""Check a conversation: its facts against each other, against its review and its erasure.

The bot's sentences, and its states but START, are not used here: they may change, and an old log
must stay valid.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy.orm import InstrumentedAttribute

from conversation.model import Outcome, State
from models import LoggedMessage


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """A message in the log. Of media and reply only whether they are there."""

    message_sid: str
    contact_number: str
    turn: int
    conversation_id: str
    position: int
    outcome: str
    state: str
    answers: Mapping[str, str]
    context: object
    settings_version: int
    received_at: datetime
    is_erased: bool
    has_words: bool
    body: str
    has_reply: bool


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """The review of a conversation, as the table reviews has it."""

    id: int
    contact_number: str
    product: str
    name: str
    review: str
    created_at: datetime


_KINDS: Mapping[InstrumentedAttribute[Any], type] = {
    # The first fields of MessageFacts.
    LoggedMessage.message_sid: str,
    LoggedMessage.contact_number: str,
    LoggedMessage.turn: int,
    LoggedMessage.conversation_id: str,
    LoggedMessage.position: int,
    LoggedMessage.outcome: str,
    LoggedMessage.state: str,
    LoggedMessage.answers: dict,
    LoggedMessage.context: object,
    LoggedMessage.settings_version: int,
    LoggedMessage.received_at: datetime,
    # The other fields are derived from these.
    LoggedMessage.erased_at: object,
    LoggedMessage.body: str,
    LoggedMessage.reply: str,
    LoggedMessage.media: list,
}

MESSAGE_COLUMNS = tuple(_KINDS)
"""The columns that `read_message` takes, in order."""


def read_message(row: Sequence[Any]) -> MessageFacts:
    """Read a row of MESSAGE_COLUMNS. Raises TypeError if a value has another type."""
    for value, kind in zip(row, _KINDS.values(), strict=True):
        if not isinstance(value, kind):
            raise TypeError(f"not of type {kind.__name__}")
    *facts, erased_at, body, reply, media = row
    facts += [erased_at is not None, bool(body or reply or media), body, bool(reply)]
    message = MessageFacts(*facts)
    for answer in message.answers.values():
        if not isinstance(answer, str):
            raise TypeError("an answer is not of type str")
    return message


def problems(rows: Sequence[MessageFacts], review: ReviewFacts | None) -> Iterator[str]:
    """Yield the problems of a conversation, as sentences without their subject.

    `rows` are its messages by position, at least one. `review` is None if it has none.
    """
    yield from _wrong_opening(rows[0])
    yield from _wrong_order(rows)
    for row in rows:
        yield from _wrong_message(row)
    for before, after in pairwise(rows):
        yield from _wrong_step(before, after)
    yield from _wrong_erasure(rows)
    yield from _wrong_review(rows, review)


def _wrong_opening(first: MessageFacts) -> Iterator[str]:
    """Check the first message; a migration may have begun in the middle of a conversation."""
    if first.outcome == Outcome.MIGRATED:
        return
    if first.position != 1:
        yield "does not begin at position 1"
    if first.message_sid != first.conversation_id:
        yield "was not opened by the message it is named after"
    if first.outcome == Outcome.OPENED:
        if first.answers:
            yield "has answers in the message that opened it"
    elif first.outcome != Outcome.ERASED:
        yield "begins with a message that did not open it"


def _wrong_order(rows: Sequence[MessageFacts]) -> Iterator[str]:
    if any(row.contact_number != rows[0].contact_number for row in rows):
        yield "has messages of two contacts"
    if rows[0].turn < 1:
        yield "has a turn below 1"
    if any(after.position != before.position + 1 for before, after in pairwise(rows)):
        yield "has a gap in its messages"
    if any(after.turn <= before.turn for before, after in pairwise(rows)):
        yield "has turns that do not rise with its positions"


_KNOWN = frozenset(Outcome)

_GO_ON = frozenset({Outcome.OPENED, Outcome.ANSWERED, Outcome.ASKED_AGAIN})
"""Outcomes after which a conversation continues."""

_NAME = re.compile("[a-z_]{1,30}")


def _wrong_message(row: MessageFacts) -> Iterator[str]:
    """Check a message by itself. An erasure leaves its state and outcome."""
    if row.outcome not in _KNOWN:
        name = f": {row.outcome}" if _NAME.fullmatch(row.outcome) else ""
        yield f"has an outcome that this program does not know{name}"
    if row.outcome == Outcome.OPENED and row.position != 1:
        yield f"is opened again by {row.message_sid}"
    if row.outcome in _GO_ON and row.state == State.START:
        yield f"has state START after {row.message_sid}, which does not end it"
    if row.outcome == Outcome.FINISHED and row.state != State.START:
        yield f"has another state than START after {row.message_sid}, which finished it"
    if row.outcome in _GO_ON | {Outcome.FINISHED} and not (row.has_reply or row.is_erased):
        yield f"has no reply to {row.message_sid}"
    if row.outcome == Outcome.ERASED and not row.is_erased:
        yield f"has an erased message {row.message_sid} that is not marked as erased"
    if row.settings_version < 0:
        yield f"has a settings version below 0 in {row.message_sid}"
    if not isinstance(row.context, dict):
        yield f"has a context in {row.message_sid} that is not a JSON object"


def _wrong_step(before: MessageFacts, after: MessageFacts) -> Iterator[str]:
    """Check the facts of a message against those of the message before it."""
    if before.outcome == Outcome.FINISHED:
        yield "goes on after its review"
    if before.is_erased or after.is_erased:
        return
    kept = before.answers.items() <= after.answers.items()
    added = after.answers.keys() - before.answers.keys()
    match after.outcome:
        case Outcome.ANSWERED:
            follows = kept and len(added) == 1
        case Outcome.FINISHED:
            follows = kept and added == {"review"}
        case Outcome.ASKED_AGAIN:
            follows = after.state == before.state and after.answers == before.answers
        case _:
            follows = True
    if not follows:
        yield f"has other facts in {after.message_sid} than follow from the message before it"
    elif after.outcome != Outcome.MIGRATED and any(after.answers[n] != after.body for n in added):
        yield f"has an answer in {after.message_sid} that is not what was written"


def _wrong_erasure(rows: Sequence[MessageFacts]) -> Iterator[str]:
    erased = [row for row in rows if row.is_erased]
    is_migrated = any(row.outcome == Outcome.MIGRATED for row in rows)
    if 0 < len(erased) < len(rows) and not is_migrated:
        yield "is erased in part"
    if any(row.has_words or row.answers or row.context for row in erased):
        yield "is marked as erased and has words"


def _wrong_review(rows: Sequence[MessageFacts], review: ReviewFacts | None) -> Iterator[str]:
    """Compare the review with the message that finished it.

    An erased conversation may have a review or not: retention erases only its words.
    """
    finished = next((row for row in rows if row.outcome == Outcome.FINISHED), None)
    if finished is None and rows[-1].outcome == Outcome.ERASED:
        finished = rows[-1]  # version 1 did not keep whether it did
    if review is None:
        if finished is not None and not finished.is_erased:
            yield "is finished, and its review is missing"
        return
    if finished is None:
        yield f"is unfinished, and has review {review.id}"
        return
    if (review.contact_number, review.created_at) != (
        finished.contact_number,
        finished.received_at,
    ):
        yield f"has a review {review.id} of another contact or time than its last message"
    answers = {"product": review.product, "name": review.name, "review": review.review}
    if not finished.is_erased and not answers.items() <= finished.answers.items():
        yield f"has a review {review.id} that differs from its answers"
