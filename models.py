"""The tables. Their times are aware and in UTC."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, DateTime, Index, Integer, MetaData, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A column that takes an aware time and returns it in UTC. SQLite stores it without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BigInt = sa.BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UtcDateTime}  # noqa: RUF012 - SQLAlchemy's own API


class Review(Base):
    """A finished review; at most one for each conversation."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "contact_number"),
        # For reviews.repository.fill_search_text, which runs at every start.
        Index(
            "ix_reviews_unfilled",
            "id",
            sqlite_where=sa.text("search_text = ''"),
            postgresql_where=sa.text("search_text = ''"),
        ),
        # The id of an erased review is never used again.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    contact_number: Mapped[str]
    user_name: Mapped[str]
    product_name: Mapped[str]
    product_review: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    created_at: Mapped[datetime]
    conversation_id: Mapped[str] = mapped_column(unique=True)
    message_sid: Mapped[str | None] = mapped_column(index=True)
    error_code: Mapped[int | None]
    updated_at: Mapped[datetime]
    search_text: Mapped[str] = mapped_column(server_default="")
    """core.text.search_text of product, name and review; '' until a start has filled it in."""


class LoggedMessage(Base):
    """A customer's message, our reply, and the facts of that turn.

    The facts say what the message did under the rules of its day, so later changes of rules and
    wording don't change what it meant. The package audit checks the reviews against this log.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        UniqueConstraint("contact_number", "turn"),
        # For retention: finds the oldest messages that still have words.
        Index(
            "ix_messages_unerased",
            "received_at",
            sqlite_where=sa.text("erased_at IS NULL"),
            postgresql_where=sa.text("erased_at IS NULL"),
        ),
    )

    message_sid: Mapped[str] = mapped_column(primary_key=True)
    contact_number: Mapped[str]
    turn: Mapped[int]
    """1, 2, 3 … for each contact. The highest one marks the contact's last message."""
    conversation_id: Mapped[str]
    position: Mapped[int]
    body: Mapped[str]
    media: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    reply: Mapped[str]
    outcome: Mapped[str]
    """What the message did: a conversation.model.Outcome."""
    state: Mapped[str]
    """The contact's state after the message."""
    answers: Mapped[dict[str, str]] = mapped_column(JSON)
    """What was answered so far, by question. Only the row that finishes has the review's text."""
    context: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    """Ids and times that the next turn needs, never words."""
    settings_version: Mapped[int] = mapped_column(server_default="0")
    """The version of the owner's settings that answered; 0 is the program's own wording."""
    received_at: Mapped[datetime]
    """The clock's time as read. It may be earlier than that of the message before."""
    erased_at: Mapped[datetime | None]
