"""The login cookie: its expiry, and a seal of it under SECRET_KEY."""

import hmac
import re
import time
from collections.abc import Sequence

NAME = "reviews_login"

SECONDS = 14 * 24 * 3600
"""How long a login is valid: 14 days."""


def make(secret_key: str, api_key: str) -> str:
    """Make the cookie of a login with `api_key` that begins now."""
    until = int(time.time()) + SECONDS
    return f"{until}.{_seal(until, secret_key, api_key)}"


def is_valid(cookie: str, secret_keys: Sequence[str], api_key: str) -> bool:
    """Say whether we made this cookie for `api_key` and it has not expired."""
    found = re.fullmatch(r"([0-9]{1,12})\.([0-9a-f]{64})", cookie, re.ASCII)
    if not found:
        return False
    until, seal = int(found[1]), found[2]
    seals = [_seal(until, key, api_key) for key in secret_keys]
    return any(hmac.compare_digest(seal, ours) for ours in seals) and time.time() < until


def _seal(until: int, secret_key: str, api_key: str) -> str:
    # No contact contains NUL, so a pseudonym (core.pseudonym), made with the same key, is no seal.
    # API_KEY is part of the text: a new one ends all logins, and a leaked older SECRET_KEY alone
    # makes none.
    text = f"\0login until {until} with {api_key}"
    return hmac.digest(secret_key.encode(), text.encode(), "sha256").hex()
