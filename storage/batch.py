"""Read and write a batch of messages in one statement each: on PostgreSQL each is a round trip.

SQLite writes with one statement for each table. The SQL is text, because this is the hot path. The
read is a UNION ALL with one SELECT for each kind of fact, so more facts need no further round trip.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection, Row

from conversation.model import LogEnd, Outcome

_to_json = json.JSONEncoder(ensure_ascii=False).encode
"""json.dumps would make a new encoder for each value."""

Value = str | int | datetime | Mapping[str, Any] | Sequence[Any] | None
"""The value of a column; mappings and sequences are stored as JSON."""


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """A message that is in the log, and our reply to it."""

    contact: str
    text: str
    reply: str
    conversation_id: str
    is_finished: bool
    is_erased: bool


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """Replies by SID and log ends by contact. What the log does not have is left out."""

    replies: dict[str, LoggedReply]
    ends: dict[str, LogEnd]


# `answers` is NULL where the cached end is the log's.
_READ = """
SELECT 'reply' AS kind, message_sid, contact_number, conversation_id, outcome, erased_at, body,
    reply, NULL AS turn, NULL AS position, NULL AS state, NULL AS answers, NULL AS received_at
FROM messages WHERE message_sid {is_among}
UNION ALL
SELECT 'end', message_sid, contact_number, conversation_id, outcome, erased_at, NULL,
    NULL, turn, position, state,
    CASE WHEN contact_number || ' ' || turn || ' ' || message_sid || ' ' || {time} {is_among}
        THEN NULL ELSE CAST(answers AS TEXT) END, received_at
FROM {contacts} JOIN messages ON contact_number = contact.value
    AND turn = (SELECT max(turn) FROM messages AS any_turn WHERE contact_number = contact.value)
"""
_READS = {
    "postgresql": _READ.format(
        is_among="= ANY(%s::text[])",
        contacts="unnest(%s::text[]) AS contact(value)",
        time="CAST(extract(epoch FROM received_at) * 1000000 AS bigint)",
    ),
    "sqlite": _READ.format(
        is_among="IN (SELECT value FROM json_each(?))",
        contacts="json_each(?) AS contact",
        time="received_at",
    ),
}


def read(
    connection: Connection,
    sids: Collection[str] = (),
    contacts: Collection[str] = (),
    cached: Mapping[str, LogEnd] | None = None,
) -> BatchFacts:
    """Read the replies to messages, and where contacts stand. The contacts should be locked.

    `cached` saves reading the answers of contacts whose log ends at that very message, unerased.
    The time is compared, too: a log restored from a backup may have the same SID at the same turn.
    """
    cached = cached or {}
    is_sqlite = connection.dialect.name == "sqlite"
    known = [
        f"{contact} {end.turn} {end.message_sid} {_as_key(end.received_at, is_sqlite)}"
        for contact, end in cached.items()
    ]
    lists = [*sids], known, [*contacts]
    parameters = tuple(json.dumps(each) if is_sqlite else each for each in lists)
    facts = BatchFacts({}, {})
    for row in connection.exec_driver_sql(_READS[connection.dialect.name], parameters):
        if row.kind == "reply":
            facts.replies[row.message_sid] = _read_reply(row)
        else:
            facts.ends[row.contact_number] = _read_end(row, cached)
    return facts


def _read_reply(row: Row[Any]) -> LoggedReply:
    return LoggedReply(
        contact=row.contact_number,
        text=row.body,
        reply=row.reply,
        conversation_id=row.conversation_id,
        is_finished=row.outcome == Outcome.FINISHED,
        is_erased=row.erased_at is not None,
    )


def _read_end(row: Row[Any], cached: Mapping[str, LogEnd]) -> LogEnd:
    answers = cached[row.contact_number].answers if row.answers is None else json.loads(row.answers)
    is_erased = row.erased_at is not None
    return LogEnd(
        message_sid=row.message_sid,
        turn=row.turn,
        conversation_id=row.conversation_id,
        position=row.position,
        state=row.state,
        answers={} if is_erased else answers,
        received_at=_as_utc(row.received_at),
        is_erased=is_erased,
    )


def _as_key(time: datetime, is_sqlite: bool) -> str | int:
    """Write a time as the SQL of `read` does: SQLite's text, or microseconds since 1970."""
    if is_sqlite:
        return _as_text(time)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _as_text(time: datetime) -> str:
    """Write a time as models.UtcDateTime does for SQLite: in UTC, without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _as_utc(time: str | datetime) -> datetime:
    """Read a time: PostgreSQL's, or SQLite's text, which is in UTC without a zone."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def write(connection: Connection, rows: Mapping[str, Sequence[Mapping[str, Value]]]) -> None:
    """Insert rows, given by table; all rows of a table have the same columns in the same order.

    Raises IntegrityError if a key is taken.
    """
    inserts = {table: some for table, some in rows.items() if some}
    if connection.dialect.name == "sqlite":
        for table, some in inserts.items():
            values = [tuple(map(_for_sqlite, row.values())) for row in some]
            connection.exec_driver_sql(_insert(table, some[:1], "?"), values)
    elif inserts:
        statements = [_insert(table, some, "%s") for table, some in inserts.items()]
        every = (row for some in inserts.values() for row in some)
        flat = tuple(_for_postgresql(value) for row in every for value in row.values())
        connection.exec_driver_sql("; ".join(statements), flat)


def _insert(table: str, rows: Sequence[Mapping[str, Value]], mark: str) -> str:
    """Write an INSERT with the placeholder `mark` for each value of the rows."""
    marks = f"({', '.join([mark] * len(rows[0]))})"
    values = ", ".join([marks] * len(rows))
    return f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {values}"  # noqa: S608 - our names


def _for_sqlite(value: Value) -> str | int | None:
    if isinstance(value, datetime):
        return _as_text(value)
    return _for_postgresql(value)  # type: ignore[return-value]


def _for_postgresql(value: Value) -> str | int | datetime | None:
    if value is None or isinstance(value, str | int | datetime):
        return value
    return _to_json(value)
