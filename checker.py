"""Replay the log of messages and compare it with the tables: `python3 run.py check-data`.

Safe to run while serving: it reads one snapshot and writes nothing.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

import message_log
import schema
from conversation import RULES_VERSION, Conversation, Turn, replay
from database import OUTAGES, Database, name_of, open_database, utc_now
from logs import describe
from models import LoggedMessage, Review, UnfinishedConversation
from schema import SCHEMA_VERSION
from settings import Settings, SettingsError

CONVERSATIONS_AT_ONCE = 500


@dataclass(slots=True)
class Findings:
    """What was looked at, and a sentence for everything that is wrong; without customers' words."""

    conversations: int = 0
    messages: int = 0
    reviews: int = 0
    problems: list[str] = field(default_factory=list)


def check(database: Database, kept_since: datetime | None = None) -> Findings:
    """Compare the log with reviews and conversations, in one snapshot.

    With `kept_since` an unfinished conversation that was touched since then must have its row, as
    it has where the database store keeps them. Raises one of database.OUTAGES.
    """
    findings = Findings()
    with database.snapshot() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        for batch in _conversations(connection):
            _check_batch(connection, batch, kept_since, findings)
        findings.problems += _without_log(connection)
        findings.problems += _not_the_latest(connection)
        findings.reviews = connection.scalar(sa.select(sa.func.count(Review.id))) or 0
    return findings


def _conversations(connection: Connection) -> Iterator[dict[str, list[Row[Any]]]]:
    """Read the log some conversations at a time, their messages in order."""
    last = ""
    while True:
        ids = connection.scalars(
            sa.select(LoggedMessage.conversation_id)
            .where(LoggedMessage.conversation_id > last)
            .distinct()
            .order_by(LoggedMessage.conversation_id)
            .limit(CONVERSATIONS_AT_ONCE)
        ).all()
        if not ids:
            return
        rows = connection.execute(
            sa.select(LoggedMessage)
            .where(LoggedMessage.conversation_id.in_(ids))
            .order_by(LoggedMessage.conversation_id, LoggedMessage.position)
        )
        batch: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            batch[row.conversation_id].append(row)
        yield batch
        last = ids[-1]


def _check_batch(
    connection: Connection,
    batch: dict[str, list[Row[Any]]],
    kept_since: datetime | None,
    findings: Findings,
) -> None:
    reviews = {
        row.conversation_id: row
        for row in connection.execute(sa.select(Review).where(Review.conversation_id.in_(batch)))
    }
    ends = {
        row.conversation_id: row
        for row in connection.execute(
            sa.select(UnfinishedConversation).where(
                UnfinishedConversation.conversation_id.in_(batch)
            )
        )
    }
    for conversation_id, rows in batch.items():
        findings.conversations += 1
        findings.messages += len(rows)
        if any(row.erased_at is not None for row in rows):
            continue
        turns = replay(map(message_log.as_message, rows))
        review, end = reviews.get(conversation_id), ends.get(conversation_id)
        wrong = [
            *_wrong_messages(conversation_id, rows, turns),
            *_wrong_review(rows, turns, review),
            *_wrong_end(rows, turns[-1].conversation, end),
        ]
        if (
            end is None
            and kept_since is not None
            and _is_missed(connection, rows, turns, kept_since)
        ):
            wrong.append("is unfinished and has no row among conversations")
        findings.problems += [f"conversation {conversation_id} {problem}" for problem in wrong]


def _wrong_messages(
    conversation_id: str, rows: Sequence[Row[Any]], turns: Sequence[Turn]
) -> Iterator[str]:
    if rows[0].message_sid != conversation_id:
        yield "was not opened by the message it is named after"
    if [row.position for row in rows] != list(range(1, len(rows) + 1)):
        yield "has a gap in its messages"
    if len({row.contact_number for row in rows}) > 1:
        yield "has messages of two contacts"
    for row, turn in zip(rows, turns, strict=True):
        if row.finished != (turn.review is not None):
            yield f"finishes at another message than {row.message_sid}, by its replay"
        if row.rules == RULES_VERSION and row.reply != turn.reply:
            yield f"has another reply to {row.message_sid} than its replay"
    if any(turn.review for turn in turns[:-1]):
        yield "goes on after its review"


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
        review.contact_number == rows[-1].contact_number
        and review.user_name == finished.user_name
        and review.product_name == finished.product_name
        and review.product_review == finished.product_review
        and review.created_at == rows[-1].received_at
    )
    if not same:
        yield f"has a review {review.id} that differs from its replay"


def _wrong_end(
    rows: Sequence[Row[Any]], replayed: Conversation, end: Row[Any] | None
) -> Iterator[str]:
    if end is None:
        return
    kept = (end.contact_number, end.conversation_id, end.state, end.position)
    names = (end.product_name, end.user_name)
    expected = (rows[-1].contact_number, replayed.id, replayed.state, replayed.position)
    if kept != expected or names != (replayed.product_name, replayed.user_name):
        yield "has a row among conversations that is not the log's end"


def _is_missed(
    connection: Connection, rows: Sequence[Row[Any]], turns: Sequence[Turn], kept_since: datetime
) -> bool:
    if turns[-1].review is not None or rows[-1].received_at < kept_since:
        return False
    later = sa.select(LoggedMessage.message_sid).where(
        LoggedMessage.contact_number == rows[-1].contact_number,
        LoggedMessage.received_at > rows[-1].received_at,
    )
    return connection.scalar(later.limit(1)) is None


def _without_log(connection: Connection) -> Iterator[str]:
    """Find rows that no message of the log accounts for; reviews from before the log are fine."""
    logged = sa.select(LoggedMessage.message_sid)
    for review_id in connection.scalars(
        sa.select(Review.id).where(
            ~Review.conversation_id.startswith("legacy-"),
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
    latest = (
        sa.select(LoggedMessage.conversation_id)
        .where(LoggedMessage.contact_number == UnfinishedConversation.contact_number)
        .order_by(LoggedMessage.received_at.desc(), LoggedMessage.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    for conversation_id in connection.scalars(
        sa.select(UnfinishedConversation.conversation_id).where(
            UnfinishedConversation.conversation_id != latest
        )
    ):
        yield f"conversation {conversation_id} has a row, but its contact has begun another since"


def main() -> None:
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.exit(str(error))
    place = name_of(settings.database_url)
    keeps = settings.conversation_store == "database"
    try:
        database = open_database(settings.database_url)
        if (version := schema.schema_version(database.engine)) != SCHEMA_VERSION:
            sys.exit(
                f"{place} has schema {version}, this program checks {SCHEMA_VERSION}."
                " Starting the service brings an older one up to date."
            )
        findings = check(database, utc_now() - settings.conversation_ttl if keeps else None)
    except (SQLAlchemyError, ValueError, *OUTAGES) as error:
        sys.exit(f"{place} can't be read: {describe(error)}")
    for problem in findings.problems[:100]:
        print(problem)  # noqa: T201 - this is what people run it for
    sys.stderr.write(
        f"Checked {place}\nMessages: {findings.messages}, conversations: {findings.conversations},"
        f" reviews: {findings.reviews}. Problems: {len(findings.problems) or 'none'}.\n"
    )
    sys.exit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()
