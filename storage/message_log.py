"""All SQL about the log of messages: the facts of every turn, and the transcript."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from conversation.model import Message, Outcome, State, Turn
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage
from storage import batch
from storage.batch import Value


def row_of(message: Message, turn: Turn, received_at: datetime) -> dict[str, Value]:
    """Make the row of a message with the facts of its turn, as storage.batch.write takes it."""
    return {
        "message_sid": message.sid,
        "contact_number": message.contact,
        "turn": turn.number,
        "conversation_id": turn.conversation_id,
        "position": turn.position,
        "body": message.text,
        "media": [{"url": url, "type": kind} for url, kind in message.media],
        "reply": turn.reply,
        "outcome": str(turn.outcome),
        "state": str(turn.state),
        "answers": turn.answers,
        "received_at": received_at,
    }


def prove_writable(connection: Connection) -> None:
    """Write a message and take it back: what a commit of this needs, a real message needs too."""
    sid = f"proof-{uuid.uuid4().hex}"
    turn = Turn(1, sid, 1, Outcome.OPENED, State.START, {}, "")
    batch.write(connection, {"messages": [row_of(Message(sid, sid, ""), turn, utc_now())]})
    connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == sid))


def read_transcript(database: Database, conversation_id: str) -> Sequence[Row[Any]]:
    """Read a conversation's messages in order, with what was answered."""
    query = (
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id == conversation_id)
        .order_by(LoggedMessage.position)
    )
    with database.read() as connection:
        return connection.execute(query).all()
