"""What must hold between conversations, asked of all tables at once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from models import LoggedMessage, Review, UnfinishedConversation
from replayed import GRACE
from reviews import PENDING, search_text
from whatsapp import STATUSES


def problems(
    connection: Connection, kept_for: timedelta | None, most_skew: timedelta
) -> Iterator[str]:
    """Yield a sentence for everything that is wrong; what else is given `checker.check` knows."""
    yield from _without_log(connection)
    yield from _not_the_latest(connection, most_skew)
    yield from _interleaved(connection, most_skew)
    yield from _wrong_reviews(connection)
    yield from _doubled(connection)
    if kept_for is not None:
        yield from _begun_too_early(connection, kept_for)


AT_ONCE = 1000

# Put together once: the simulation asks them two thousand times.
_IS_LEGACY = Review.conversation_id == sa.literal("legacy-").concat(sa.cast(Review.id, sa.Text))
"""A review of an earlier program, as it is called when its database is adopted."""


def _is_logged(conversation_id: Any) -> sa.Exists:
    return sa.exists().where(LoggedMessage.conversation_id == conversation_id)


_REVIEWS_WITHOUT_LOG = sa.select(Review.id).where(~_IS_LEGACY, ~_is_logged(Review.conversation_id))
_ROWS_WITHOUT_LOG = sa.select(UnfinishedConversation.conversation_id).where(
    ~_is_logged(UnfinishedConversation.conversation_id)
)


def _without_log(connection: Connection) -> Iterator[str]:
    """Find rows that no message of the log accounts for; reviews from before the log are fine."""
    for review_id in connection.scalars(_REVIEWS_WITHOUT_LOG):
        yield f"review {review_id} has no messages in the log"
    for conversation_id in connection.scalars(_ROWS_WITHOUT_LOG):
        yield f"conversation {conversation_id} has a row and no messages in the log"


def _ends_and_latest() -> sa.Select[Any]:
    any_ = aliased(LoggedMessage)
    latest = (
        sa.select(sa.func.max(any_.received_at))
        .where(any_.contact_number == UnfinishedConversation.contact_number)
        .scalar_subquery()
    )
    return sa.select(
        UnfinishedConversation.conversation_id,
        LoggedMessage.received_at,
        sa.type_coerce(latest, LoggedMessage.received_at.type),
    ).join(
        LoggedMessage,
        (LoggedMessage.conversation_id == UnfinishedConversation.conversation_id)
        & (LoggedMessage.position == UnfinishedConversation.position),
    )


_ENDS_AND_LATEST = _ends_and_latest()


def _not_the_latest(connection: Connection, most_skew: timedelta) -> Iterator[str]:
    for conversation_id, ended, latest_at in connection.execute(_ENDS_AND_LATEST):
        if latest_at is not None and latest_at - ended > most_skew:
            yield f"conversation {conversation_id} has a row, but its contact has written another"


def _after_another() -> sa.Select[Any]:
    """Select messages that go on with a conversation right after one of another."""

    def of_the_one_before(column: Any) -> Any:
        order = (LoggedMessage.received_at, LoggedMessage.position)
        before = sa.func.lag(column).over(partition_by=LoggedMessage.contact_number, order_by=order)
        return sa.type_coerce(before, column.type)

    messages = (
        sa.select(
            LoggedMessage.conversation_id,
            LoggedMessage.position,
            LoggedMessage.received_at,
            of_the_one_before(LoggedMessage.conversation_id).label("conversation_before"),
            of_the_one_before(LoggedMessage.received_at).label("received_before"),
        )
        .where(LoggedMessage.erased_at.is_(None))
        .subquery()
    )
    return sa.select(
        messages.c.conversation_id, messages.c.received_at, messages.c.received_before
    ).where(messages.c.position > 1, messages.c.conversation_id != messages.c.conversation_before)


_AFTER_ANOTHER = _after_another()


def _interleaved(connection: Connection, most_skew: timedelta) -> Iterator[str]:
    """Find conversations that went on when their contact had begun another."""
    for conversation_id, received_at, received_before in connection.execute(_AFTER_ANOTHER):
        if received_at - received_before > most_skew:
            yield f"conversation {conversation_id} went on when its contact had begun another"


_REVIEWS = sa.select(Review, _IS_LEGACY.label("is_legacy")).order_by(Review.id).limit(AT_ONCE)
_FURTHER_REVIEWS = _REVIEWS.where(Review.id > sa.bindparam("last"))


def _wrong_reviews(connection: Connection) -> Iterator[str]:
    """Find reviews that are wrong by themselves, also those whose log is erased or never was."""
    first_of_ours: int | None = None
    rows = connection.execute(_REVIEWS).all()
    while rows:
        for row in rows:
            if search_text(row.product_name, row.user_name, row.product_review) != row.search_text:
                yield f"review {row.id} is not found by a search for its words"
            if not row.is_legacy and row.status not in (PENDING, *STATUSES):
                yield f"review {row.id} has a status that there is not"
            if not row.is_legacy and first_of_ours is None:
                first_of_ours = row.id
            if row.is_legacy and first_of_ours is not None:
                yield f"review {row.id} is called an earlier program's, and is newer than ours"
        rows = connection.execute(_FURTHER_REVIEWS, {"last": rows[-1].id}).all()


_DOUBLED = {
    what: sa.select(column).group_by(column).having(sa.func.count() > 1)
    for what, column in (
        ("message", LoggedMessage.message_sid),
        ("a review of conversation", Review.conversation_id),
        ("a row of conversation", UnfinishedConversation.conversation_id),
    )
}


def _doubled(connection: Connection) -> Iterator[str]:
    """Look whether what the promise stands on is there once, whatever became of its index."""
    for what, doubled in _DOUBLED.items():
        for id_ in connection.scalars(doubled):
            yield f"{what} {id_} is there more than once"


def _begun_after_unfinished() -> sa.Select[str, datetime, datetime]:
    """Select messages that began a conversation, and the unfinished end of the one before."""
    newer, before, last = (aliased(LoggedMessage) for _ in range(3))
    latest_before = (
        sa.select(LoggedMessage.message_sid)
        .where(
            LoggedMessage.contact_number == newer.contact_number,
            LoggedMessage.received_at < newer.received_at,
        )
        .order_by(LoggedMessage.received_at.desc())
        .limit(1)
        .correlate(newer)
        .scalar_subquery()
    )
    return (
        sa.select(newer.conversation_id, newer.received_at, before.received_at)
        .join(before, before.message_sid == latest_before)
        .where(
            newer.position == 1,
            newer.erased_at.is_(None),
            before.erased_at.is_(None),
            ~sa.exists().where(last.conversation_id == before.conversation_id, last.finished),
        )
    )


_BEGUN_AFTER_UNFINISHED = _begun_after_unfinished()


def _begun_too_early(connection: Connection, kept_for: timedelta) -> Iterator[str]:
    """Find conversations that began while another of the same contact could still have gone on."""
    for conversation_id, began, touched in connection.execute(_BEGUN_AFTER_UNFINISHED):
        if began - touched < kept_for - GRACE:
            yield f"conversation {conversation_id} began while another could still have gone on"
