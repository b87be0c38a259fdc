"""Authentication: the API key, the login cookie or, in a local environment, this machine."""

import hmac
from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from web.security import session_cookie
from web.security.access import Access, access_of
from web.security.local_only import is_at_the_machine
from web.security.rate_limit import address_of

_bearer = HTTPBearer(auto_error=False, description="The `API_KEY` of this installation.")

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


async def _given_keys(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> list[str]:
    return [key for key in (bearer.credentials if bearer else None, header) if key]


GivenKeys = Annotated[list[str], Depends(_given_keys)]


async def require_owner(request: Request, keys: GivenKeys) -> None:
    """Require the API key, the login cookie or, in a local environment, a request of this machine.

    Raises 401 or 429.
    """
    access = access_of(request)
    if is_at_the_machine(access, request):
        return
    if has_logged_in(access, request):
        return
    if keys and verify_key(access, request, keys):
        return
    raise HTTPException(
        401,
        "Send the API key: Authorization: Bearer <API_KEY>, or X-API-Key.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def has_logged_in(access: Access, request: Request) -> bool:
    """Say whether a request has a valid cookie of /login."""
    cookie = request.cookies.get(session_cookie.NAME, "")
    if access.api_key is None:
        return False
    return session_cookie.is_valid(cookie, access.cookie_keys, access.api_key)


async def require_owner_when_local(request: Request, keys: GivenKeys) -> None:
    """Require the owner in a local environment: a tunnel must not publish the API's description."""
    if access_of(request).is_local:
        await require_owner(request, keys)


def verify_key(access: Access, request: Request, keys: Collection[str]) -> bool:
    """Say whether one of `keys` is right. Raises 429 after too many wrong ones of an address."""
    address = address_of(request)
    if wait := access.key_limiter.seconds_to_wait(address):
        raise HTTPException(429, "Too many wrong keys.", headers={"Retry-After": f"{wait}"})
    if access.api_key and any(_equal(key, access.api_key) for key in keys):
        access.key_limiter.note_right(address)
        return True
    for _ in keys:
        access.key_limiter.note_wrong(address)
    return False


def _equal(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())
