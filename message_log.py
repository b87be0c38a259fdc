"""All SQL about the log of messages: the transcript, and the truth to rebuild the rest from."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from conversation import RULES_VERSION, Conversation, Message, State, Turn, replay, take_turn
from database import utc_now
from models import LoggedMessage


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """What was answered to a message that is in the log."""

    contact: str
    text: str
    reply: str
    conversation_id: str
    finished: bool
    erased: bool


def find_replies(connection: Connection, sids: Collection[str]) -> dict[str, LoggedReply]:
    """Look messages up by SID; those that were never taken are missing from the result."""
    rows = connection.execute(sa.select(LoggedMessage).where(LoggedMessage.message_sid.in_(sids)))
    return {
        row.message_sid: LoggedReply(
            contact=row.contact_number,
            text=row.body,
            reply=row.reply,
            conversation_id=row.conversation_id,
            finished=row.finished,
            erased=row.erased_at is not None,
        )
        for row in rows
    }


def append(connection: Connection, taken: Sequence[tuple[Message, Turn, datetime]]) -> None:
    """Log messages with the turns they led to and the times at which they were taken.

    Raises IntegrityError where a SID or a place in a conversation is taken already.
    """
    if taken:
        connection.execute(sa.insert(LoggedMessage), [_row(*entry) for entry in taken])


def _row(message: Message, turn: Turn, received_at: datetime) -> dict[str, Any]:
    return {
        "message_sid": message.sid,
        "contact_number": message.contact,
        "conversation_id": turn.conversation.id,
        "position": turn.conversation.position,
        "body": message.text,
        "media": [{"url": url, "type": kind} for url, kind in message.media],
        "reply": turn.reply,
        "finished": turn.review is not None,
        "rules": RULES_VERSION,
        "received_at": received_at,
    }


def prove_writable(connection: Connection) -> None:
    """Write a message and take it back: what a commit of this needs, a real message needs too."""
    message = Message(f"proof-{uuid.uuid4().hex}", "", "")
    append(connection, [(message, take_turn(None, message), utc_now())])
    connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == message.sid))


def rebuild_conversation(
    connection: Connection, contact: str, idle_since: datetime
) -> Conversation | None:
    """Replay the contact's latest conversation; None where it is over, idle or was never begun."""
    last = connection.execute(
        sa.select(LoggedMessage.conversation_id, LoggedMessage.received_at)
        .where(LoggedMessage.contact_number == contact)
        .order_by(LoggedMessage.received_at.desc(), LoggedMessage.position.desc())
        .limit(1)
    ).first()
    if last is None or last.received_at < idle_since:
        return None
    rows = connection.execute(
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id == last.conversation_id)
        .order_by(LoggedMessage.position)
    )
    conversation = replay(map(as_message, rows))[-1].conversation
    return None if conversation.state is State.START else conversation


def as_message(row: Any) -> Message:
    """Turn a row of the log back into the message it was."""
    return Message(row.message_sid, row.contact_number, row.body)
