"""Pseudonyms of erased contacts."""

import hmac

PSEUDONYM_PREFIX = "forgotten-"
"""Every pseudonym begins with it. An address that does is rejected (whatsapp.address)."""


def pseudonym(contact: str, key: str) -> str:
    """Return what replaces an erased contact in the log: HMAC-SHA-256 of the contact under `key`.

    The same contact always gets the same pseudonym. Without the key nobody can tell whose it is.
    """
    digest = hmac.digest(key.encode(), contact.encode(), "sha256")
    return f"{PSEUDONYM_PREFIX}{digest.hex()}"
