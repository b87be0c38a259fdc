"""Replay the log of messages and compare it with the tables: `python3 run.py check-data`.

Safe to run while serving: it reads snapshots and writes nothing.
"""

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DataError, SQLAlchemyError

import foundations
import message_log
import schema
import whole_log
from database import OUTAGES, Database, name_of, open_database, utc_now
from logs import describe
from models import LoggedMessage, Review, UnfinishedConversation
from replayed import differences
from schema import SCHEMA_VERSION
from settings import Settings, SettingsError
from whatsapp import STATUSES
from witness import Witness

CONVERSATIONS_AT_ONCE = 500

MOST_SKEW = timedelta(seconds=1)
"""What is forgiven in a log of unknown age: earlier versions let the clocks of workers decide."""

UNREADABLE = (TypeError, ValueError, ArithmeticError, DataError)
"""What reading raises where somebody has put another kind of value into a column."""


@dataclass(slots=True)
class Findings:
    """What was looked at, and a sentence for everything that is wrong; without customers' words."""

    conversations: int = 0
    messages: int = 0
    reviews: int = 0
    problems: list[str] = field(default_factory=list)


def check(
    database: Database,
    kept_since: datetime | None = None,
    *,
    kept_for: timedelta | None = None,
    witness: Witness | None = None,
    most_skew: timedelta = timedelta(0),
) -> Findings:
    """Compare the log with reviews and conversations, in one snapshot.

    With `kept_since` an unfinished conversation that was touched since then must have its row, as
    it has where the database store has always kept them. With `kept_for` nobody's conversation may
    have begun anew earlier after the last message of an unfinished one, or gone on later. With
    `witness` the log and the reviews must be what its clients were told. The times of a contact
    may fall by `most_skew`. Raises database.OUTAGES.
    """
    findings = Findings()
    with database.snapshot() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        for ids in _conversations(connection):
            _check_all(connection, ids, kept_since, kept_for, most_skew, findings)
        try:
            findings.problems += whole_log.problems(connection, kept_for, most_skew)
        except UNREADABLE as error:
            kind = type(error).__name__
            findings.problems.append(
                f"what conversations have to do with each other can't be read: {kind}"
            )
        if witness is not None:
            findings.problems += _contradicted(connection, witness)
        findings.reviews = connection.scalar(sa.select(sa.func.count(Review.id))) or 0
    return findings


def _conversations(connection: Connection) -> Iterator[Sequence[str]]:
    """Read the names of the log's conversations, some at a time."""
    names = sa.select(LoggedMessage.conversation_id).distinct()
    names = names.order_by(LoggedMessage.conversation_id).limit(CONVERSATIONS_AT_ONCE)
    ids = connection.scalars(names).all()
    while ids:
        yield ids
        ids = connection.scalars(names.where(LoggedMessage.conversation_id > ids[-1])).all()


def _check_all(
    connection: Connection,
    ids: Sequence[str],
    kept_since: datetime | None,
    kept_for: timedelta | None,
    most_skew: timedelta,
    findings: Findings,
) -> None:
    """Check conversations at once or, where something can't be read, one after another."""
    try:
        problems, messages = _check_batch(connection, ids, kept_since, kept_for, most_skew)
    except UNREADABLE as error:
        if len(ids) > 1:
            for id_ in ids:
                _check_all(connection, [id_], kept_since, kept_for, most_skew, findings)
            return
        problems, messages = [f"conversation {ids[0]} can't be read: {type(error).__name__}"], 0
    findings.problems += problems
    findings.conversations += len(ids)
    findings.messages += messages


def _check_batch(
    connection: Connection,
    ids: Sequence[str],
    kept_since: datetime | None,
    kept_for: timedelta | None,
    most_skew: timedelta,
) -> tuple[list[str], int]:
    """Return the problems of conversations, and how many messages they have."""
    logged = connection.execute(
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id.in_(ids))
        .order_by(LoggedMessage.conversation_id, LoggedMessage.position)
    ).all()
    reviews = _by_conversation(connection, Review, ids)
    ends = _by_conversation(connection, UnfinishedConversation, ids)
    problems = []
    for id_, group in groupby(logged, attrgetter("conversation_id")):
        rows, end = [*group], ends.get(id_)
        wrong = [*differences(rows, reviews.get(id_), end, kept_for, most_skew)]
        if kept_since is not None and end is None:
            wrong += _missed(connection, rows, kept_since)
        problems += [f"conversation {id_} {problem}" for problem in wrong]
    return problems, len(logged)


def _by_conversation(connection: Connection, table: Any, ids: Sequence[str]) -> dict[str, Row[Any]]:
    rows = connection.execute(sa.select(table).where(table.conversation_id.in_(ids)))
    return {row.conversation_id: row for row in rows}


def _missed(
    connection: Connection, rows: Sequence[Row[Any]], kept_since: datetime
) -> Iterator[str]:
    """Say that an unfinished conversation has no row, unless its contact has gone on without it."""
    if rows[-1].finished or rows[-1].erased_at or rows[-1].received_at < kept_since:
        return
    later = sa.select(LoggedMessage.message_sid).where(
        LoggedMessage.contact_number == rows[-1].contact_number,
        LoggedMessage.received_at > rows[-1].received_at,
    )
    if connection.scalar(later.limit(1)) is None:
        yield "is unfinished and has no row among conversations"


def _contradicted(connection: Connection, witness: Witness) -> Iterator[str]:
    replies: dict[str, str | None] = {}
    for sids in _chunks(witness.answers):
        for sid, logged in message_log.find_replies(connection, sids).items():
            replies[sid] = None if logged.erased else logged.reply
    yield from witness.contradictions(replies)
    found: set[str] = set()
    erased: set[str] = set()
    for ids in _chunks(witness.statuses):
        rows = connection.execute(
            sa.select(Review.conversation_id, Review.status).where(Review.conversation_id.in_(ids))
        )
        statuses = {row.conversation_id: row.status for row in rows}
        yield from witness.lowered(statuses, STATUSES)
        found |= statuses.keys()
        erased |= {
            *connection.scalars(
                sa.select(LoggedMessage.conversation_id).where(
                    LoggedMessage.conversation_id.in_(ids), LoggedMessage.erased_at.is_not(None)
                )
            )
        }
    yield from witness.missing(found, erased, STATUSES)


def _chunks(ids: Collection[str]) -> Iterator[Sequence[str]]:
    ids = [*ids]
    for place in range(0, len(ids), CONVERSATIONS_AT_ONCE):
        yield ids[place : place + CONVERSATIONS_AT_ONCE]


def read_options() -> tuple[bool, Witness | None]:
    """Read the command line: whether to be strict, and a witness. Raises OSError or ValueError."""
    parser = argparse.ArgumentParser(prog="run.py check-data", description=__doc__)
    parser.add_argument(
        "--witness", type=Path, metavar="FILE", help="what customers were told, by demo --witness"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="every conversation must have kept to CONVERSATION_TTL_HOURS, and an unfinished one"
        " have its row: not so where that setting or CONVERSATION_STORE was changed since, or the"
        " memory store restarted",
    )
    options = parser.parse_args()
    return options.strict, Witness.load(options.witness) if options.witness else None


def main() -> None:
    try:
        is_strict, witness = read_options()
    except (OSError, ValueError) as error:
        sys.exit(f"The witness can't be read: {error}")
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.exit(str(error))
    place, ttl = name_of(settings.database_url), settings.conversation_ttl
    keeps_rows = is_strict and settings.conversation_store == "database"
    kept_since = utc_now() - ttl if keeps_rows else None
    try:
        database = open_database(settings.database_url)
        if (version := schema.schema_version(database.engine)) != SCHEMA_VERSION:
            sys.exit(
                f"{place} has schema {version!r}, this program checks {SCHEMA_VERSION}."
                " Starting the service brings an older one up to date; for a newer one, install"
                " the newer program."
            )
        kept_for = ttl if is_strict else None
        unsound = [*foundations.problems(database)]
        for problem in unsound:  # now: of a damaged file the rest may not be readable
            tell(problem)
        findings = check(
            database, kept_since, kept_for=kept_for, witness=witness, most_skew=MOST_SKEW
        )
    except (SQLAlchemyError, ValueError, *OUTAGES) as error:
        sys.exit(f"{place} can't be read: {describe(error)}")
    for problem in findings.problems[:100]:
        tell(problem)
    problems = len(unsound) + len(findings.problems)
    sys.stderr.write(
        f"Checked {place}\nMessages: {findings.messages}, conversations: {findings.conversations},"
        f" reviews: {findings.reviews}. Problems: {problems or 'none'}.\n"
    )
    sys.exit(1 if problems else 0)


def tell(line: str) -> None:
    print(line)  # noqa: T201 - this is what people run it for


if __name__ == "__main__":
    main()
