"""The access settings of this installation: keys, and the origin of its own pages."""

from dataclasses import dataclass, field

from fastapi import Request

from web.security.rate_limit import KeyRateLimiter


@dataclass(frozen=True, slots=True)
class Access:
    """Keys and origins. Pages of `own_origin` may change data.

    The first of `cookie_keys` seals new cookies; all of them are accepted.
    """

    api_key: str | None
    cookie_keys: tuple[str, ...]
    is_local: bool
    own_origin: str | None
    key_limiter: KeyRateLimiter = field(default_factory=KeyRateLimiter)


def access_of(request: Request) -> Access:
    access: Access = request.app.state.access
    return access
