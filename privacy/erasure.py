"""Erase a review, or a customer whole: `python3 run.py forget +15551234567`.

What stays of a message is its SID, so that Twilio's late repeat of it brings nothing back.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from core.clock import utc_now
from core.logs import logger
from core.pseudonym import PSEUDONYM_PREFIX, pseudonym
from core.text import mask
from db.engine import Database
from models import LoggedMessage, Review
from privacy import message_erasure
from reviews.repository import erase, forget
from storage import contact_state


def erase_review(database: Database, review_id: int) -> bool:
    """Erase a review and the words of its conversation; say whether there was one.

    Raises one of database.TRANSIENT_ERRORS, also where its contact stays locked for too long.
    """
    found = sa.select(Review.conversation_id, Review.contact_number).where(Review.id == review_id)
    with database.write() as connection:
        review = connection.execute(found).one_or_none()
        if review is None:
            return False
        contact_state.lock(connection, review.contact_number)
        gone = erase(connection, review_id)
        if gone:  # else somebody erased it while we waited for the lock
            which = LoggedMessage.conversation_id == review.conversation_id
            message_erasure.erase_words(connection, which, utc_now())
    if gone:
        logger.info("review erased review=%d conversation=%s", review_id, review.conversation_id)
    return gone


@dataclass(frozen=True, slots=True)
class ErasedContact:
    """How much there was of a contact."""

    reviews: int
    messages: int


def erase_contact(database: Database, contact: str, key: str) -> ErasedContact | None:
    """Erase a contact's reviews, words and number; None if unknown.

    The log keeps a pseudonym in the number's place. `key` makes it: the first of
    Settings.pseudonym_keys. Raises one of db.errors.TRANSIENT_ERRORS, also where the contact stays
    locked for too long.
    """
    if contact.startswith(PSEUDONYM_PREFIX):
        return None
    name = pseudonym(contact, key)
    with database.write() as connection:
        contact_state.lock(connection, contact)
        messages = message_erasure.forget(connection, contact, name, utc_now())
        gone = forget(connection, contact)
    if not gone and not messages:
        return None
    logger.info(
        "contact forgotten contact=%s reviews=%d messages=%d", mask(contact), gone, messages
    )
    return ErasedContact(gone, messages)
