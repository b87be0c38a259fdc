"""What this installation lets in: keys, and the origin of its own pages."""

from dataclasses import dataclass, field

from fastapi import Request

from web.security.rate_limit import KeyRateLimiter


@dataclass(frozen=True, slots=True)
class Access:
    """Whom this installation lets in; pages of `own_origin` may change something.

    The first of `cookie_keys` seals cookies, all are recognised.
    """

    api_key: str | None
    cookie_keys: tuple[str, ...]
    is_local: bool
    own_origin: str | None
    guesses: KeyRateLimiter = field(default_factory=KeyRateLimiter)


def access_of(request: Request) -> Access:
    access: Access = request.app.state.access
    return access
