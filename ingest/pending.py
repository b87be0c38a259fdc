"""A pending message: its status, and the deliveries that wait for its answer.

waiting -> committing -> answered, or waiting -> withdrawn. When a COMMIT fails, the message is in
doubt until the log says whether it was recorded.
"""

from asyncio import Future
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from conversation.model import Message


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer is told. An empty text sends no message.

    `confirms` is the id of the conversation whose review this text confirms.
    """

    text: str
    confirms: str | None = None


class InDoubt(Exception):
    """COMMIT was sent and not answered: we do not know whether the message is recorded."""


class ClientGone(Exception):
    """The client closed its connection before the answer: nobody will read it."""


class WithdrawnMeanwhile(Exception):
    """A message of the batch was withdrawn: the batch must go on without it."""


class PendingStatus(Enum):
    WAITING = auto()
    COMMITTING = auto()
    IN_DOUBT = auto()
    ANSWERED = auto()
    WITHDRAWN = auto()


@dataclass(slots=True, eq=False)
class PendingMessage:
    """A message that waits for its answer. Duplicates that arrive meanwhile share it.

    `number` counts arrivals. Each of `deliveries` is completed in its own event loop.
    """

    message: Message
    number: int
    entered_at: float
    """By core.clock.monotonic."""
    status: PendingStatus = PendingStatus.WAITING
    deliveries: list[Future[None]] = field(default_factory=list)
    answer: Reply | Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.status is PendingStatus.ANSWERED or self.status is PendingStatus.WITHDRAWN

    def result(self) -> Reply:
        """Return the answer, or raise it. Raises InDoubt if there is none yet."""
        if isinstance(self.answer, Reply):
            return self.answer
        raise self.answer or InDoubt


def wake(deliveries: Iterable[Future[None]]) -> None:
    """Complete the deliveries that still wait. Call it in their own event loop."""
    for delivery in deliveries:
        if not delivery.done():
            delivery.set_result(None)
