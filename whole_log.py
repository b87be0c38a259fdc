"""What must hold between conversations, asked of all tables at once."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from models import LoggedMessage, Review, UnfinishedConversation
from replayed import GRACE, MOST_SKEW
from reviews import PENDING, search_text
from whatsapp import STATUSES


def problems(connection: Connection, kept_for: timedelta | None) -> Iterator[str]:
    """Yield a sentence for everything that is wrong; `kept_for` as `checker.check` has it."""
    yield from _without_log(connection)
    yield from _not_the_latest(connection)
    yield from _interleaved(connection)
    yield from _wrong_reviews(connection)
    yield from _doubled(connection)
    if kept_for is not None:
        yield from _begun_too_early(connection, kept_for)


AT_ONCE = 1000

_IS_LEGACY = Review.conversation_id == sa.literal("legacy-").concat(sa.cast(Review.id, sa.Text))
"""A review of an earlier program, as it is called when its database is adopted."""


def _without_log(connection: Connection) -> Iterator[str]:
    """Find rows that no message of the log accounts for; reviews from before the log are fine."""
    logged = sa.select(LoggedMessage.message_sid)
    for review_id in connection.scalars(
        sa.select(Review.id).where(
            ~_IS_LEGACY,
            ~logged.where(LoggedMessage.conversation_id == Review.conversation_id).exists(),
        )
    ):
        yield f"review {review_id} has no messages in the log"
    for conversation_id in connection.scalars(
        sa.select(UnfinishedConversation.conversation_id).where(
            ~logged.where(
                LoggedMessage.conversation_id == UnfinishedConversation.conversation_id
            ).exists()
        )
    ):
        yield f"conversation {conversation_id} has a row and no messages in the log"


def _not_the_latest(connection: Connection) -> Iterator[str]:
    any_ = aliased(LoggedMessage)
    latest = (
        sa.select(sa.func.max(any_.received_at))
        .where(any_.contact_number == UnfinishedConversation.contact_number)
        .scalar_subquery()
    )
    ends = sa.select(
        UnfinishedConversation.conversation_id,
        LoggedMessage.received_at,
        sa.type_coerce(latest, LoggedMessage.received_at.type),
    ).join(
        LoggedMessage,
        (LoggedMessage.conversation_id == UnfinishedConversation.conversation_id)
        & (LoggedMessage.position == UnfinishedConversation.position),
    )
    for conversation_id, ended, latest_at in connection.execute(ends):
        if latest_at is not None and latest_at - ended > MOST_SKEW:
            yield f"conversation {conversation_id} has a row, but its contact has written another"


def _interleaved(connection: Connection) -> Iterator[str]:
    """Find conversations that went on when their contact had begun another."""

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
    later = sa.select(
        messages.c.conversation_id, messages.c.received_at, messages.c.received_before
    ).where(messages.c.position > 1, messages.c.conversation_id != messages.c.conversation_before)
    for conversation_id, received_at, received_before in connection.execute(later):
        if received_at - received_before > MOST_SKEW:
            yield f"conversation {conversation_id} went on when its contact had begun another"


def _wrong_reviews(connection: Connection) -> Iterator[str]:
    """Find reviews that are wrong by themselves, also those whose log is erased or never was."""
    found = sa.select(Review, _IS_LEGACY.label("is_legacy")).order_by(Review.id).limit(AT_ONCE)
    first_of_ours: int | None = None
    rows = connection.execute(found).all()
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
        rows = connection.execute(found.where(Review.id > rows[-1].id)).all()


def _doubled(connection: Connection) -> Iterator[str]:
    """Look whether what the promise stands on is there once, whatever became of its index."""
    for what, column in (
        ("message", LoggedMessage.message_sid),
        ("a review of conversation", Review.conversation_id),
        ("a row of conversation", UnfinishedConversation.conversation_id),
    ):
        doubled = sa.select(column).group_by(column).having(sa.func.count() > 1)
        for id_ in connection.scalars(doubled):
            yield f"{what} {id_} is there more than once"


def _begun_too_early(connection: Connection, kept_for: timedelta) -> Iterator[str]:
    """Find conversations that began while another of the same contact could still have gone on."""
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
    pairs = (
        sa.select(newer.conversation_id, newer.received_at, before.received_at)
        .join(before, before.message_sid == latest_before)
        .where(
            newer.position == 1,
            newer.erased_at.is_(None),
            before.erased_at.is_(None),
            ~sa.exists().where(last.conversation_id == before.conversation_id, last.finished),
        )
    )
    for conversation_id, began, touched in connection.execute(pairs):
        if began - touched < kept_for - GRACE:
            yield f"conversation {conversation_id} began while another could still have gone on"
