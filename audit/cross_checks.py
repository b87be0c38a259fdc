"""Check across conversations, and check all reviews, with SQL that finds the exceptions."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from conversation.model import Outcome, State
from conversation.state_machine import MAX_AHEAD
from core.pseudonym import PSEUDONYM_PREFIX
from core.text import search_text
from models import LoggedMessage, Review
from reviews.repository import PENDING
from whatsapp.statuses import STATUSES

GRACE = timedelta(minutes=1)
"""Tolerance around the idle time: version 1 read the clock up to a transaction's length earlier."""


def problems(connection: Connection, kept_for: timedelta | None) -> Iterator[str]:
    """Yield a sentence for each problem. `kept_for` is as in audit.check.check."""
    yield from _reviews_without_log(connection)
    yield from _wrong_turns(connection)
    yield from _wrong_reviews(connection)
    yield from _duplicates(connection)
    if kept_for is not None:
        yield from _wrong_pauses(connection, kept_for)


REVIEWS_AT_ONCE = 1000

# The queries are built once, because the simulation runs them thousands of times.
_IS_LEGACY = Review.conversation_id == sa.literal("legacy-").concat(sa.cast(Review.id, sa.Text))
"""Whether a review is an adopted one of an earlier program."""

_REVIEWS_WITHOUT_LOG = sa.select(Review.id).where(
    ~_IS_LEGACY, ~sa.exists().where(LoggedMessage.conversation_id == Review.conversation_id)
)


def _reviews_without_log(connection: Connection) -> Iterator[str]:
    """Find reviews without messages; adopted ones never had any."""
    for review_id in connection.scalars(_REVIEWS_WITHOUT_LOG):
        yield f"review {review_id} has no messages in the log"


def _beside_the_one_before() -> sa.Subquery:
    """Select each message and, as `…_before`, the one before it in its contact's turns, or NULL."""

    def before(column: Any) -> Any:
        lag = sa.func.lag(column).over(
            partition_by=LoggedMessage.contact_number, order_by=LoggedMessage.turn
        )
        return sa.type_coerce(lag, column.type).label(f"{column.key}_before")

    columns = (
        LoggedMessage.turn,
        LoggedMessage.conversation_id,
        LoggedMessage.outcome,
        LoggedMessage.state,
        LoggedMessage.received_at,
        LoggedMessage.erased_at,
    )
    return sa.select(LoggedMessage.position, *columns, *map(before, columns)).subquery()


_MESSAGE = _beside_the_one_before().c


def _out_of_turn() -> sa.Select[Any]:
    """Select messages after a missing turn, and those that went back to an earlier conversation."""
    earlier = aliased(LoggedMessage)
    is_after_gap = _MESSAGE.turn > sa.func.coalesce(_MESSAGE.turn_before, 0) + 1
    has_gone_back = sa.and_(
        _MESSAGE.position > 1,
        _MESSAGE.conversation_id != _MESSAGE.conversation_id_before,
        sa.exists().where(
            earlier.conversation_id == _MESSAGE.conversation_id,
            earlier.position < _MESSAGE.position,
        ),
    )
    return sa.select(
        _MESSAGE.conversation_id,
        _MESSAGE.turn,
        is_after_gap.label("is_after_gap"),
        has_gone_back.label("has_gone_back"),
    ).where(is_after_gap | has_gone_back)


_OUT_OF_TURN = _out_of_turn()


def _wrong_turns(connection: Connection) -> Iterator[str]:
    """Check that a contact's turns are 1, 2, 3 …, and that no conversation interrupts another."""
    for row in connection.execute(_OUT_OF_TURN):
        name = f"conversation {row.conversation_id}"
        if row.is_after_gap:
            yield f"{name} has turn {row.turn:d}, after a gap in its contact's turns"
        if row.has_gone_back:
            yield f"{name} went on when its contact had begun another"


_REVIEWS = (
    sa.select(
        Review.id,
        Review.contact_number,
        Review.product_name,
        Review.user_name,
        Review.product_review,
        Review.search_text,
        Review.status,
        _IS_LEGACY.label("is_legacy"),
    )
    .order_by(Review.id)
    .limit(REVIEWS_AT_ONCE)
)
_FURTHER_REVIEWS = _REVIEWS.where(Review.id > sa.bindparam("last"))


def _wrong_reviews(connection: Connection) -> Iterator[str]:
    """Check each review by itself, also without its messages."""
    first_of_ours: int | None = None
    rows = connection.execute(_REVIEWS).all()
    while rows:
        for row in rows:
            if search_text(row.product_name, row.user_name, row.product_review) != row.search_text:
                yield f"review {row.id} is not found by a search for its words"
            if not row.is_legacy and row.status not in (PENDING, *STATUSES):
                yield f"review {row.id} has a status that does not exist"
            if not row.is_legacy and first_of_ours is None:
                first_of_ours = row.id
            if row.contact_number.startswith(PSEUDONYM_PREFIX):
                yield f"review {row.id} belongs to an erased contact"
            if row.is_legacy and first_of_ours is not None:
                yield f"review {row.id} is called an earlier program's, and is newer than ours"
        rows = connection.execute(_FURTHER_REVIEWS, {"last": rows[-1].id}).all()


_DUPLICATES = {
    "message": sa.select(LoggedMessage.message_sid)
    .group_by(LoggedMessage.message_sid)
    .having(sa.func.count() > 1),
    "a review of conversation": sa.select(Review.conversation_id)
    .group_by(Review.conversation_id)
    .having(sa.func.count() > 1),
    "a turn of the contact of conversation": sa.select(sa.func.min(LoggedMessage.conversation_id))
    .group_by(LoggedMessage.contact_number, LoggedMessage.turn)
    .having(sa.func.count() > 1),
}


def _duplicates(connection: Connection) -> Iterator[str]:
    """Check that unique keys are unique, even if their indexes are damaged."""
    for what, query in _DUPLICATES.items():
        for id_ in connection.scalars(query):
            yield f"{what} {id_} is there more than once"


def _suspect_pauses() -> sa.Select[Any]:
    """Select messages that continued too late, or began anew too early, within a margin.

    SQLite computes with times only roughly, so `_wrong_pauses` checks the selected ones exactly.
    """
    seconds = sa.extract("epoch", _MESSAGE.received_at) - sa.extract(
        "epoch", _MESSAGE.received_at_before
    )
    goes_on = _MESSAGE.conversation_id == _MESSAGE.conversation_id_before
    margin = 2  # seconds
    longest, ahead, grace = (
        sa.bindparam(name, type_=sa.Float) for name in ("longest", "ahead", "grace")
    )
    is_too_late = (seconds > longest + grace - margin) | (seconds < margin - ahead - grace)
    is_too_early = (seconds < longest - grace + margin) & (seconds > grace - ahead - margin)
    return sa.select(
        _MESSAGE.conversation_id,
        _MESSAGE.received_at,
        _MESSAGE.received_at_before,
        goes_on.label("goes_on"),
    ).where(
        _MESSAGE.erased_at.is_(None),
        _MESSAGE.erased_at_before.is_(None),
        _MESSAGE.outcome != Outcome.MIGRATED,
        _MESSAGE.outcome_before != Outcome.MIGRATED,
        (goes_on & is_too_late)
        | (
            ~goes_on
            & (_MESSAGE.position == 1)
            & (_MESSAGE.state_before != State.START)
            & is_too_early
        ),
    )


_SUSPECT_PAUSES = _suspect_pauses()


def _wrong_pauses(connection: Connection, kept_for: timedelta) -> Iterator[str]:
    """Check that contacts continued within the idle time, and began anew only after it."""
    limits = {"longest": kept_for, "ahead": MAX_AHEAD, "grace": GRACE}
    parameters = {name: limit.total_seconds() for name, limit in limits.items()}
    for row in connection.execute(_SUSPECT_PAUSES, parameters):
        pause = row.received_at - row.received_at_before
        if row.goes_on:
            if not -(MAX_AHEAD + GRACE) <= pause <= kept_for + GRACE:
                yield f"conversation {row.conversation_id} went on after it was over"
        elif GRACE - MAX_AHEAD < pause < kept_for - GRACE:
            yield (
                f"conversation {row.conversation_id} began while another could still have gone on"
            )
