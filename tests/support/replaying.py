"""The log played again by today's state machine, held against what it says of itself."""

from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from conversation.model import LogEnd, Message, Situation
from conversation.state_machine import take_turn
from db.engine import Database
from models import LoggedMessage


def differences(database: Database, idle_after: timedelta) -> Iterator[str]:
    """Take the turn of every unerased message again; yield a sentence for each that is another."""
    query = sa.select(LoggedMessage).order_by(LoggedMessage.contact_number, LoggedMessage.turn)
    with database.read() as connection:
        rows = connection.execute(query).all()
    ends: dict[str, LogEnd] = {}
    for row in rows:
        contact = row.contact_number
        situation = Situation(row.received_at, idle_after, ends.get(contact))
        ends[contact] = LogEnd(
            row.message_sid,
            row.turn,
            row.conversation_id,
            row.position,
            row.state,
            row.answers,
            row.received_at,
            row.erased_at is not None,
        )
        if row.erased_at is not None:
            continue
        message = Message(row.message_sid, contact, row.body)
        turn = take_turn(situation, message)
        said = (turn.outcome, turn.reply)
        if turn.log_end(message, row.received_at) != ends[contact] or said != (
            row.outcome,
            row.reply,
        ):
            yield f"message {row.message_sid} leads elsewhere by today's rules"
