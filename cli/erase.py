"""`run.py forget`: erase a customer."""

import sys

from sqlalchemy.exc import DBAPIError

from core.logs import describe
from core.settings import Settings, SettingsError
from db import schema
from db.engine import open_database
from db.errors import TRANSIENT_ERRORS, StartupError
from db.schema import SCHEMA_VERSION
from privacy.erasure import erase_contact
from whatsapp.address import contact_of


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
        forgotten = erase_contact(database, contact, settings.pseudonym_keys[0])
    except SettingsError as error:
        sys.exit(str(error))
    except (StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        sys.exit(f"That failed, so run it again: {describe(error)}")
    if forgotten is None:
        sys.exit(f"Nothing is known of {contact}.")
    print(  # noqa: T201 - this is what people run it for
        f"ErasedContact: {_number_of(forgotten.reviews, 'review')}, the words of"
        f" {_number_of(forgotten.messages, 'message')}, and the number itself."
    )


def _number_of(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


if __name__ == "__main__":
    main()
