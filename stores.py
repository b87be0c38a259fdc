"""Where unfinished conversations wait: the log of messages is the truth, a store its present end.

One contract, `hold`, encloses the transaction: lock, begin, yield, commit, publish, unlock. When
the block raises, nothing is committed and nothing published.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

import message_log
from conversation import Conversation, State
from database import Database, utc_now
from models import LoggedMessage, UnfinishedConversation
from only_process import OnlyProcess
from redis_client import RedisClient


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


CONTACTS_AT_ONCE = 500


class DatabaseStore:
    """Conversations in the log's own transaction: they can't differ from it, whatever crashes.

    What another store has begun or gone on with, before this one was chosen, is mended at `open`.
    """

    def __init__(
        self,
        database: Database,
        ttl: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._ttl, self._clock = database, ttl, clock

    def open(self) -> None:
        idle_since = self._clock() - self._ttl
        with self._database.read() as connection:
            moved = connection.scalars(_moved_elsewhere(idle_since)).all()
        for place in range(0, len(moved), CONTACTS_AT_ONCE):
            self._mend(moved[place : place + CONTACTS_AT_ONCE], idle_since)

    def _mend(self, contacts: Sequence[str], idle_since: datetime) -> None:
        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            stand = _read(connection, ours, idle_since)
            known = {contact: told for contact, told in stand.items() if told is not None}
            doubtful = stand.keys() - message_log.find_ends(connection, known).keys()
            rebuilt = message_log.rebuild_conversations(connection, doubtful, idle_since)
            changes = _changes(stand, stand | rebuilt)
            _write(connection, changes, self._clock())
            connection.execute(_TOUCHED_AS_LOGGED, {"contacts": [*changes]})

    def close(self) -> None:
        pass

    @contextmanager
    def hold(self, contacts: Collection[str], claim: Callable[[], None]) -> Iterator[Held]:
        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            now = self._clock()
            before = _read(connection, ours, idle_since=now - self._ttl)
            held = Held(connection, dict(before), idle_since=now - self._ttl)
            yield held
            _write(connection, _changes(before, held.conversations), now)
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


_TOUCHED_AS_LOGGED = (
    sa.update(UnfinishedConversation)
    .where(UnfinishedConversation.contact_number.in_(sa.bindparam("contacts", expanding=True)))
    .values(
        updated_at=sa.select(LoggedMessage.received_at)
        .where(
            LoggedMessage.conversation_id == UnfinishedConversation.conversation_id,
            LoggedMessage.position == UnfinishedConversation.position,
        )
        .scalar_subquery()
    )
)
_STATES = {state.value for state in State}


def _read(
    connection: Connection, contacts: Collection[str], idle_since: datetime
) -> dict[str, Conversation | None]:
    rows = connection.execute(_OF_CONTACTS, {"contacts": [*contacts], "idle_since": idle_since})
    found: dict[str, Conversation | None] = dict.fromkeys(contacts)
    unknown = []
    for contact, id_, state, product_name, user_name, position in rows:
        if state in _STATES:
            found[contact] = Conversation(id_, State(state), product_name, user_name, position)
        else:
            unknown.append(contact)  # another version of this program has more states
    return found | message_log.rebuild_conversations(connection, unknown, idle_since)


def _moved_elsewhere(idle_since: datetime) -> sa.CompoundSelect[str]:
    """List the contacts whose row is not the log's end, and those who may need one and have none.

    This only narrows down whose log is replayed: who need not be on the list does no harm there.
    """
    row, next_one, later = UnfinishedConversation, aliased(LoggedMessage), aliased(LoggedMessage)
    rowless = sa.select(LoggedMessage.contact_number).where(
        LoggedMessage.received_at >= idle_since,
        LoggedMessage.erased_at.is_(None),
        ~LoggedMessage.finished,
        ~sa.exists().where(
            next_one.conversation_id == LoggedMessage.conversation_id,
            next_one.position == LoggedMessage.position + 1,
        ),
        ~sa.exists().where(
            row.contact_number == LoggedMessage.contact_number, row.updated_at >= idle_since
        ),
    )
    overtaken = sa.select(row.contact_number).where(
        row.updated_at >= idle_since,
        ~sa.exists().where(
            LoggedMessage.conversation_id == row.conversation_id,
            LoggedMessage.position == row.position,
            ~sa.exists().where(
                later.contact_number == LoggedMessage.contact_number,
                later.received_at > LoggedMessage.received_at,
            ),
        ),
    )
    return sa.union(rowless, overtaken)


def _write(connection: Connection, changes: dict[str, Conversation | None], now: datetime) -> None:
    if not changes:
        return
    connection.execute(_DELETE, {"contacts": [*changes]})
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
                doubtful = self._doubtful.intersection(contacts)
                held.conversations.update(
                    message_log.rebuild_conversations(connection, doubtful, idle_since)
                )
                yield held
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
    worker may not reach Redis. What Redis says counts where it is the end of a conversation in the
    log. For all else, and where Redis is away, the log is asked where the contact stands.
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
            before = {contact: _decode(value, idle_since) for contact, value in values.items()}
            changes: dict[str, bytes] = {}
            try:
                with self._database.write() as connection:
                    ours = set(_try_locks(self._database, connection, before.keys()))
                    known = message_log.find_ends(
                        connection, {c: told for c in ours if (told := before[c]) is not None}
                    )
                    found = message_log.rebuild_conversations(
                        connection, ours - known.keys(), idle_since
                    )
                    stood = {**known, **found}
                    held = Held(connection, dict(stood), idle_since)
                    yield held
                    claim()
                for contact, conversation in _changes(stood, held.conversations).items():
                    changes[contact] = _encode(conversation, now) if conversation else b""
                for contact, conversation in held.conversations.items():
                    if conversation is None and values[contact]:
                        changes[contact] = b""  # idle, or not ours
            finally:
                self._redis.write_and_unlock(values, changes, keep=self._ttl)


MOST_MESSAGES = 2**31
"""What the column of positions holds."""


def _encode(conversation: Conversation, now: datetime) -> bytes:
    return json.dumps({**asdict(conversation), "updated_at": now.isoformat()}).encode()


def _decode(value: bytes, idle_since: datetime) -> Conversation | None:
    """Read a value of `_encode`; None for an idle one, none, or one that is not ours."""
    try:
        fields = json.loads(value)
        if datetime.fromisoformat(fields.pop("updated_at")) < idle_since:
            return None
        conversation = Conversation(**{**fields, "state": State(fields["state"])})
        words = "\n".join([conversation.id, conversation.product_name, conversation.user_name])
        words.encode()  # a lone surrogate is nothing that we have written
        position: object = conversation.position
        is_ours = type(position) is int and 0 < position < MOST_MESSAGES and "\0" not in words
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return conversation if is_ours else None


def open_store(kind: str, database: Database, ttl: timedelta, redis_url: str | None) -> Store:
    """Make the store that CONVERSATION_STORE names."""
    if kind == "redis":
        return RedisStore(database, ttl, RedisClient(redis_url or ""))
    if kind == "memory":
        return MemoryStore(database, ttl)
    return DatabaseStore(database, ttl)
