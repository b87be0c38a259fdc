"""The message log: the row of a turn, and transcripts."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from conversation.model import Message, Outcome, State, Turn
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage
from storage import batch
from storage.batch import Value


def row_of(message: Message, turn: Turn, received_at: datetime) -> dict[str, Value]:
    """Make the row of a message with the facts of its turn, for storage.batch.write."""
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
    """Insert a message and delete it again: a commit of this proves that messages can be recorded.

    Raises what the database raises.
    """
    sid = f"proof-{uuid.uuid4().hex}"
    turn = Turn(1, sid, 1, Outcome.OPENED, State.START, {}, "")
    batch.write(connection, {"messages": [row_of(Message(sid, sid, ""), turn, utc_now())]})
    connection.execute(sa.delete(LoggedMessage).where(LoggedMessage.message_sid == sid))


class TranscriptLine(NamedTuple):
    """A message of a conversation and our reply. An erased message has neither words nor media."""

    received_at: datetime
    body: str
    media: Sequence[Mapping[str, str]]
    """`url` and `type` (media type) of each attachment."""
    reply: str
    erased_at: datetime | None


_LINE = [LoggedMessage.__table__.columns[name] for name in TranscriptLine._fields]


def read_transcript(database: Database, conversation_id: str) -> list[TranscriptLine]:
    """Read a conversation in order; empty where nothing was logged."""
    query = (
        sa.select(*_LINE)
        .where(LoggedMessage.conversation_id == conversation_id)
        .order_by(LoggedMessage.position)
    )
    with database.read() as connection:
        return [TranscriptLine._make(row) for row in connection.execute(query)]
