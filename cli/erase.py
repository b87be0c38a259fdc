"""Erase a customer: the reviews, the words of all messages, and the number."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import closing

from cli.command_error import CommandError
from core.console import tell
from core.settings import Settings
from db.engine import open_database
from privacy.erasure import erase_contact
from whatsapp.address import contact_of


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "contact", metavar="NUMBER", type=_contact, help="the customer, such as +15551234567"
    )


def run(options: Namespace, settings: Settings) -> int:
    with closing(open_database(settings.database_url)) as database:
        erased = erase_contact(database, options.contact, settings.pseudonym_keys[0])
    if erased is None:
        raise CommandError(f"There is no data about {options.contact}.")
    tell(
        f"Erased: {_number_of(erased.reviews, 'review')}, the words of"
        f" {_number_of(erased.messages, 'message')}, and the number itself."
    )
    return 0


def _contact(text: str) -> str:
    contact = contact_of(text)
    if not contact:
        raise ArgumentTypeError("name the customer, such as +15551234567")
    return contact


def _number_of(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
