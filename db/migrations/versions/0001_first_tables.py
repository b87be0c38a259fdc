"""The first tables: reviews, messages, conversations.

A `reviews` table that an earlier program made, with the seven columns alone, is adopted: its rows
keep their ids, and numbers and times are put into this program's form.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from sqlalchemy import RowMapping

from db.migrations import adoption
from db.migrations.frozen import BigInt, UtcDateTime, contact_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# The columns that a row of the earlier program fills.
reviews = sa.table(
    "reviews",
    sa.column("id", BigInt),
    sa.column("contact_number", sa.Text),
    sa.column("user_name", sa.Text),
    sa.column("product_name", sa.Text),
    sa.column("product_review", sa.Text),
    sa.column("status", sa.Text),
    sa.column("created_at", UtcDateTime),
    sa.column("conversation_id", sa.Text),
    sa.column("updated_at", UtcDateTime),
)


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    adopting = inspector.has_table("reviews")
    if adopting:
        insist_on_seven({column["name"] for column in inspector.get_columns("reviews")})
        adoption.require_nothing_else(op.get_bind())
        op.rename_table("reviews", "adopted_reviews")
    create_tables()
    if adopting:
        adopt_rows()
        op.drop_table("adopted_reviews")


def insist_on_seven(columns: set[str]) -> None:
    """Refuse a table with columns that adopting would lose, or without those it needs."""
    seven = {
        *("id", "contact_number", "user_name", "product_name", "product_review"),
        *("status", "created_at"),
    }
    if columns != seven:
        odd = ", ".join(sorted(columns ^ seven))
        raise CommandError(
            "The database has a table reviews of another program, with other columns than the seven"
            f" we know ({odd}). Rename that table, or use another database."
        )


def create_tables() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", BigInt, nullable=False),
        sa.Column("contact_number", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("product_name", sa.Text, nullable=False),
        sa.Column("product_review", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("message_sid", sa.Text, nullable=True),
        sa.Column("error_code", sa.Integer, nullable=True),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("conversation_id", name=op.f("uq_reviews_conversation_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_reviews_created_at_id"), "reviews", ["created_at", "id"])
    op.create_index(op.f("ix_reviews_message_sid"), "reviews", ["message_sid"])
    op.create_table(
        "messages",
        sa.Column("message_sid", sa.Text, nullable=False),
        sa.Column("contact_number", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("media", sa.JSON, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("rules", sa.Integer, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("erased_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("message_sid", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "conversation_id",
            "position",
            name=op.f("uq_messages_conversation_id_position"),
        ),
    )
    op.create_index(
        op.f("ix_messages_contact_number_received_at"),
        "messages",
        ["contact_number", "received_at"],
    )
    op.create_table(
        "conversations",
        sa.Column("contact_number", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("product_name", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("contact_number", name=op.f("pk_conversations")),
    )


def adopt_rows() -> None:
    connection = op.get_bind()
    now = datetime.now(UTC)
    odd = adoption.OddValues()
    rows = adoption.read_rows(connection).mappings()
    while some := rows.fetchmany(1000):
        op.bulk_insert(reviews, [adopted(row, now) for row in some if not odd.find(row)])
    odd.refuse()
    if connection.dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('reviews', 'id'), max(id)) FROM reviews"
            " HAVING max(id) IS NOT NULL"
        )


def adopted(row: RowMapping, now: datetime) -> dict[str, Any]:
    created_at = adoption.as_utc(row["created_at"]) or now
    return {
        "id": row["id"],
        "contact_number": contact_of(row["contact_number"] or ""),
        "user_name": row["user_name"] or "",
        "product_name": row["product_name"] or "",
        "product_review": row["product_review"] or "",
        "status": row["status"] or "pending",
        "created_at": created_at,
        "conversation_id": f"legacy-{row['id']}",
        "updated_at": created_at,
    }
