"""The tables, and how their times are kept."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, DateTime, Index, Integer, MetaData, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in, an aware time in UTC out, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is not stored")
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
    """A finished review. `conversation_id` makes it the only one of its conversation."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "contact_number"),
        # What a start has to fill in, found at once however many reviews there are.
        Index(
            "ix_reviews_unfilled",
            "id",
            sqlite_where=sa.text("search_text = ''"),
            postgresql_where=sa.text("search_text = ''"),
        ),
        # An id that was erased is never given to another review.
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
    """Product, name and review as reviews.fold leaves them: what `q` is looked for in."""


class LoggedMessage(Base):
    """A message, what we answered, and the facts of that turn: the log is the truth.

    Facts say what a message did under the rules of its day, so rules and wording may change freely.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        UniqueConstraint("contact_number", "turn"),
        # The oldest words come first when they are to be erased, however much has been already.
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
    """1, 2, 3 … for each contact. It alone says which message is the last."""
    conversation_id: Mapped[str]
    position: Mapped[int]
    body: Mapped[str]
    media: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    reply: Mapped[str]
    outcome: Mapped[str]
    """What the message did: a conversation.Outcome."""
    state: Mapped[str]
    """The contact's state after the message."""
    answers: Mapped[dict[str, str]] = mapped_column(JSON)
    """What was said so far, by question; the review's text only in the row that changes it."""
    context: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    """Ids and times that the next turn needs, never words."""
    settings_version: Mapped[int] = mapped_column(server_default="0")
    """Which settings of the owner answered; 0 is the wording of the program itself."""
    received_at: Mapped[datetime]
    """The clock as it was read. It may fall from one message to the next."""
    erased_at: Mapped[datetime | None]
