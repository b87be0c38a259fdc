"""The cookie of who has shown API_KEY: until when it holds, and a seal under SECRET_KEY."""

import hmac
import re
import time
from collections.abc import Sequence

NAME = "reviews_login"

SECONDS = 14 * 24 * 3600
"""How long a login holds."""


def make(secret_key: str, api_key: str) -> str:
    """Seal a login with `api_key` that begins now."""
    until = int(time.time()) + SECONDS
    return f"{until}.{_seal(until, secret_key, api_key)}"


def is_valid(cookie: str, secret_keys: Sequence[str], api_key: str) -> bool:
    """Say whether we made this cookie for this `api_key`, and it still holds."""
    found = re.fullmatch(r"([0-9]{1,12})\.([0-9a-f]{64})", cookie, re.ASCII)
    if not found:
        return False
    until, seal = int(found[1]), found[2]
    seals = [_seal(until, key, api_key) for key in secret_keys]
    return any(hmac.compare_digest(seal, ours) for ours in seals) and time.time() < until


def _seal(until: int, secret_key: str, api_key: str) -> str:
    # The NUL is in no contact: a pseudonym (core.pseudonym), made under the same key, is no seal.
    # With API_KEY in it a new one ends all logins, and an older SECRET_KEY that has become known
    # makes none: that may be an API_KEY of before.
    text = f"\0login until {until} with {api_key}"
    return hmac.digest(secret_key.encode(), text.encode(), "sha256").hex()
