"""Duplicates: Twilio sends a message again where it got no answer in time. Each is recorded once.

The MessageSid is the idempotency key. A message of a known SID is a duplicate: it gets the stored
reply and changes nothing. Under another contact the SID is rejected, as Twilio never does that.
"""

from collections.abc import Sequence

from conversation.model import Message
from core.logs import logger
from core.pseudonym import pseudonym
from ingest.pending import Reply
from storage.batch import LoggedReply


class MessageSidTaken(Exception):
    """Another contact's message has this SID: Twilio never does that."""


def require_same(message: Message, contact: str, text: str) -> None:
    """Compare a duplicate with the message that came first. Raises MessageSidTaken."""
    if message.contact != contact:
        raise MessageSidTaken(message.sid)
    if message.text != text:
        logger.warning("a SID came again with another text, the first counts sid=%s", message.sid)


def repeat_reply(
    message: Message, logged: LoggedReply, pseudonym_keys: Sequence[str]
) -> Reply | MessageSidTaken:
    """Return the stored reply of a duplicate, or no words where they have been erased.

    `pseudonym_keys` recognise the pseudonym of an erased contact.
    """
    if logged.is_erased:
        names = {message.contact, *(pseudonym(message.contact, key) for key in pseudonym_keys)}
        return Reply("") if logged.contact in names else MessageSidTaken(message.sid)
    try:
        require_same(message, logged.contact, logged.text)
    except MessageSidTaken as error:
        return error
    return Reply(logged.reply, logged.conversation_id if logged.is_finished else None)
