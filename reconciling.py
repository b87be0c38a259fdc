"""What a store remembers of conversations, held against the log: the log is right."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.orm import aliased

from conversation import Conversation, State, replay
from message_log import as_message
from models import LoggedMessage

MOST_SKEW = timedelta(minutes=1)
"""How far the clocks of workers may be apart, or one be set back: what two conversations have of
messages within that is in no certain order."""


End = Row[*tuple[Any, ...]]
"""The message that a conversation ends with in the log, as _ENDS reads it."""

_ENDS: sa.Select[*tuple[Any, ...]] = sa.select(
    LoggedMessage.contact_number,
    LoggedMessage.conversation_id,
    LoggedMessage.position,
    LoggedMessage.finished,
    LoggedMessage.received_at,
    LoggedMessage.erased_at,
)


def reconcile(
    connection: Connection,
    remembered: Mapping[str, Conversation | None],
    idle_since: datetime,
) -> dict[str, Conversation | None]:
    """Say where contacts stand: as remembered where that is the log's end, else by its replay.

    None stands for nothing under way: never begun, over, or last touched before `idle_since`.
    """
    stand: dict[str, Conversation | None] = dict.fromkeys(remembered)
    if not remembered:
        return stand
    latest = _find_latest(connection, remembered.keys())
    ends = _find_ends(connection, remembered, latest)
    doubtful = []
    for contact, last in latest.items():
        end = ends.get(contact)
        if end is not None and end.received_at <= last.received_at - MOST_SKEW:
            end = None  # another conversation of the contact is newer
        last = end or last
        if last.finished or last.erased_at is not None or last.received_at < idle_since:
            continue
        if end is not None:
            stand[contact] = remembered[contact]
        else:
            doubtful.append(last.conversation_id)
    return stand | _replay(connection, doubtful)


def _find_ends(
    connection: Connection,
    remembered: Mapping[str, Conversation | None],
    latest: Mapping[str, End],
) -> dict[str, End]:
    """Find the last messages of remembered conversations that end in the log where they think."""
    ends, elsewhere = {}, []
    for contact, last in latest.items():
        conversation = remembered[contact]
        if conversation is None:
            continue
        if conversation.id != last.conversation_id:
            elsewhere.append((contact, conversation.id, conversation.position))
        elif conversation.position == last.position:
            ends[contact] = last
    if elsewhere:
        later = aliased(LoggedMessage)
        found = connection.execute(
            _ENDS.where(
                sa.tuple_(
                    LoggedMessage.contact_number,
                    LoggedMessage.conversation_id,
                    LoggedMessage.position,
                ).in_(elsewhere),
                ~sa.exists().where(
                    later.conversation_id == LoggedMessage.conversation_id,
                    later.position == LoggedMessage.position + 1,
                ),
            )
        )
        ends |= {row.contact_number: row for row in found}
    return ends


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


def _sids_of_latest(contacts: sa.TableValuedAlias) -> sa.Select[tuple[str | None]]:
    """Select what ends the conversation in which each contact has written last."""
    conversation_id = (
        sa.select(LoggedMessage.conversation_id)
        .where(LoggedMessage.contact_number == contacts.c.value)
        .order_by(LoggedMessage.received_at.desc(), LoggedMessage.position.desc())
        .limit(1)
        .correlate(contacts)
        .scalar_subquery()
    )
    end = (
        sa.select(LoggedMessage.message_sid)
        .where(LoggedMessage.conversation_id == conversation_id)
        .order_by(LoggedMessage.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.select(end).select_from(contacts)


# Put together once, as the contacts are one parameter, a JSON array, in each database's own way.
_CONTACTS = sa.bindparam("contacts", type_=sa.Text)
_SIDS_OF_LATEST = {
    "sqlite": _sids_of_latest(sa.func.json_each(_CONTACTS).table_valued("value")),
    "postgresql": _sids_of_latest(
        sa.func.json_array_elements_text(sa.cast(_CONTACTS, sa.JSON)).table_valued("value")
    ),
}
_BY_SID = _ENDS.where(LoggedMessage.message_sid.in_(sa.bindparam("sids", expanding=True)))


def _find_latest(connection: Connection, contacts: Collection[str]) -> dict[str, End]:
    # Two statements: PostgreSQL would read the whole table for one that has both.
    query = _SIDS_OF_LATEST[connection.dialect.name]
    found = connection.scalars(query, {"contacts": json.dumps([*contacts])})
    sids = [sid for sid in found if sid is not None]
    if not sids:
        return {}
    rows = connection.execute(_BY_SID, {"sids": sids})
    return {row.contact_number: row for row in rows if row.contact_number in contacts}
