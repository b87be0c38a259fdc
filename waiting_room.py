"""Messages on their way: who waits for an answer, in what order, and what became of each.

waiting -> committing -> answered, or waiting -> withdrawn: every change happens under one lock.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto

from conversation import APOLOGY, Message
from logs import logger


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer is told; no text means: say nothing.

    `confirms` is the id of the conversation whose review these words confirm.
    """

    text: str
    confirms: str | None = None


class MessageSidTaken(Exception):
    """Another contact's message has this SID: Twilio never does that."""


class OutcomeUnknown(Exception):
    """COMMIT was sent, its answer never came: nobody knows yet whether the message is recorded."""


class WithdrawnMeanwhile(Exception):
    """A customer was told to send again while the batch was under way: it goes on without them."""


class Fate(Enum):
    WAITING = auto()
    COMMITTING = auto()
    ANSWERED = auto()
    WITHDRAWN = auto()


@dataclass(slots=True, eq=False)
class Entry:
    """A message on its way. Deliveries of one SID that overlap share the entry, and its answer."""

    message: Message
    fate: Fate = Fate.WAITING
    deliveries: int = 1
    answer: Future[Reply] = field(default_factory=Future)


class WaitingRoom:
    """The queue between the event loop, where messages arrive, and the writer, who answers them."""

    MOST_ENTRIES = 10_000
    BATCH = 256
    BATCH_PER_CONTACT = 16

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._by_sid: dict[str, Entry] = {}
        self._by_contact: dict[str, list[Entry]] = {}  # each contact's in order of arrival
        self._closed = False

    # What the event loop does.

    def enter(self, message: Message) -> Entry | None:
        """Let a message in, or join the entry of its SID; None where the room is full or closed.

        Raises MessageSidTaken.
        """
        with self._lock:
            entry = self._by_sid.get(message.sid)
            if entry is not None:
                insist_on_same(message, entry.message.contact, entry.message.text)
                entry.deliveries += 1
                return entry
            if self._closed or len(self._by_sid) >= self.MOST_ENTRIES:
                return None
            entry = self._by_sid[message.sid] = Entry(message)
            self._by_contact.setdefault(message.contact, []).append(entry)
            self._changed.notify()
            return entry

    def leave(self, entry: Entry) -> None:
        """Take note that one delivery no longer waits."""
        with self._lock:
            entry.deliveries -= 1

    def withdraw(self, entry: Entry) -> None:
        """Give up on a message at its deadline: it is answered with the apology, never recorded.

        Raises OutcomeUnknown where its COMMIT is under way, and neither can be promised.
        """
        with self._lock:
            if entry.fate is Fate.COMMITTING:
                raise OutcomeUnknown
            if entry.fate is Fate.WAITING:
                self._finish(entry, Fate.WITHDRAWN, Reply(APOLOGY))

    # What the writer does.

    def next_batch(self) -> list[Entry]:
        """Wait for messages and pick a fair batch, which stays here until answered.

        Empty when the room is closed and nobody is left in it.
        """
        with self._lock:
            self._changed.wait_for(lambda: self._by_contact or self._closed)
            batch: list[Entry] = []
            for entries in self._by_contact.values():
                room = self.BATCH - len(batch)
                batch += entries[: min(room, self.BATCH_PER_CONTACT)]
                if len(batch) >= self.BATCH:
                    break
            return batch

    def settle(self, entries: Iterable[Entry]) -> list[Entry]:
        """Pick those still wanted of entries that are, as is known by now, not recorded.

        Where a COMMIT failed and the last delivery has had its 503, the message is dropped: its
        customer saw no answer and will write again.
        """
        wanted = []
        with self._lock:
            for entry in entries:
                if entry.fate is Fate.COMMITTING and not entry.deliveries:
                    self._finish(entry, Fate.WITHDRAWN, Reply(APOLOGY))
                    continue
                if entry.fate is Fate.COMMITTING:
                    entry.fate = Fate.WAITING
                wanted.append(entry)
        return wanted

    def claim(self, entries: Iterable[Entry]) -> None:
        """Say that COMMIT follows: from here on none of them can be withdrawn.

        Raises WithdrawnMeanwhile, and claims none, where one of them has been.
        """
        with self._lock:
            if any(entry.fate is Fate.WITHDRAWN for entry in entries):
                raise WithdrawnMeanwhile
            for entry in entries:
                entry.fate = Fate.COMMITTING

    def answer(self, answers: dict[Entry, Reply | MessageSidTaken]) -> None:
        """Let replies go, after COMMIT."""
        with self._lock:
            for entry, answer in answers.items():
                self._finish(entry, Fate.ANSWERED, answer)

    def refuse(self, entries: Iterable[Entry], answer: Reply | Exception) -> None:
        """Answer those of `entries` that wait and will not be recorded."""
        with self._lock:
            for entry in entries:
                if entry.fate is Fate.WAITING:
                    self._finish(entry, Fate.WITHDRAWN, answer)

    def let_others_pass(self, contacts: Iterable[str]) -> None:
        """Move contacts that are held elsewhere to the end, so that they stall nobody."""
        with self._lock:
            for contact in contacts:
                if contact in self._by_contact:
                    self._by_contact[contact] = self._by_contact.pop(contact)

    def everyone(self) -> list[Entry]:
        with self._lock:
            return list(self._by_sid.values())

    def close(self) -> None:
        """Let nobody in any more, and wake the writer."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Wait for `close` for so long; say whether the room is closed."""
        with self._lock:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def _finish(self, entry: Entry, fate: Fate, answer: Reply | Exception) -> None:
        entry.fate = fate
        del self._by_sid[entry.message.sid]
        entries = self._by_contact[entry.message.contact]
        entries.remove(entry)
        if not entries:
            del self._by_contact[entry.message.contact]
        if isinstance(answer, Reply):
            entry.answer.set_result(answer)
        else:
            entry.answer.set_exception(answer)


def insist_on_same(message: Message, contact: str, text: str) -> None:
    """Compare a message with the one that came under its SID before. Raises MessageSidTaken."""
    if message.contact != contact:
        raise MessageSidTaken(message.sid)
    if message.text != text:
        logger.warning("a SID came again with another text, the first counts sid=%s", message.sid)
