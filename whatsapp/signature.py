"""Twilio's signature: proves that the holder of the Auth Token sent these fields to this URL.

https://www.twilio.com/docs/usage/webhooks/webhooks-security. The SDK's RequestValidator has the
same results (a test compares them) and takes seven times as long: see docs/performance.md.
"""

import base64
import hmac
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit


def canonical_form(pairs: Collection[tuple[str, str]]) -> str:
    """Return the string of a form that Twilio signs: names and values, without delimiters.

    Pairs are sorted by name and value, and equal ones count once.
    """
    return "".join(name + value for name, value in sorted(set(pairs)))


def is_signed(signature: str, tokens: Collection[str], url: str, fields: str) -> bool:
    """Say whether `signature` was made with one of `tokens`.

    `url` is the full URL with its query, `fields` the form as `canonical_form` returns it. Raises
    ValueError if the URL has an invalid port.
    """
    return any(
        hmac.compare_digest(signature.encode(), sign(f"{address}{fields}", token))
        for address in _with_and_without_port(url)
        for token in tokens
    )


def sign(text: str, token: str) -> bytes:
    """Return the signature of a URL followed by its canonical form: HMAC-SHA-1 in base64."""
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1"))


def _with_and_without_port(url: str) -> Iterator[str]:
    """Yield the URL as it was called, then with the standard port added, or without its port.

    Twilio's SDK does the same, because Twilio is not consistent about the port.
    """
    yield url
    parts = urlsplit(url)
    if parts.port:
        yield parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
    else:
        port = 443 if parts.scheme == "https" else 80
        yield parts._replace(netloc=f"{parts.netloc}:{port}").geturl()
