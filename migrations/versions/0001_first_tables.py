"""The first tables: reviews, messages, conversations.

A `reviews` table that an earlier program made, with the seven columns alone, is adopted: its rows
keep their ids, and numbers and times are put into this program's form.
"""

import sqlalchemy as sa
from alembic import op

from models import BigInt, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    adopting = sa.inspect(op.get_bind()).has_table("reviews")
    if adopting:
        op.rename_table("reviews", "adopted_reviews")
    create_tables()
    if adopting:
        adopt_rows()
        op.drop_table("adopted_reviews")


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
    # A naive time is UTC: the session's zone is UTC on PostgreSQL, and SQLite keeps none.
    op.execute("""
        INSERT INTO reviews (id, contact_number, user_name, product_name, product_review, status,
                             created_at, conversation_id, updated_at)
        SELECT id,
               CASE WHEN lower(contact_number) LIKE 'whatsapp:%' THEN substr(contact_number, 10)
                    ELSE coalesce(contact_number, '') END,
               coalesce(user_name, ''), coalesce(product_name, ''), coalesce(product_review, ''),
               coalesce(status, 'pending'), coalesce(created_at, CURRENT_TIMESTAMP),
               'legacy-' || id, coalesce(created_at, CURRENT_TIMESTAMP)
        FROM adopted_reviews ORDER BY id
    """)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('reviews', 'id'), max(id)) FROM reviews"
            " HAVING max(id) IS NOT NULL"
        )
