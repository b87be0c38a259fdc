"""Twilio's addresses, `whatsapp:+15551234567`, and the contacts in them."""

import re

from core.pseudonym import PSEUDONYM_PREFIX
from core.text import clean
from whatsapp.errors import InvalidRequest

MAX_CONTACT_CHARACTERS = 150


def contact_of(address: str) -> str:
    """Return the contact of an address; "" if there is none."""
    number = address[9:] if address[:9].lower() == "whatsapp:" else address
    contact = clean(number)
    # curl -d does not encode a plus sign, so it arrives as a space.
    return f"+{contact}" if re.match(" [0-9]", number) else contact


def parse_contact(address: str) -> str:
    """Return the contact of an address; "" if there is none.

    Raises InvalidRequest if it is too long, or looks like a pseudonym of ours.
    """
    contact = contact_of(address)
    if len(contact) > MAX_CONTACT_CHARACTERS:
        raise InvalidRequest(400, f"An address has at most {MAX_CONTACT_CHARACTERS} characters.")
    if contact.startswith(PSEUDONYM_PREFIX):
        raise InvalidRequest(400, "Not an address.")
    return contact
