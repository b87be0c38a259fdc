"""Facts in the log: each message states its turn, what it did, and where the contact stood then.

Version 1 derived all that from the texts, by its rules. Its rules do it here for the last time.
The table conversations goes, since the log now says where a contact stands.
"""

import io
import json
import logging
import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from db.migrations import version_1
from db.migrations.frozen import UtcDateTime
from db.migrations.version_1 import OldMessage, Replay

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROWS_AT_ONCE = 1000
SECONDS_BETWEEN_LINES = 10.0
CACHE_KIB = 64 * 1024
"""SQLite's cache while it fills indexes in no order; the default is 2 MB."""

logger = logging.getLogger("reviews")

COLUMNS = (
    *("message_sid", "contact_number", "turn", "conversation_id", "position", "body", "media"),
    *("reply", "outcome", "state", "answers", "received_at", "erased_at"),
)

NewRow = tuple[str | int | None, ...]
"""A value for each of COLUMNS."""


def upgrade() -> None:
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        lock_tables(connection)
    connection.exec_driver_sql("DELETE FROM messages WHERE substr(message_sid, 1, 4) = 'end-'")
    op.rename_table("messages", "old_messages")
    create_messages(with_constraints=is_sqlite)
    count_turns(connection)
    if is_sqlite:
        old_size = connection.exec_driver_sql("PRAGMA cache_size").scalar()
        connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")
    migrate_messages(connection)
    migrate_lone_conversations(connection)
    for table in ("turns", "conversations", "old_messages"):
        op.drop_table(table)
    create_indexes(with_constraints=not is_sqlite)
    if is_sqlite:
        connection.exec_driver_sql(f"PRAGMA cache_size = {old_size}")
    else:
        connection.exec_driver_sql("ANALYZE messages")


def lock_tables(connection: Connection) -> None:
    """Keep workers of version 1 out until the end, when their columns are gone.

    Each try is shorter than deadlock_timeout, so that a worker with one of the tables, waiting for
    the other, gets it and is not ended.
    """
    is_waiting = False
    while True:
        savepoint = connection.begin_nested()
        try:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 800")
            connection.exec_driver_sql(
                "LOCK TABLE messages, conversations IN ACCESS EXCLUSIVE MODE"
            )
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            savepoint.commit()
            return
        except OperationalError as error:
            savepoint.rollback()
            if getattr(error.orig, "pgcode", None) != "55P03":  # lock_not_available
                raise
            if not is_waiting:
                logger.info("the migration waits for others who use the tables")
            is_waiting = True
            time.sleep(0.05)


def create_messages(*, with_constraints: bool) -> None:
    """Create the table. PostgreSQL is quicker if constraints come later; SQLite can't do that."""
    constraints = [
        sa.PrimaryKeyConstraint("message_sid", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "conversation_id", "position", name=op.f("uq_messages_conversation_id_position")
        ),
        sa.UniqueConstraint("contact_number", "turn", name=op.f("uq_messages_contact_number_turn")),
    ]
    op.create_table(
        "messages",
        sa.Column("message_sid", sa.Text, nullable=False),
        sa.Column("contact_number", sa.Text, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("media", sa.JSON, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("answers", sa.JSON, nullable=False),
        sa.Column("context", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("settings_version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("erased_at", UtcDateTime, nullable=True),
        *(constraints if with_constraints else ()),
    )


def create_indexes(*, with_constraints: bool) -> None:
    if with_constraints:
        op.create_primary_key(op.f("pk_messages"), "messages", ["message_sid"])
        for columns in (["conversation_id", "position"], ["contact_number", "turn"]):
            name = op.f(f"uq_messages_{'_'.join(columns)}")
            op.create_unique_constraint(name, "messages", columns)
    unerased = sa.text("erased_at IS NULL")
    op.create_index(
        "ix_messages_unerased",
        "messages",
        ["received_at"],
        sqlite_where=unerased,
        postgresql_where=unerased,
    )


def count_turns(connection: Connection) -> None:
    """Count, for each conversation, the messages that its contact had sent before it."""
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE turns (conversation_id TEXT, contact_number TEXT,"
        " is_whole INTEGER, turns_before INTEGER, last_turn INTEGER,"
        " PRIMARY KEY (conversation_id, contact_number))"
    )
    connection.exec_driver_sql(
        """
        INSERT INTO turns
        SELECT grouped.conversation_id, grouped.contact_number,
            CASE WHEN first = 1 AND unknown = 0 THEN 1 ELSE 0 END,
            sum(messages) OVER (
                PARTITION BY grouped.contact_number
                ORDER BY opener.received_at, grouped.conversation_id ROWS UNBOUNDED PRECEDING
            ) - messages,
            sum(messages) OVER (PARTITION BY grouped.contact_number)
        FROM (
            SELECT conversation_id, contact_number, min(position) AS first, count(*) AS messages,
                sum(CASE WHEN erased_at IS NULL AND rules = 1 THEN 0 ELSE 1 END) AS unknown
            FROM old_messages GROUP BY conversation_id, contact_number
        ) AS grouped
        JOIN old_messages AS opener
            ON opener.conversation_id = grouped.conversation_id AND opener.position = first
        """
    )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE turns")


OLD_MESSAGES = """
    SELECT message_sid, old_messages.contact_number, old_messages.conversation_id,
        old_messages.position, body, CAST(media AS TEXT), reply, finished,
        CAST(received_at AS TEXT), CAST(erased_at AS TEXT),
        is_whole, turns_before, last_turn, state, product_name, user_name
    FROM old_messages
    LEFT JOIN turns ON turns.conversation_id = old_messages.conversation_id
        AND turns.contact_number = old_messages.contact_number
    LEFT JOIN conversations ON conversations.contact_number = old_messages.contact_number
        AND conversations.conversation_id = old_messages.conversation_id
        AND conversations.position = old_messages.position
    ORDER BY old_messages.conversation_id, old_messages.position
"""


def migrate_messages(connection: Connection) -> None:
    """Fill the new table from the old one, and log how far that is."""
    total = connection.exec_driver_sql("SELECT count(*) FROM old_messages").scalar_one()
    result = connection.execute(sa.text(OLD_MESSAGES).execution_options(yield_per=ROWS_AT_ONCE))
    replay, done, next_line = Replay(), 0, time.monotonic()
    for page in result.partitions(ROWS_AT_ONCE):
        if time.monotonic() >= next_line:
            logger.info("migrating messages: %s of %s", f"{done:,}", f"{total:,}")
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        write(connection, [new_row(replay, OldMessage(*row)) for row in page])
        done += len(page)


def new_row(replay: Replay, old: OldMessage) -> NewRow:
    turn, facts = replay.take(old)
    return (
        *(old.message_sid, old.contact_number, turn, old.conversation_id, old.position),
        *(old.body, old.media, old.reply, facts.outcome, facts.state, as_json(facts.answers)),
        *(old.received_at, old.erased_at),
    )


LONE_CONVERSATIONS = """
    SELECT contact_number, conversation_id, position, state, product_name, user_name,
        CAST(updated_at AS TEXT) AS updated_at
    FROM (
        SELECT *, row_number() OVER (PARTITION BY conversation_id ORDER BY contact_number) AS number
        FROM conversations
    ) AS lone
    WHERE number = 1
        AND NOT EXISTS (SELECT 1 FROM old_messages WHERE contact_number = lone.contact_number)
        AND NOT EXISTS (SELECT 1 FROM old_messages WHERE conversation_id = lone.conversation_id)
        AND NOT EXISTS (
            SELECT 1 FROM old_messages WHERE message_sid = 'migrated-' || lone.conversation_id
        )
"""


def migrate_lone_conversations(connection: Connection) -> None:
    """Make a message of each unfinished conversation of a contact who has none in the log."""
    query = sa.text(LONE_CONVERSATIONS).execution_options(yield_per=ROWS_AT_ONCE)
    for page in connection.execute(query).partitions(ROWS_AT_ONCE):
        rows: list[NewRow] = []
        for old in page:
            facts = version_1.stand_at(
                version_1.UNKNOWN, old.state, old.product_name, old.user_name
            )
            if facts is not version_1.UNKNOWN:
                rows.append(
                    (
                        *(f"migrated-{old.conversation_id}", old.contact_number, 1),
                        *(old.conversation_id, old.position, "", "[]", ""),
                        *(facts.outcome, facts.state, as_json(facts.answers), old.updated_at, None),
                    )
                )
        write(connection, rows)


as_json = json.JSONEncoder(ensure_ascii=False).encode


def write(connection: Connection, rows: list[NewRow]) -> None:
    if not rows:
        return
    columns = ", ".join(COLUMNS)
    if connection.dialect.name == "sqlite":
        values = ", ".join("?" * len(COLUMNS))
        connection.exec_driver_sql(f"INSERT INTO messages ({columns}) VALUES ({values})", rows)  # noqa: S608
        return
    lines = io.StringIO("".join("\t".join(map(as_field, row)) + "\n" for row in rows))
    with connection.connection.cursor() as cursor:
        cursor.copy_expert(f"COPY messages ({columns}) FROM STDIN", lines)


def as_field(value: str | int | None) -> str:
    """Write a value as COPY reads it: https://www.postgresql.org/docs/current/sql-copy.html."""
    if value is None:
        return r"\N"
    text = str(value).replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")
