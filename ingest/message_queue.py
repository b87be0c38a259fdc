"""The queue of messages on their way: in what order they are taken, under one lock."""

import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from conversation.model import Message
from conversation.wording import APOLOGY
from core.logs import logger
from ingest.idempotency import MessageSidTaken, require_same
from ingest.pending import InDoubt, PendingMessage, PendingStatus, Reply, WithdrawnMeanwhile, wake


class MessageQueue:
    """The queue between the event loop, where messages arrive, and the writer, who answers them."""

    MAX_ENTRIES = 10_000
    BATCH = 256
    BATCH_PER_CONTACT = 16
    FLUSH_AT = 64
    LINGER_SECONDS = 0.01
    """So many, or for so long, are kept waiting for those who arrive just after them."""
    REMEMBERED_SECONDS = 30.0
    """How long words stay here after they were said: Twilio's retries come within 15 s, and words
    that are erased from the database must be gone from here within a minute. An idle writer checks
    this often."""

    def __init__(self, on_idle: Callable[[], None] = lambda: None) -> None:
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._by_sid: dict[str, PendingMessage] = {}
        self._by_contact: dict[str, list[PendingMessage]] = {}  # each contact's in order of arrival
        # What was answered lately: nobody is told "not saved" of what we know to be saved.
        self._answered: OrderedDict[str, tuple[str, Reply, float]] = OrderedDict()
        self._arrivals = 0
        self._due = 0  # the writer is to take whoever has this number or a lower one
        self._gathering_since = 0.0  # when the first came for whom it has not been called
        self._closed = False
        self.dropped = 0
        """How many messages were not recorded since nobody waited for them any more."""

    # What the event loop does.

    def enter(self, message: Message, delivery: Future[None]) -> PendingMessage:
        """Let a message in, or join the entry of its SID. Raises MessageSidTaken.

        Where the queue is full or closed the entry is answered at once, as if at its deadline.
        `delivery` belongs to the caller's event loop, and is done there.
        """
        with self._lock:
            entry = self._by_sid.get(message.sid)
            if entry is not None:
                require_same(message, entry.message.contact, entry.message.text)
                entry.deliveries.append(delivery)
                return entry
            if self._arrivals == self._due:
                self._gathering_since = time.monotonic()
            self._arrivals += 1
            entry = PendingMessage(message, self._arrivals, time.monotonic(), deliveries=[delivery])
            if self._closed or len(self._by_sid) >= self.MAX_ENTRIES:
                logger.error("no queue, message refused sid=%s", message.sid)
                entry.answer, entry.status = self._last_word(message), PendingStatus.WITHDRAWN
                delivery.set_result(None)
                return entry
            self._by_sid[message.sid] = entry
            self._by_contact.setdefault(message.contact, []).append(entry)
            return entry

    def call_writer(self, entry: PendingMessage) -> None:
        """Call the writer for all who are here, unless somebody has arrived after this entry.

        Then that one's call will do, and a commit serves all who arrived together. It is not left
        to others where there are enough, or where somebody has waited for long enough.
        """
        with self._lock:
            is_last = entry.number == self._arrivals
            waited = time.monotonic() - self._gathering_since
            if is_last or len(self._by_sid) >= self.FLUSH_AT or waited > self.LINGER_SECONDS:
                self._due = self._arrivals
                self._changed.notify()

    def leave(self, entry: PendingMessage, delivery: Future[None]) -> None:
        """Take note that one delivery no longer waits."""
        with self._lock:
            entry.deliveries.remove(delivery)

    def withdraw(self, entry: PendingMessage) -> None:
        """Give up on a message at its deadline: it is answered with the apology, never recorded.

        Raises InDoubt where a COMMIT of it is under way, or failed: no sentence is true.
        """
        with self._lock:
            if entry.is_over:
                return
            if entry.status is not PendingStatus.WAITING:
                logger.error("outcome unknown at the deadline sid=%s", entry.message.sid)
                raise InDoubt
            logger.error("withdrawn at the deadline sid=%s", entry.message.sid)
            self._finish({entry: self._last_word(entry.message)}, PendingStatus.WITHDRAWN)

    # What the writer does.

    def next_batch(self) -> list[PendingMessage]:
        """Wait for messages and pick a fair batch, which stays here until answered.

        Empty when the queue is closed and nobody is left in it.
        """
        while True:
            with self._lock:
                if self._changed.wait_for(
                    lambda: self._is_anybody_due() or self._closed, self.REMEMBERED_SECONDS
                ):
                    return self._pick_batch()
            self.drop_expired()

    def _pick_batch(self) -> list[PendingMessage]:
        batch: list[PendingMessage] = []
        picked_in_part: list[str] = []
        for contact, entries in self._by_contact.items():
            some = entries[: min(self.BATCH - len(batch), self.BATCH_PER_CONTACT)]
            batch += some
            if len(some) < len(entries):
                picked_in_part.append(contact)
            if len(batch) >= self.BATCH:
                break
        self._move_to_end(picked_in_part)
        return batch

    def settle(self, entries: Iterable[PendingMessage]) -> list[PendingMessage]:
        """Pick those still wanted of entries that, as the log has told, are not recorded.

        A message is dropped whose deliveries had their 503, or whose clients have all gone: nobody
        would hear of it, and another worker may have told the customer to send it again.
        """
        wanted = []
        with self._lock:
            for entry in entries:
                if not entry.is_over and not entry.deliveries:
                    self.dropped += 1
                    sid = entry.message.sid
                    logger.error(
                        "not recorded, nobody waits for it sid=%s dropped=%d", sid, self.dropped
                    )
                    self._finish({entry: Reply(APOLOGY)}, PendingStatus.WITHDRAWN)
                    continue
                if entry.status is PendingStatus.IN_DOUBT:
                    entry.status = PendingStatus.WAITING
                wanted.append(entry)
        return wanted

    def claim(self, entries: Iterable[PendingMessage]) -> None:
        """Say that COMMIT follows: from here on none of them can be withdrawn.

        Raises WithdrawnMeanwhile, and claims none, where one of them has been.
        """
        with self._lock:
            if any(entry.status is PendingStatus.WITHDRAWN for entry in entries):
                raise WithdrawnMeanwhile
            for entry in entries:
                if entry.status is PendingStatus.WAITING:
                    entry.status = PendingStatus.COMMITTING

    def unclaim(self, entries: Iterable[PendingMessage], status: PendingStatus) -> bool:
        """Give entries whose COMMIT failed their status, and say whether there are any."""
        with self._lock:
            claimed = [entry for entry in entries if entry.status is PendingStatus.COMMITTING]
            for entry in claimed:
                entry.status = status
            return bool(claimed)

    def answer(self, answers: Mapping[PendingMessage, Reply | MessageSidTaken]) -> None:
        """Let replies go, after COMMIT."""
        with self._lock:
            self._forget_old_answers()
            now = time.monotonic()
            self._finish(answers, PendingStatus.ANSWERED)
            for entry, answer in answers.items():
                if isinstance(answer, Reply):
                    self._answered[entry.message.sid] = (entry.message.contact, answer, now)
                    self._answered.move_to_end(entry.message.sid)

    def refuse(self, entries: Iterable[PendingMessage], answer: Reply | Exception) -> None:
        """Answer those of `entries` that wait and will not be recorded.

        Of unknown status only those are let go for whom no delivery waits any more.
        """
        with self._lock:
            for entry in entries:
                abandoned = entry.status is PendingStatus.IN_DOUBT and not entry.deliveries
                if entry.status is PendingStatus.WAITING or abandoned:
                    self._finish({entry: answer}, PendingStatus.WITHDRAWN)

    def drop_expired(self) -> None:
        """Drop the words that have been remembered for long enough, also during an outage."""
        with self._lock:
            self._forget_old_answers()
        self._on_idle()  # without the lock: it may wait for the disk, and messages arrive meanwhile

    def longest_wait(self) -> float | None:
        """Say for how many seconds the first of those who are here has waited; None for nobody."""
        with self._lock:
            oldest = next(iter(self._by_sid.values()), None)
            return None if oldest is None else time.monotonic() - oldest.entered_at

    def let_others_pass(self, contacts: Iterable[str]) -> None:
        """Move contacts that another worker has locked to the end of the queue."""
        with self._lock:
            self._move_to_end(contacts)

    def everyone(self) -> list[PendingMessage]:
        with self._lock:
            return list(self._by_sid.values())

    def close(self) -> None:
        """Let nobody in any more, and wake the writer."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Wait for `close` for so long; say whether the queue is closed."""
        with self._lock:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def _is_anybody_due(self) -> bool:
        oldest = next(iter(self._by_sid.values()), None)
        return oldest is not None and oldest.number <= self._due

    def _move_to_end(self, contacts: Iterable[str]) -> None:
        for contact in contacts:
            if contact in self._by_contact:
                self._by_contact[contact] = self._by_contact.pop(contact)

    def _last_word(self, message: Message) -> Reply:
        """Say what can be said without the database: the apology, or what we said before."""
        self._forget_old_answers()
        contact, reply, _ = self._answered.get(message.sid, ("", Reply(APOLOGY), 0.0))
        return reply if contact == message.contact else Reply(APOLOGY)

    def _forget_old_answers(self) -> None:
        since = time.monotonic() - self.REMEMBERED_SECONDS
        while self._answered:
            sid, (_, _, answered_at) = next(iter(self._answered.items()))
            if answered_at >= since and len(self._answered) <= self.MAX_ENTRIES:
                return
            del self._answered[sid]

    def _finish(
        self, answers: Mapping[PendingMessage, Reply | Exception], status: PendingStatus
    ) -> None:
        waiting: dict[AbstractEventLoop, list[Future[None]]] = {}
        for entry, answer in answers.items():
            entry.answer, entry.status = (
                answer,
                status,
            )  # in this order: who sees the status may ask
            del self._by_sid[entry.message.sid]
            entries = self._by_contact[entry.message.contact]
            entries.remove(entry)
            if not entries:
                del self._by_contact[entry.message.contact]
            for delivery in entry.deliveries:
                waiting.setdefault(delivery.get_loop(), []).append(delivery)
        for loop, deliveries in waiting.items():
            with suppress(RuntimeError):  # a loop that is closed has nobody waiting
                loop.call_soon_threadsafe(wake, deliveries)
