"""Where unfinished conversations wait: the log of messages is the truth, a store its present end.

One contract, `hold`, encloses the transaction: lock, begin, yield, commit, publish, unlock. When
the block raises, nothing is committed and nothing published.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from conversation import Conversation, State
from database import Database, utc_now
from models import UnfinishedConversation
from only_process import OnlyProcess
from reconciling import reconcile
from redis_client import RedisClient


@dataclass(frozen=True, slots=True)
class Held:
    """What `hold` yields: the transaction, and the contacts that could be held: where they stand.

    None stands for a contact with nothing under way. To move a contact on, put its next
    conversation here, and the time its message has in the log into `touched`. A conversation last
    touched before `idle_since` is over.
    """

    connection: Connection
    conversations: dict[str, Conversation | None]
    idle_since: datetime
    touched: dict[str, datetime] = field(default_factory=dict)


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
    """Conversations in the log's own transaction: they can't differ from it, whatever crashes.

    Where a contact has no row, or an idle one, another store may have gone on: the log is asked.
    """

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
            ours = _try_locks(self._database, connection, contacts)
            now = self._clock()
            idle_since = now - self._ttl
            stood = _read(connection, ours, idle_since)
            held = Held(connection, dict(stood), idle_since)
            yield held
            _write(connection, _changes(stood, held.conversations), now)
            claim()


def _try_locks(
    database: Database, connection: Connection, contacts: Collection[str]
) -> Collection[str]:
    """Lock those contacts that nobody else has locked, new ones too, until the transaction ends."""
    if database.is_sqlite or not contacts:  # SQLite's one writer holds every contact
        return contacts
    # Trying never waits, so it can't deadlock; COMMIT and a lost connection release.
    return connection.scalars(
        sa.text(
            "SELECT contact FROM unnest(CAST(:contacts AS text[])) AS contact"
            " WHERE pg_try_advisory_xact_lock(hashtextextended(contact, 0))"
        ),
        {"contacts": sorted(contacts)},
    ).all()


# Put together once, since they run with every batch.
_OF_CONTACTS = sa.select(
    UnfinishedConversation.contact_number,
    UnfinishedConversation.conversation_id,
    UnfinishedConversation.state,
    UnfinishedConversation.product_name,
    UnfinishedConversation.user_name,
    UnfinishedConversation.position,
).where(
    UnfinishedConversation.contact_number.in_(sa.bindparam("contacts", expanding=True)),
    UnfinishedConversation.updated_at >= sa.bindparam("idle_since"),
)
_INSERT = sa.insert(UnfinishedConversation)
_DELETE = sa.delete(UnfinishedConversation).where(
    UnfinishedConversation.contact_number.in_(sa.bindparam("contacts", expanding=True))
)

_STATES = {state.value for state in State}


def _read(
    connection: Connection, contacts: Collection[str], idle_since: datetime
) -> dict[str, Conversation | None]:
    rows = connection.execute(_OF_CONTACTS, {"contacts": [*contacts], "idle_since": idle_since})
    found: dict[str, Conversation | None] = {
        contact: Conversation(id_, State(state), product_name, user_name, position)
        for contact, id_, state, product_name, user_name, position in rows
        if state in _STATES  # another version of this program may have more of them
    }
    rowless = dict.fromkeys(contact for contact in contacts if contact not in found)
    return found | reconcile(connection, rowless, idle_since)


def _write(connection: Connection, changes: dict[str, Conversation | None], now: datetime) -> None:
    _delete_rows(connection, changes)
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
        connection.execute(_INSERT, rows)


def _changes(
    before: dict[str, Conversation | None], after: dict[str, Conversation | None]
) -> dict[str, Conversation | None]:
    """Pick what moved; a conversation back at START is over, and nothing is kept of it."""
    return {
        contact: None if now is None or now.state is State.START else now
        for contact, now in after.items()
        if now != before[contact]
    }


def _delete_rows(connection: Connection, contacts: Collection[str]) -> None:
    """Leave the database store no row that is behind what another store goes on with."""
    if contacts:
        connection.execute(_DELETE, {"contacts": [*contacts]})


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
                doubtful = {c: before[c] for c in self._doubtful.intersection(contacts)}
                held.conversations.update(reconcile(connection, doubtful, idle_since))
                yield held
                _delete_rows(connection, contacts)
                claim()
            self._doubtful.difference_update(contacts)
            for contact, conversation in _changes(before, held.conversations).items():
                self._remember(contact, conversation, now)

    def _recall(self, contact: str, idle_since: datetime) -> Conversation | None:
        conversation, updated_at = self._conversations.get(contact, (None, idle_since))
        if updated_at >= idle_since:
            return conversation
        del self._conversations[contact]
        return None

    def _remember(self, contact: str, conversation: Conversation | None, now: datetime) -> None:
        self._conversations.pop(contact, None)
        if conversation is not None:
            self._conversations[contact] = (conversation, now)
        if len(self._conversations) > self.MOST_CONTACTS:
            self._conversations.popitem(last=False)


class RedisStore:
    """Conversations in Redis, which need not be right: what it has lost the log still knows.

    Its lock keeps workers out of each other's way; the database's own lock makes it true, as a
    worker may not reach Redis. What Redis says counts where it is of the last message in the log;
    not so after a restore, for one. For all else, and where Redis is away, the log is asked.
    """

    def __init__(
        self,
        database: Database,
        ttl: timedelta,
        redis: RedisClient,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._ttl, self._redis, self._clock = database, ttl, redis, clock
        self._lock = threading.Lock()

    def open(self) -> None:
        self._database.migrate()

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def hold(self, contacts: Collection[str], claim: Callable[[], None]) -> Iterator[Held]:
        with self._lock:
            now = self._clock()
            idle_since = now - self._ttl
            values = self._redis.lock_and_read(contacts)
            changes: dict[str, bytes] = {}
            try:
                with self._database.write() as connection:
                    ours = _try_locks(self._database, connection, values.keys())
                    found = {contact: _decode(values[contact]) for contact in ours}
                    remembered = {contact: value[0] for contact, value in found.items()}
                    times = {contact: value[1] for contact, value in found.items()}
                    stood = reconcile(connection, remembered, idle_since, times)
                    held = Held(connection, dict(stood), idle_since)
                    yield held
                    _delete_rows(connection, ours)
                    claim()
                for contact, conversation in _changes(stood, held.conversations).items():
                    changes[contact] = b""
                    if conversation is not None and contact in held.touched:
                        changes[contact] = _encode(conversation, held.touched[contact])
                for contact, conversation in held.conversations.items():
                    if conversation is None and values[contact]:
                        changes[contact] = b""  # idle, or not ours
            finally:
                self._redis.write_and_unlock(values, changes, keep=self._ttl)


MOST_MESSAGES = 2**31
"""What the column of positions holds."""


def _encode(conversation: Conversation, touched: datetime) -> bytes:
    return json.dumps({**asdict(conversation), "touched": touched.isoformat()}).encode()


def _decode(value: bytes) -> tuple[Conversation, datetime] | tuple[None, None]:
    """Read a value of `_encode`; nothing where there is none, or one that is not ours."""
    try:
        fields = json.loads(value)
        touched = datetime.fromisoformat(fields.pop("touched"))
        conversation = Conversation(**{**fields, "state": State(fields["state"])})
        words = "\n".join([conversation.id, conversation.product_name, conversation.user_name])
        words.encode()  # a lone surrogate is nothing that we have written
        position: object = conversation.position
        is_ours = type(position) is int and 0 < position < MOST_MESSAGES and "\0" not in words
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, None
    return (conversation, touched) if is_ours else (None, None)


def open_store(kind: str, database: Database, ttl: timedelta, redis_url: str | None) -> Store:
    """Make the store that CONVERSATION_STORE names."""
    if kind == "redis":
        return RedisStore(database, ttl, RedisClient(redis_url or ""))
    if kind == "memory":
        return MemoryStore(database, ttl)
    return DatabaseStore(database, ttl)
