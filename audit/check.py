"""Check the facts of the log against each other and against the reviews.

It may run beside the service: it reads one snapshot and writes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError

from audit import conversation_checks, cross_checks
from audit.client_history import ClientHistory
from audit.conversation_checks import ReviewFacts
from db.engine import Database
from models import LoggedMessage, Review
from storage import batch
from whatsapp.statuses import STATUSES

CONVERSATIONS_AT_ONCE = 500


@dataclass(slots=True)
class Findings:
    """How much was checked, and a sentence for each problem, without customers' words."""

    conversations: int = 0
    messages: int = 0
    reviews: int = 0
    problems: list[str] = field(default_factory=list)


def check(
    database: Database, *, kept_for: timedelta | None = None, history: ClientHistory | None = None
) -> Findings:
    """Check log and reviews in one snapshot.

    `kept_for` is the idle time after which a conversation is over: with it, no conversation may
    have continued later, and no contact may have begun another one earlier. With `history`, log and
    reviews must agree with the answers that clients received. Raises db.errors.TRANSIENT_ERRORS.
    """
    findings = Findings()
    with database.snapshot() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        for ids in _conversations(connection):
            _check_all(connection, ids, findings)
        across = cross_checks.problems(connection, kept_for)
        findings.problems += _readable("what is checked across conversations", across)
        if history is not None:
            contradicted = _contradicted(connection, history)
            findings.problems += _readable("what clients received", contradicted)
        findings.reviews = connection.scalar(sa.select(sa.func.count(Review.id))) or 0
    return findings


def _is_unreadable(error: Exception) -> bool:
    """Say whether an error means a value of another type than its column, or text not in UTF-8."""
    return isinstance(error, (TypeError, ValueError, ArithmeticError, RecursionError, DataError))


def _readable(what: str, problems: Iterable[str]) -> Iterator[str]:
    """Yield problems; if reading fails, a last one says that `what` can't be read."""
    try:
        yield from problems
    except Exception as error:
        if not _is_unreadable(error):
            raise
        yield f"{what} can't be read: {type(error).__name__}"


def _conversations(connection: Connection) -> Iterator[Sequence[str]]:
    """Yield the ids of all conversations, CONVERSATIONS_AT_ONCE at a time."""
    names = sa.select(LoggedMessage.conversation_id).distinct()
    names = names.order_by(LoggedMessage.conversation_id).limit(CONVERSATIONS_AT_ONCE)
    ids = connection.scalars(names).all()
    while ids:
        yield ids
        ids = connection.scalars(names.where(LoggedMessage.conversation_id > ids[-1])).all()


def _check_all(connection: Connection, ids: Sequence[str], findings: Findings) -> None:
    """Check conversations together or, if something can't be read, one by one."""
    try:
        problems, messages = _check_batch(connection, ids)
    except Exception as error:
        if not _is_unreadable(error):
            raise
        if len(ids) > 1:
            for id_ in ids:
                _check_all(connection, [id_], findings)
            return
        problems, messages = [f"conversation {ids[0]} can't be read: {type(error).__name__}"], 0
    findings.problems += problems
    findings.conversations += len(ids)
    findings.messages += messages


_MESSAGES = (
    sa.select(*conversation_checks.MESSAGE_COLUMNS)
    .where(LoggedMessage.conversation_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(LoggedMessage.conversation_id, LoggedMessage.position)
)

_REVIEWS = sa.select(
    Review.conversation_id,
    Review.id,
    Review.contact_number,
    Review.product_name,
    Review.user_name,
    Review.product_review,
    Review.created_at,
).where(Review.conversation_id.in_(sa.bindparam("ids", expanding=True)))


def _check_batch(connection: Connection, ids: Sequence[str]) -> tuple[list[str], int]:
    """Return the problems of conversations and the number of their messages."""
    logged = [*map(conversation_checks.read_message, connection.execute(_MESSAGES, {"ids": ids}))]
    reviews = {
        row.conversation_id: ReviewFacts(
            row.id,
            row.contact_number,
            product=row.product_name,
            name=row.user_name,
            review=row.product_review,
            created_at=row.created_at,
        )
        for row in connection.execute(_REVIEWS, {"ids": ids})
    }
    problems = [
        f"conversation {id_} {problem}"
        for id_, rows in groupby(logged, attrgetter("conversation_id"))
        for problem in conversation_checks.problems([*rows], reviews.get(id_))
    ]
    return problems, len(logged)


def _contradicted(connection: Connection, history: ClientHistory) -> Iterator[str]:
    """Yield what log and reviews have otherwise than clients received it."""
    replies: dict[str, str | None] = {}
    for sids in _chunks(history.answers):
        for sid, logged in batch.read(connection, sids).replies.items():
            replies[sid] = None if logged.is_erased else logged.reply
    yield from history.contradictions(replies)
    found: set[str] = set()
    erased: set[str] = set()
    for ids in _chunks(history.statuses):
        rows = connection.execute(
            sa.select(Review.conversation_id, Review.status).where(Review.conversation_id.in_(ids))
        )
        statuses = {row.conversation_id: row.status for row in rows}
        yield from history.lowered(statuses, STATUSES)
        found |= statuses.keys()
        erased |= {
            *connection.scalars(
                sa.select(LoggedMessage.conversation_id).where(
                    LoggedMessage.conversation_id.in_(ids), LoggedMessage.erased_at.is_not(None)
                )
            )
        }
    yield from history.missing(found, erased, STATUSES)


def _chunks(ids: Collection[str]) -> Iterator[Sequence[str]]:
    ids = [*ids]
    for place in range(0, len(ids), CONVERSATIONS_AT_ONCE):
        yield ids[place : place + CONVERSATIONS_AT_ONCE]
