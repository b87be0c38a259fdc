"""Duplicates: Twilio sends a message again where it got no answer in time. Each is recorded once.

The MessageSid is the idempotency key. A known SID with the same contact and text is a duplicate: it
gets the stored reply. With another contact or text it is rejected.
"""

from conversation.model import Message
from core.logs import logger


class MessageSidTaken(Exception):
    """Another contact's message has this SID: Twilio never does that."""


def insist_on_same(message: Message, contact: str, text: str) -> None:
    """Compare a message with the one that came under its SID before. Raises MessageSidTaken."""
    if message.contact != contact:
        raise MessageSidTaken(message.sid)
    if message.text != text:
        logger.warning("a SID came again with another text, the first counts sid=%s", message.sid)
