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
"""Delivery statuses in order of rank: callbacks come in any order, and only a higher one counts.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

FAILURES = frozenset({"canceled", "undelivered", "failed"})


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What Twilio tells of one of our messages.

    `status` is None where it is one we don't know. `review` is the conversation whose review the
    message confirms. `by_hand` marks a developer's callback, whose `contact` picks the review.
    """

    message_sid: str | None
    status: str | None
    error_code: int | None
    review: str | None
    contact: str | None
    by_hand: bool = False

    @property
    def lower_statuses(self) -> tuple[str, ...]:
        """The statuses of Twilio's that this one replaces."""
        return STATUSES[: STATUSES.index(self.status)] if self.status else ()
