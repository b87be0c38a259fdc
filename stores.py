"""Where unfinished conversations wait: the log of messages is the truth, a store its present end.

One contract, `hold`, encloses the transaction: lock, begin, yield, commit, publish, unlock. When
the block raises, nothing is committed and nothing published.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import message_log
from conversation import Conversation, State
from database import Database, utc_now
from models import UnfinishedConversation
from only_process import OnlyProcess


@dataclass(frozen=True, slots=True)
class Held:
    """What `hold` yields: the transaction, and the contacts that could be held: where they stand.

    None stands for a contact with nothing under way. To move a contact on, put its next
    conversation here. A conversation last touched before `idle_since` is over.
    """

    connection: Connection
    conversations: dict[str, Conversation | None]
    idle_since: datetime


class Store(Protocol):
    def open(self) -> None:
        """Make ready, and migrate. Raises CannotStart or one of database.OUTAGES."""

    def hold(
        self, contacts: Collection[str], claim: Callable[[], None]
    ) -> AbstractContextManager[Held]:
        """Hold those of `contacts` that nobody else holds, at once, until the transaction ends.

        `claim` is called last before COMMIT; what it raises rolls back. An exception after it,
        other than Away, means that nobody knows whether the commit happened. Raises OUTAGES.
        """

    def close(self) -> None:
        """Let go of what `open` took."""


class DatabaseStore:
    """Conversations in the log's own transaction: they can't differ from it, whatever crashes."""

    def __init__(
        self,
        database: Database,
        ttl: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._ttl, self._clock = database, ttl, clock

    def open(self) -> None:
        self._database.migrate()

    def close(self) -> None:
        pass

    @contextmanager
    def hold(self, contacts: Collection[str], claim: Callable[[], None]) -> Iterator[Held]:
        with self._database.write() as connection:
            # SQLite's one writer holds every contact; on PostgreSQL each has a lock, new ones too.
            ours = contacts if self._database.is_sqlite else _try_locks(connection, contacts)
            now = self._clock()
            before = _read(connection, ours, idle_since=now - self._ttl)
            held = Held(connection, dict(before), idle_since=now - self._ttl)
            yield held
            _write(connection, _changes(before, held.conversations), now)
            claim()


def _try_locks(connection: Connection, contacts: Collection[str]) -> Collection[str]:
    # Trying never waits, so it can't deadlock; COMMIT and a lost connection release.
    return connection.scalars(
        sa.text(
            "SELECT contact FROM unnest(CAST(:contacts AS text[])) AS contact"
            " WHERE pg_try_advisory_xact_lock(hashtextextended(contact, 0))"
        ),
        {"contacts": sorted(contacts)},
    ).all()


def _read(
    connection: Connection, contacts: Collection[str], idle_since: datetime
) -> dict[str, Conversation | None]:
    rows = connection.execute(
        sa.select(UnfinishedConversation).where(
            UnfinishedConversation.contact_number.in_(contacts),
            UnfinishedConversation.updated_at >= idle_since,
        )
    )
    found: dict[str, Conversation | None] = dict.fromkeys(contacts)
    for row in rows:
        found[row.contact_number] = Conversation(
            id=row.conversation_id,
            state=State(row.state),
            product_name=row.product_name,
            user_name=row.user_name,
            position=row.position,
        )
    return found


def _write(connection: Connection, changes: dict[str, Conversation | None], now: datetime) -> None:
    if not changes:
        return
    connection.execute(
        sa.delete(UnfinishedConversation).where(UnfinishedConversation.contact_number.in_(changes))
    )
    rows = [
        {
            "contact_number": contact,
            "conversation_id": conversation.id,
            "state": conversation.state.value,
            "product_name": conversation.product_name,
            "user_name": conversation.user_name,
            "position": conversation.position,
            "updated_at": now,
        }
        for contact, conversation in changes.items()
        if conversation is not None
    ]
    if rows:
        connection.execute(sa.insert(UnfinishedConversation), rows)


def _changes(
    before: dict[str, Conversation | None], after: dict[str, Conversation | None]
) -> dict[str, Conversation | None]:
    """Pick what moved; a conversation back at START is over, and nothing is kept of it."""
    return {
        contact: None if now is None or now.state is State.START else now
        for contact, now in after.items()
        if now != before[contact]
    }


class MemoryStore:
    """Conversations in a dict, for one process: a restart forgets them, never a review."""

    MOST_CONTACTS = 100_000

    def __init__(
        self,
        database: Database,
        ttl: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._ttl, self._clock = database, ttl, clock
        self._conversations: OrderedDict[str, tuple[Conversation, datetime]] = OrderedDict()
        self._doubtful: set[str] = set()
        self._only_process = OnlyProcess(database)
        self._lock = threading.Lock()

    def open(self) -> None:
        self._database.migrate()
        if self._only_process.claim():
            # Until now another process may have gone on with what we remember: ask the log.
            self._doubtful = set(self._conversations)

    def close(self) -> None:
        self._only_process.release()

    @contextmanager
    def hold(self, contacts: Collection[str], claim: Callable[[], None]) -> Iterator[Held]:
        with self._lock:
            self.open()
            now = self._clock()
            idle_since = now - self._ttl
            before = {contact: self._recall(contact, idle_since) for contact in contacts}
            with self._only_process.write() as connection:
                held = Held(connection, dict(before), idle_since)
                for contact in self._doubtful.intersection(contacts):
                    held.conversations[contact] = message_log.rebuild_conversation(
                        connection, contact, idle_since
                    )
                yield held
                claim()
            self._doubtful.difference_update(contacts)
            for contact, conversation in _changes(before, held.conversations).items():
                self._remember(contact, conversation, now)

    def _recall(self, contact: str, idle_since: datetime) -> Conversation | None:
        conversation, updated_at = self._conversations.get(contact, (None, idle_since))
        return conversation if updated_at >= idle_since else None

    def _remember(self, contact: str, conversation: Conversation | None, now: datetime) -> None:
        self._conversations.pop(contact, None)
        if conversation is not None:
            self._conversations[contact] = (conversation, now)
        if len(self._conversations) > self.MOST_CONTACTS:
            self._conversations.popitem(last=False)


def open_store(kind: str, database: Database, ttl: timedelta) -> Store:
    """Make the store that CONVERSATION_STORE names."""
    if kind == "memory":
        return MemoryStore(database, ttl)
    return DatabaseStore(database, ttl)
