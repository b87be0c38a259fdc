"""Addresses of Twilio's, `whatsapp:+15551234567`, and the contacts that they name."""

import re

from core.pseudonym import PSEUDONYM_PREFIX
from core.text import clean
from whatsapp.errors import InvalidRequest

MAX_CONTACT_CHARACTERS = 150


def contact_of(address: str) -> str:
    """Cut an address of Twilio's down to the contact."""
    number = address[9:] if address[:9].lower() == "whatsapp:" else address
    contact = clean(number)
    # A plus sign that curl's -d left unencoded arrives as a space.
    return f"+{contact}" if re.match(" [0-9]", number) else contact


def parse_contact(address: str) -> str:
    """Read the contact of an address; empty where there is none. Raises InvalidRequest."""
    contact = contact_of(address)
    if len(contact) > MAX_CONTACT_CHARACTERS:
        raise InvalidRequest(400, f"An address has {MAX_CONTACT_CHARACTERS} characters at most.")
    if contact.startswith(
        PSEUDONYM_PREFIX
    ):  # a pseudonym of ours, in the place of an erased number
        raise InvalidRequest(400, "This is no address.")
    return contact
