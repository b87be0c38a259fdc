"""Erase a review, or a customer whole: `python3 run.py forget +15551234567`.

What stays of a message is its SID, so that Twilio's late repeat of it brings nothing back.
"""

import sys
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

import message_log
import reviews
import schema
from database import OUTAGES, Away, Database, open_database, utc_now
from logs import describe, logger, masked
from models import LoggedMessage, Review, UnfinishedConversation
from schema import SCHEMA_VERSION, CannotStart
from settings import Settings, SettingsError
from stores import Store, open_store
from whatsapp import contact_of

ROWS_OF_OTHERS = {"55P03", "40P01"}
"""PostgreSQL's codes for rows that somebody else has just now: lock_timeout, deadlock."""

PATIENCE_SECONDS = 4.0
"""How long a contact may be held by a worker that is answering it."""


def erase_review(database: Database, review_id: int) -> bool:
    """Erase a review and the words of its conversation; say whether there was one."""
    with database.write() as connection:
        found = sa.select(Review.conversation_id, Review.contact_number)
        review = connection.execute(found.where(Review.id == review_id)).one_or_none()
        if review is None:
            return False
        # Messages before reviews, as everywhere: who erase at once wait, and don't deadlock.
        which = LoggedMessage.conversation_id == review.conversation_id
        message_log.erase_words(connection, which, utc_now())
        connection.execute(
            sa.delete(UnfinishedConversation).where(
                UnfinishedConversation.contact_number == review.contact_number,
                UnfinishedConversation.conversation_id == review.conversation_id,
            )
        )
        gone = reviews.erase(connection, review_id)
    if gone:
        logger.info("review erased review=%d conversation=%s", review_id, review.conversation_id)
    return gone


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much there was of a contact."""

    reviews: int
    messages: int


def forget_contact(store: Store, contact: str, key: str) -> Forgotten | None:
    """Erase a contact's reviews, words, unfinished conversation and number; None if unknown.

    The log keeps a pseudonym in the number's place, made with `key` (Settings.forgetting_key).
    Raises one of database.OUTAGES.
    """
    if contact.startswith(message_log.FORGOTTEN):
        return None
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            with store.hold({contact}, claim=lambda: None) as held:
                if contact in held.conversations:
                    held.conversations[contact] = None
                    forgotten = _forget(held.connection, contact, key)
                    break
        except IntegrityError:
            pass  # a worker that does not know of our hold was quicker
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) not in ROWS_OF_OTHERS:
                raise
        time.sleep(0.1)
    else:
        raise Away("the contact is being answered all the time")
    if forgotten is not None:
        logger.info(
            "contact forgotten contact=%s reviews=%d messages=%d",
            masked(contact),
            forgotten.reviews,
            forgotten.messages,
        )
    return forgotten


def _forget(connection: Connection, contact: str, key: str) -> Forgotten | None:
    """Let one statement decide which messages are forgotten, and all else follow from it.

    A process that does not see our hold may commit between two statements.
    """
    if connection.dialect.name == "postgresql":  # who waits here may hold up the writer
        connection.exec_driver_sql("SET LOCAL lock_timeout = 200")
    name = message_log.pseudonym(contact, key)
    messages = message_log.forget(connection, contact, name, utc_now())
    gone = reviews.forget(connection, contact)
    connection.execute(
        sa.delete(UnfinishedConversation).where(UnfinishedConversation.contact_number == contact)
    )
    return Forgotten(gone, messages) if gone or messages else None


def main() -> None:
    contact = contact_of(sys.argv[1]) if len(sys.argv) == 2 else ""
    if not contact or contact.startswith("-"):
        sys.exit("Say whom to forget: python3 run.py forget +15551234567")
    try:
        settings = Settings.load()
        database = open_database(settings.database_url)
        if (version := schema.schema_version(database.engine)) != SCHEMA_VERSION:
            sys.exit(
                f"Nothing is forgotten: the database has schema {version}, this program needs"
                f" {SCHEMA_VERSION}. Starting the service brings an older one up to date."
            )
        # The memory store is its one process's; the log tells that what was said here is over.
        kind = "redis" if settings.conversation_store == "redis" else "database"
        store = open_store(kind, database, settings.conversation_ttl, settings.redis_url)
        forgotten = forget_contact(store, contact, settings.forgetting_key)
    except SettingsError as error:
        sys.exit(str(error))
    except (CannotStart, DBAPIError, *OUTAGES) as error:
        sys.exit(f"That failed, so run it again: {describe(error)}")
    if forgotten is None:
        sys.exit(f"Nothing is known of {contact}.")
    print(  # noqa: T201 - this is what people run it for
        f"Forgotten: {_number_of(forgotten.reviews, 'review')}, the words of"
        f" {_number_of(forgotten.messages, 'message')}, and the number itself."
    )


def _number_of(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


if __name__ == "__main__":
    main()
