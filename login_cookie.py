"""The cookie of somebody who has shown the key: until when it holds, and a seal under the key."""

import hmac
import re
import time

NAME = "reviews_login"

SECONDS = 14 * 24 * 3600
"""How long a login holds."""


def make(api_key: str) -> str:
    """Seal a login that begins now."""
    until = int(time.time()) + SECONDS
    return f"{until}.{_seal(until, api_key)}"


def is_valid(cookie: str, api_key: str) -> bool:
    """Say whether we made this cookie under this key, and it still holds."""
    found = re.fullmatch(r"([0-9]{1,12})\.([0-9a-f]{64})", cookie, re.ASCII)
    if not found:
        return False
    until, seal = int(found[1]), found[2]
    return hmac.compare_digest(seal, _seal(until, api_key)) and time.time() < until


def _seal(until: int, api_key: str) -> str:
    # The NUL is in no contact: a pseudonym (message_log.py), made under the same key, is no seal.
    return hmac.digest(api_key.encode(), f"\0login until {until}".encode(), "sha256").hex()
