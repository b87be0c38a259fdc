"""Who may read and change: the holder of the key; on a developer's machine, whoever sits at it."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

_bearer = HTTPBearer(auto_error=False, description="The API_KEY of this installation.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


@dataclass(frozen=True, slots=True)
class Access:
    """Whom this installation lets in; `own_origins` are the web pages that may change something."""

    api_key: str | None
    is_local: bool
    own_origins: frozenset[str]


async def _given_keys(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> list[str]:
    return [key for key in (bearer.credentials if bearer else None, header) if key]


GivenKeys = Annotated[list[str], Depends(_given_keys)]


async def require_owner(request: Request, keys: GivenKeys) -> None:
    """Let in who has the key or, locally, who is on this machine itself. Raises 401."""
    access: Access = request.app.state.access
    if access.api_key and any(_equal(key, access.api_key) for key in keys):
        return
    if access.is_local and _is_this_machine(request):
        return
    raise HTTPException(
        401,
        "Send the API key: Authorization: Bearer <API_KEY>, or X-API-Key.",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def require_owner_when_local(request: Request, keys: GivenKeys) -> None:
    """Keep what is public in production from those who reach a developer's machine by a tunnel."""
    access: Access = request.app.state.access
    if access.is_local:
        await require_owner(request, keys)


async def refuse_foreign_origin(request: Request) -> None:
    """Refuse a change that another site's page asks the browser for. Raises 403.

    https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
    """
    origin = request.headers.get("origin")
    if origin is None or request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    access: Access = request.app.state.access
    if origin in access.own_origins:
        return
    host = request.headers.get("host", "?")
    # Locally a page may have had its own name resolved to this machine (DNS rebinding).
    if origin.partition("://")[2] == host and (not access.is_local or _is_local_name(host)):
        return
    raise HTTPException(403, "This page may not change anything here.")


def origin_of(urls: Iterable[str]) -> frozenset[str]:
    """Cut URLs down to their origins (RFC 6454): scheme, host and port."""
    parts = [urlsplit(url) for url in urls]
    return frozenset(f"{part.scheme}://{part.netloc}" for part in parts)


def _equal(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())


def _is_this_machine(request: Request) -> bool:
    """Say whether a browser or program on this machine asks, rather than a tunnel or another site.

    A tunnel such as ngrok connects from loopback too; its headers and its Host give it away. A
    page that had its own name resolved to 127.0.0.1 (DNS rebinding) still sends that name as Host.
    """
    if any(name.startswith(("x-forwarded", "forwarded")) for name in request.headers):
        return False
    peer = request.client.host if request.client else ""
    host = request.headers.get("host", "")
    if peer == "testclient":  # Starlette's, which no socket can claim to be
        return host == "testserver" or _is_local_name(host)
    return peer in {"127.0.0.1", "::1"} and _is_local_name(host)


def _is_local_name(host: str) -> bool:
    name = re.sub(":[0-9]*$", "", host).strip("[]").lower()
    return name in {"localhost", "127.0.0.1", "::1"}
