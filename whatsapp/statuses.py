"""Delivery statuses of our messages, as Twilio reports them."""

from dataclasses import dataclass

STATUSES = (
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "canceled",
    "undelivered",
    "failed",
    "delivered",
    "read",
)
"""Delivery statuses by rank, lowest first. Callbacks come in any order; only a higher rank counts.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

FAILURES = frozenset({"canceled", "undelivered", "failed"})
"""Statuses of a message that did not arrive."""


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """The delivery status of one of our messages.

    `status` is None if we don't know it. `error_code` is Twilio's, and set only for a failure.
    `review` is the id of the conversation whose review the message confirms. `by_hand` marks a
    developer's callback: it has no AccountSid, and its `contact` selects the review.
    """

    message_sid: str | None
    status: str | None
    error_code: int | None
    review: str | None
    contact: str | None
    by_hand: bool = False

    @property
    def lower_statuses(self) -> tuple[str, ...]:
        """The statuses that this one replaces, because they rank below it."""
        return STATUSES[: STATUSES.index(self.status)] if self.status else ()
