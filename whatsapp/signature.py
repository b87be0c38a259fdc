"""Twilio's signature: did who holds the Auth Token send these fields to this address?

https://www.twilio.com/docs/usage/webhooks/webhooks-security. The SDK's RequestValidator says the
same (a test compares them) in seven times the time: see docs/performance.md.
"""

import base64
import hmac
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit


def canonical_form(pairs: Collection[tuple[str, str]]) -> str:
    """Write a form as it is signed: nothing stands between a name, its value and the next name.

    Names are in order, and so are the values of a name; what comes twice counts once.
    """
    return "".join(name + value for name, value in sorted(set(pairs)))


def is_signed(signature: str, tokens: Collection[str], url: str, fields: str) -> bool:
    """Say whether one of `tokens` made the signature of a form, `canonical_form`, posted to `url`.

    Raises ValueError where the URL's port is no port.
    """
    return any(
        hmac.compare_digest(signature.encode(), sign(f"{address}{fields}", token))
        for address in _with_and_without_port(url)
        for token in tokens
    )


def sign(text: str, token: str) -> bytes:
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1"))


def _with_and_without_port(url: str) -> Iterator[str]:
    """Name the address as it was called, and with a standard port added or the port cut away.

    Twilio is not consistent about that, says its SDK.
    """
    yield url
    parts = urlsplit(url)
    if parts.port:
        yield parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
    else:
        port = 443 if parts.scheme == "https" else 80
        yield parts._replace(netloc=f"{parts.netloc}:{port}").geturl()
