"""A message on its way to its answer: who waits for it, and what became of it.

waiting -> committing -> answered, or waiting -> withdrawn. Where a COMMIT fails, a message is of
unknown status until the log has been asked.
"""

from asyncio import Future
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from conversation.model import Message


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer is told; no text means: say nothing.

    `confirms` is the id of the conversation whose review these words confirm.
    """

    text: str
    confirms: str | None = None


class InDoubt(Exception):
    """COMMIT was sent, its answer never came: nobody knows yet whether the message is recorded."""


class ClientGone(Exception):
    """The client closed its connection before there was an answer: nobody will read one."""


class WithdrawnMeanwhile(Exception):
    """A customer was told to send again while the batch was under way: it goes on without them."""


class PendingStatus(Enum):
    WAITING = auto()
    COMMITTING = auto()
    IN_DOUBT = auto()
    ANSWERED = auto()
    WITHDRAWN = auto()


@dataclass(slots=True, eq=False)
class PendingMessage:
    """A message on its way. Deliveries of one SID that overlap share the entry, and its answer.

    `number` counts the arrivals. Each of `deliveries` is waited for, in its own event loop.
    """

    message: Message
    number: int
    entered_at: float
    """By time.monotonic."""
    status: PendingStatus = PendingStatus.WAITING
    deliveries: list[Future[None]] = field(default_factory=list)
    answer: Reply | Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.status is PendingStatus.ANSWERED or self.status is PendingStatus.WITHDRAWN

    def result(self) -> Reply:
        """Return the answer, or raise it. Raises InDoubt where there is none yet."""
        if isinstance(self.answer, Reply):
            return self.answer
        raise self.answer or InDoubt


def wake(deliveries: Iterable[Future[None]]) -> None:
    """Let those go on that still wait; in their own event loop."""
    for delivery in deliveries:
        if not delivery.done():
            delivery.set_result(None)
