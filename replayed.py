"""One conversation's log replayed, and compared with what the tables have of it."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy.engine import Row

from conversation import RULES_VERSION, Conversation, Turn, replay
from message_log import as_message

GRACE = timedelta(minutes=1)
"""A store looks whether a conversation is over some time before its message is logged: for as long
as a transaction lasts, which is given up long before this."""


def differences(
    rows: Sequence[Row[Any]],
    review: Row[Any] | None,
    end: Row[Any] | None,
    kept_for: timedelta | None,
    most_skew: timedelta,
) -> Iterator[str]:
    """Say what is wrong with a conversation, to follow its name.

    `rows` are its messages in order, `end` is its row among the unfinished; None where it has none.
    With `kept_for` it may not have gone on after so long a silence; its times may fall by
    `most_skew`. Where its words were erased, what can be told without them must be right.
    """
    yield from _wrong_order(rows, most_skew)
    if any(row.erased_at is not None for row in rows):
        yield from _wrong_remains(rows, review, end)
        return
    turns = replay(map(as_message, rows))
    yield from _wrong_messages(rows, turns)
    yield from _wrong_review(rows, turns, review)
    yield from _wrong_end(rows, turns[-1].conversation, end)
    if kept_for is not None and any(
        after.received_at - before.received_at > kept_for + GRACE
        for before, after in pairwise(rows)
    ):
        yield "went on after it was over"


def _wrong_order(rows: Sequence[Row[Any]], most_skew: timedelta) -> Iterator[str]:
    if rows[0].message_sid != rows[0].conversation_id:
        yield "was not opened by the message it is named after"
    if [row.position for row in rows] != list(range(1, len(rows) + 1)):
        yield "has a gap in its messages"
    if len({row.contact_number for row in rows}) > 1:
        yield "has messages of two contacts"
    if any(before.received_at - after.received_at > most_skew for before, after in pairwise(rows)):
        yield "has messages that are older than those before them"
    if any(row.finished for row in rows[:-1]):
        yield "goes on after its review"


def _wrong_remains(
    rows: Sequence[Row[Any]], review: Row[Any] | None, end: Row[Any] | None
) -> Iterator[str]:
    """Look at an erased conversation; its review stays where only old words were erased."""
    if any(row.erased_at is None for row in rows):
        yield "is erased in part"
    if any(row.erased_at is not None and (row.body or row.reply or row.media) for row in rows):
        yield "is marked as erased and has words"
    if end is not None:
        yield "is erased and has a row among conversations"
    if review is not None and not rows[-1].finished:
        yield f"is unfinished, and has review {review.id}"
    elif review is not None and not _is_of(review, rows[-1]):
        yield f"has a review {review.id} of another contact or time than its last message"


def _is_of(review: Row[Any], last: Row[Any]) -> bool:
    return bool(
        review.contact_number == last.contact_number and review.created_at == last.received_at
    )


def _wrong_messages(rows: Sequence[Row[Any]], turns: Sequence[Turn]) -> Iterator[str]:
    for row, turn in zip(rows, turns, strict=True):
        if row.finished != (turn.review is not None):
            yield f"finishes at another message than {row.message_sid}, by its replay"
        if row.rules == RULES_VERSION and row.reply != turn.reply:
            yield f"has another reply to {row.message_sid} than its replay"
        if not 1 <= row.rules <= RULES_VERSION:
            yield f"has a reply to {row.message_sid} by rules that this program does not know"


def _wrong_review(
    rows: Sequence[Row[Any]], turns: Sequence[Turn], review: Row[Any] | None
) -> Iterator[str]:
    finished = turns[-1].review
    if finished is None or review is None:
        if finished is not None:
            yield "is finished, and its review is missing"
        if review is not None:
            yield f"is unfinished, and has review {review.id}"
        return
    same = (
        _is_of(review, rows[-1])
        and review.user_name == finished.user_name
        and review.product_name == finished.product_name
        and review.product_review == finished.product_review
    )
    if not same:
        yield f"has a review {review.id} that differs from its replay"


def _wrong_end(
    rows: Sequence[Row[Any]], replayed: Conversation, end: Row[Any] | None
) -> Iterator[str]:
    if end is None:
        return
    if rows[-1].finished:
        yield "is finished, and has a row among conversations"
    kept = (end.contact_number, end.conversation_id, end.state, end.position)
    names = (end.product_name, end.user_name)
    expected = (rows[-1].contact_number, replayed.id, replayed.state, replayed.position)
    if kept != expected or names != (replayed.product_name, replayed.user_name):
        yield "has a row among conversations that is not the log's end"
