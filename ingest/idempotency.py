"""Duplicates: Twilio repeats a webhook that got no answer in time. Each message counts once.

The MessageSid is the idempotency key. A message with a known SID is a duplicate: it gets the stored
reply and changes nothing. If another contact used the SID, the message is rejected: Twilio never
sends that.
"""

from collections.abc import Sequence

from conversation.model import Message
from core.logs import logger
from core.pseudonym import pseudonym
from ingest.pending import Reply
from storage.batch import LoggedReply


class MessageSidTaken(Exception):
    """A message of another contact has this SID."""


def require_same(duplicate: Message, contact: str, text: str) -> None:
    """Compare a duplicate with the first message of its SID. Raises MessageSidTaken.

    A different text is logged only: the first text counts.
    """
    if duplicate.contact != contact:
        raise MessageSidTaken(duplicate.sid)
    if duplicate.text != text:
        logger.warning("duplicate with another text, the first counts sid=%s", duplicate.sid)


def repeat_reply(
    duplicate: Message, logged: LoggedReply, pseudonym_keys: Sequence[str]
) -> Reply | MessageSidTaken:
    """Return the stored reply, or an empty one if its words have been erased.

    `pseudonym_keys` are needed to recognise an erased contact.
    """
    if logged.is_erased:
        names = {duplicate.contact, *(pseudonym(duplicate.contact, key) for key in pseudonym_keys)}
        return Reply("") if logged.contact in names else MessageSidTaken(duplicate.sid)
    try:
        require_same(duplicate, logged.contact, logged.text)
    except MessageSidTaken as error:
        return error
    return Reply(logged.reply, logged.conversation_id if logged.is_finished else None)
