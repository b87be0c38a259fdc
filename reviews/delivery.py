"""Describe the delivery status of a confirmation in words for the owner."""

from dataclasses import dataclass

from reviews import repository
from whatsapp.statuses import FAILURES

REASONS = {
    21610: "the customer has unsubscribed from our messages",
    30003: "the customer's phone cannot be reached",
    30005: "the number is unknown",
    30008: "an unknown error on the way",
    63003: "no WhatsApp account has this number",
    63005: "WhatsApp did not accept the content",
    63015: "the customer's phone has not joined the Twilio sandbox",
    63016: "more than 24 hours after the customer's last message",
    63018: "more messages than the sender may send",
    63024: "the recipient is not valid",
    63032: "WhatsApp does not allow a message to this customer",
}
"""Meanings of Twilio's error codes: https://www.twilio.com/docs/api/errors."""


@dataclass(frozen=True, slots=True)
class DeliveryLabel:
    """A delivery status as a page shows it.

    `sign` is `sent`, `delivered` or `read` (WhatsApp's ticks), `waiting` or `failed`.
    """

    sign: str
    words: str


_SIGNS = ("sent", "delivered", "read")

_WORDS = {
    repository.PENDING: "confirmation: no delivery report yet",
    **dict.fromkeys(("accepted", "scheduled", "queued", "sending"), "confirmation on its way"),
    "sent": "confirmation sent",
    "delivered": "confirmation delivered",
    "read": "confirmation read",
    "canceled": "confirmation cancelled",
    "undelivered": "confirmation not delivered",
    "failed": "confirmation failed",
}


def describe_delivery(status: str, error_code: int | None) -> DeliveryLabel:
    """Return the sign and the words for a delivery status, with the reason of a failure."""
    words = _WORDS.get(status, status)  # an adopted review may have any status
    if status not in FAILURES:
        return DeliveryLabel(status if status in _SIGNS else "waiting", words)
    if error_code is not None:
        reason = REASONS.get(error_code, "see Twilio's list of errors")
        words += f": {reason} (code {error_code})"
    return DeliveryLabel("failed", words)
