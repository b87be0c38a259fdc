"""What a store remembers of conversations, held against the log: the log is right."""

from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import groupby
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import message_log
from conversation import Conversation, State, replay
from message_log import as_message
from models import LoggedMessage


def reconcile(
    connection: Connection,
    remembered: Mapping[str, Conversation | None],
    idle_since: datetime,
    times: Mapping[str, datetime | None] | None = None,
) -> dict[str, Conversation | None]:
    """Say where contacts stand: as remembered where that is the log's end, else by its replay.

    With `times` that takes a last message of this time: a log that was put back to an earlier day
    may have other words in its place. None stands for nothing under way: never begun, over, or last
    touched before `idle_since`.
    """
    stand: dict[str, Conversation | None] = dict.fromkeys(remembered)
    doubtful = []
    for contact, last in message_log.find_latest(connection, remembered.keys()).items():
        if last.finished or last.erased_at is not None or last.received_at < idle_since:
            continue
        conversation, end = remembered[contact], (last.conversation_id, last.position)
        is_end = conversation is not None and (conversation.id, conversation.position) == end
        if is_end and (times is None or times[contact] == last.received_at):
            stand[contact] = conversation
        else:
            doubtful.append(last.conversation_id)
    return stand | _replay(connection, doubtful)


def _replay(connection: Connection, conversation_ids: Collection[str]) -> dict[str, Conversation]:
    """Replay conversations that are not over; return their ends by contact."""
    if not conversation_ids:
        return {}
    rows = connection.execute(
        sa.select(LoggedMessage)
        .where(LoggedMessage.conversation_id.in_(conversation_ids))
        .order_by(LoggedMessage.conversation_id, LoggedMessage.position)
    )
    replayed = {}
    for _, group in groupby(rows, attrgetter("conversation_id")):
        messages = [*map(as_message, group)]
        end = replay(messages)[-1].conversation
        if end.state is not State.START:  # else today's rules see its end where others did not
            replayed[messages[0].contact] = end
    return replayed
