"""Erase a review, or everything of a contact.

The SIDs of erased messages stay, so that a late repeat by Twilio does not record them again.
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
from reviews import repository
from storage import contact_state


def erase_review(database: Database, review_id: int) -> bool:
    """Erase a review and the words of its conversation; return whether there was one.

    Raises one of db.errors.TRANSIENT_ERRORS, also if its contact stays locked for too long.
    """
    found = sa.select(Review.conversation_id, Review.contact_number).where(Review.id == review_id)
    with database.write() as connection:
        review = connection.execute(found).one_or_none()
        if review is None:
            return False
        contact_state.lock(connection, review.contact_number)
        is_erased = repository.erase(connection, review_id)
        if is_erased:  # else somebody else erased it while we waited for the lock
            which = LoggedMessage.conversation_id == review.conversation_id
            message_erasure.erase_words(connection, which, utc_now())
    if is_erased:
        logger.info("review erased review=%d conversation=%s", review_id, review.conversation_id)
    return is_erased


@dataclass(frozen=True, slots=True)
class ErasedContact:
    """How many reviews and messages of a contact were erased."""

    reviews: int
    messages: int


def erase_contact(database: Database, contact: str, key: str) -> ErasedContact | None:
    """Erase a contact's reviews, words and number; return None if nothing is known of it.

    In the log a pseudonym replaces the number. `key` makes it: the first of
    Settings.pseudonym_keys. Raises one of db.errors.TRANSIENT_ERRORS, also if the contact stays
    locked for too long.
    """
    if contact.startswith(PSEUDONYM_PREFIX):
        return None
    name = pseudonym(contact, key)
    with database.write() as connection:
        contact_state.lock(connection, contact)
        messages = message_erasure.erase_all_of(connection, contact, name, utc_now())
        reviews = repository.erase_all_of(connection, contact)
    if not reviews and not messages:
        return None
    logger.info(
        "contact erased contact=%s reviews=%d messages=%d", mask(contact), reviews, messages
    )
    return ErasedContact(reviews, messages)
