"""Cross-site request forgery: a page of another origin may change nothing."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from web.security.access import Access, access_of
from web.security.local_only import is_local_name


async def reject_cross_origin(request: Request) -> None:
    """Refuse a change that another site's page asks the browser for. Raises 403.

    https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
    """
    origin = request.headers.get("origin")
    if origin is None or request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    if origin not in _own_origins(access_of(request), request):
        raise HTTPException(403, "This page may not change anything here.")


def _own_origins(access: Access, request: Request) -> Collection[str]:
    """List the origins of our own pages: that of PUBLIC_URL and, locally, this machine's.

    Production has one address, and Host proves nothing there. Locally PUBLIC_URL is often not set,
    or is the tunnel's, and the developer's browser uses localhost at any port. Host must be a name
    of this machine, as a page can have its own name resolved to it (DNS rebinding).
    """
    own = [access.own_origin] if access.own_origin else []
    host = request.headers.get("host", "")
    if access.is_local and is_local_name(host):
        own.append(f"{request.scope['scheme']}://{host}")
    return own


_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Cut a URL down to its origin, written as browsers write it (RFC 6454).

    That is scheme, host in lower case, and the port unless it is the scheme's default.
    """
    parts = urlsplit(url)
    host = re.sub(":[0-9]*$", "", parts.netloc.rpartition("@")[2]).lower()
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
