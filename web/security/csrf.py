"""Cross-site request forgery: pages of other origins must not change data."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from web.security.access import Access, access_of
from web.security.local_only import is_local_name


async def reject_cross_origin(request: Request) -> None:
    """Reject a change that a page of another origin sends. Raises 403.

    https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
    """
    origin = request.headers.get("origin")
    if origin is None or request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    if origin not in _own_origins(access_of(request), request):
        raise HTTPException(403, "A page of another origin may not change anything here.")


def _own_origins(access: Access, request: Request) -> Collection[str]:
    """List the origins of our pages: PUBLIC_URL's and, in a local environment, this machine's.

    Production has one address, and Host proves nothing. In a local environment PUBLIC_URL is often
    missing or the tunnel's, and the browser uses localhost with any port. Then Host must be a name
    of this machine: another name can resolve to it as well (DNS rebinding).
    """
    own = [access.own_origin] if access.own_origin else []
    host = request.headers.get("host", "")
    if access.is_local and is_local_name(host):
        own.append(f"{request.scope['scheme']}://{host}")
    return own


_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it (RFC 6454).

    That is the scheme, the host in lower case, and the port unless it is the scheme's default.
    """
    parts = urlsplit(url)
    host = re.sub(":[0-9]*$", "", parts.netloc.rpartition("@")[2]).lower()
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
