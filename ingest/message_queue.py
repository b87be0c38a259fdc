"""The message queue: which pending messages are taken next. One lock guards all of it."""

import math
import threading
from asyncio import AbstractEventLoop, Future
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from conversation.model import Message
from conversation.wording import APOLOGY
from core.clock import monotonic
from core.logs import logger
from ingest.idempotency import MessageSidTaken, require_same
from ingest.pending import InDoubt, PendingMessage, PendingStatus, Reply, WithdrawnMeanwhile, wake
from ingest.timing import Timing


class MessageQueue:
    """The queue between the event loop, where messages arrive, and the writer's thread."""

    BATCH = 256
    BATCH_PER_CONTACT = 16
    FLUSH_AT = 64
    """Messages. So many are taken at once, without waiting for more (Timing.linger_seconds)."""

    def __init__(
        self,
        on_idle: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
        max_pending: int = 10_000,
    ) -> None:
        """`on_idle` is called, in the writer's thread, at least every `remember_seconds`.

        Beyond `max_pending` messages, new ones get the apology at once.
        """
        self._on_idle, self._timing, self._max_pending = on_idle, timing or Timing(), max_pending
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._by_sid: dict[str, PendingMessage] = {}
        self._by_contact: dict[str, list[PendingMessage]] = {}  # in order of arrival
        # The latest answers: a duplicate must not be told "not saved" of a recorded message.
        self._answered: OrderedDict[str, tuple[str, Reply, float]] = OrderedDict()
        self._arrivals = 0
        self._due = 0  # the writer takes messages up to this number
        self._lingering_since = 0.0  # arrival of the first message that is not due
        self._closed = False
        self.dropped = 0
        """Messages that were not recorded because no client waited for them any more."""

    # What the event loop does.

    def enter(self, message: Message, delivery: Future[None]) -> PendingMessage:
        """Queue a message. A duplicate joins the pending message of its SID.

        If the queue is full or closed, the message is answered at once, as at its deadline.
        `delivery` belongs to the caller's event loop. Raises MessageSidTaken.
        """
        with self._lock:
            pending = self._by_sid.get(message.sid)
            if pending is not None:
                require_same(message, pending.message.contact, pending.message.text)
                pending.deliveries.append(delivery)
                return pending
            if self._arrivals == self._due:
                self._lingering_since = monotonic()
            self._arrivals += 1
            pending = PendingMessage(message, self._arrivals, monotonic(), deliveries=[delivery])
            if self._closed or len(self._by_sid) >= self._max_pending:
                logger.error("queue full or closed, message rejected sid=%s", message.sid)
                pending.answer, pending.status = self._last_word(message), PendingStatus.WITHDRAWN
                delivery.set_result(None)
                return pending
            self._by_sid[message.sid] = pending
            self._by_contact.setdefault(message.contact, []).append(pending)
            return pending

    def call_writer(self, pending: PendingMessage) -> None:
        """Make all queued messages due, unless a message arrived after `pending`.

        Then the call for the newest message does it, and one commit serves all that arrived
        together. From FLUSH_AT messages, or after `linger_seconds`, they are due at once.
        """
        with self._lock:
            is_last = pending.number == self._arrivals
            waited = monotonic() - self._lingering_since
            if (
                is_last
                or len(self._by_sid) >= self.FLUSH_AT
                or waited > self._timing.linger_seconds
            ):
                self._due = self._arrivals
                self._changed.notify()

    def leave(self, pending: PendingMessage, delivery: Future[None]) -> None:
        """Note that a delivery no longer waits."""
        with self._lock:
            pending.deliveries.remove(delivery)

    def withdraw(self, pending: PendingMessage) -> None:
        """Withdraw a message at its deadline: it gets the apology and is never recorded.

        Raises InDoubt if its COMMIT is under way or failed: then no sentence is surely true.
        """
        with self._lock:
            if pending.is_over:
                return
            if pending.status is not PendingStatus.WAITING:
                logger.error("in doubt at the deadline sid=%s", pending.message.sid)
                raise InDoubt
            logger.error("withdrawn at the deadline sid=%s", pending.message.sid)
            self._finish({pending: self._last_word(pending.message)}, PendingStatus.WITHDRAWN)

    # What the writer does.

    def next_batch(self, seconds: float = math.inf) -> list[PendingMessage]:
        """Wait for messages and pick a fair batch. They stay in the queue until answered.

        The batch is empty after `seconds` without a message, or when the queue is over.
        """
        end = monotonic() + seconds
        while True:
            with self._lock:
                left = min(self._timing.remember_seconds, max(0.0, end - monotonic()))
                if self._changed.wait_for(lambda: self._is_any_due() or self._closed, left):
                    return self._pick_batch()
            self.drop_expired()
            if monotonic() >= end:
                return []

    def is_over(self) -> bool:
        """Say whether the queue is closed and nobody is left in it."""
        with self._lock:
            return self._closed and not self._by_sid

    def _pick_batch(self) -> list[PendingMessage]:
        batch: list[PendingMessage] = []
        partly_picked: list[str] = []
        for contact, messages in self._by_contact.items():
            some = messages[: min(self.BATCH - len(batch), self.BATCH_PER_CONTACT)]
            batch += some
            if len(some) < len(messages):
                partly_picked.append(contact)
            if len(batch) >= self.BATCH:
                break
        self._move_to_end(partly_picked)
        return batch

    def settle(self, messages: Iterable[PendingMessage]) -> list[PendingMessage]:
        """Return the messages that are still wanted; the log has shown that none is recorded.

        A message without deliveries is dropped: they got a 503, or their clients have gone. Nobody
        would hear of it, and another worker may have told the customer to send it again.
        """
        wanted = []
        with self._lock:
            for pending in messages:
                if not pending.is_over and not pending.deliveries:
                    self.dropped += 1
                    sid = pending.message.sid
                    logger.error(
                        "not recorded, nobody waits for it sid=%s dropped=%d", sid, self.dropped
                    )
                    self._finish({pending: Reply(APOLOGY)}, PendingStatus.WITHDRAWN)
                    continue
                if pending.status is PendingStatus.IN_DOUBT:
                    pending.status = PendingStatus.WAITING
                wanted.append(pending)
        return wanted

    def claim(self, messages: Iterable[PendingMessage]) -> None:
        """Claim messages before COMMIT: from here on none of them can be withdrawn.

        If one was withdrawn before, none is claimed. Raises WithdrawnMeanwhile.
        """
        with self._lock:
            if any(pending.status is PendingStatus.WITHDRAWN for pending in messages):
                raise WithdrawnMeanwhile
            for pending in messages:
                if pending.status is PendingStatus.WAITING:
                    pending.status = PendingStatus.COMMITTING

    def unclaim(self, messages: Iterable[PendingMessage], status: PendingStatus) -> bool:
        """Set the status of claimed messages after a failed COMMIT; tell if there are any."""
        with self._lock:
            claimed = [
                pending for pending in messages if pending.status is PendingStatus.COMMITTING
            ]
            for pending in claimed:
                pending.status = status
            return bool(claimed)

    def answer(self, answers: Mapping[PendingMessage, Reply | MessageSidTaken]) -> None:
        """Send the replies, after COMMIT."""
        with self._lock:
            self._drop_old_answers()
            now = monotonic()
            self._finish(answers, PendingStatus.ANSWERED)
            for pending, answer in answers.items():
                if isinstance(answer, Reply):
                    self._answered[pending.message.sid] = (pending.message.contact, answer, now)
                    self._answered.move_to_end(pending.message.sid)

    def reject(self, messages: Iterable[PendingMessage], answer: Reply | Exception) -> None:
        """Answer messages that will not be recorded.

        A message in doubt is answered only if no delivery waits for it.
        """
        with self._lock:
            for pending in messages:
                abandoned = pending.status is PendingStatus.IN_DOUBT and not pending.deliveries
                if pending.status is PendingStatus.WAITING or abandoned:
                    self._finish({pending: answer}, PendingStatus.WITHDRAWN)

    def drop_expired(self) -> None:
        """Drop answers older than `remember_seconds`. Called during an outage, too."""
        with self._lock:
            self._drop_old_answers()
        self._on_idle()  # without the lock, as it may wait for the disk

    def longest_wait(self) -> float | None:
        """Return how many seconds the oldest message has waited; None if there is none."""
        with self._lock:
            oldest = next(iter(self._by_sid.values()), None)
            return None if oldest is None else monotonic() - oldest.entered_at

    def let_others_pass(self, contacts: Iterable[str]) -> None:
        """Move contacts that another worker has locked to the end of the queue."""
        with self._lock:
            self._move_to_end(contacts)

    def all_pending(self) -> list[PendingMessage]:
        with self._lock:
            return list(self._by_sid.values())

    def close(self) -> None:
        """Accept no more messages, and wake the writer."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Wait for `close`, at most `seconds`; return whether the queue is closed."""
        with self._lock:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def _is_any_due(self) -> bool:
        oldest = next(iter(self._by_sid.values()), None)
        return oldest is not None and oldest.number <= self._due

    def _move_to_end(self, contacts: Iterable[str]) -> None:
        for contact in contacts:
            if contact in self._by_contact:
                self._by_contact[contact] = self._by_contact.pop(contact)

    def _last_word(self, message: Message) -> Reply:
        """Return an answer without the database: a remembered one, or the apology."""
        self._drop_old_answers()
        contact, reply, _ = self._answered.get(message.sid, ("", Reply(APOLOGY), 0.0))
        return reply if contact == message.contact else Reply(APOLOGY)

    def _drop_old_answers(self) -> None:
        since = monotonic() - self._timing.remember_seconds
        while self._answered:
            sid, (_, _, answered_at) = next(iter(self._answered.items()))
            if answered_at >= since and len(self._answered) <= self._max_pending:
                return
            del self._answered[sid]

    def _finish(
        self, answers: Mapping[PendingMessage, Reply | Exception], status: PendingStatus
    ) -> None:
        waiting: dict[AbstractEventLoop, list[Future[None]]] = {}
        for pending, answer in answers.items():
            pending.answer = answer
            pending.status = status  # after the answer: who sees the status may read it
            del self._by_sid[pending.message.sid]
            of_contact = self._by_contact[pending.message.contact]
            of_contact.remove(pending)
            if not of_contact:
                del self._by_contact[pending.message.contact]
            for delivery in pending.deliveries:
                waiting.setdefault(delivery.get_loop(), []).append(delivery)
        for loop, deliveries in waiting.items():
            with suppress(RuntimeError):  # a closed loop has no client left
                loop.call_soon_threadsafe(wake, deliveries)
