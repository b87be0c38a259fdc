"""Requests of this machine itself, in a local environment."""

import re

from fastapi import HTTPException, Request

from web.security.access import Access, access_of


async def require_this_machine(request: Request) -> None:
    """Require a request of a developer's own machine, with or without the key. Raises 404."""
    if not is_at_the_machine(access_of(request), request):
        raise HTTPException(404)


def is_at_the_machine(access: Access, request: Request) -> bool:
    """Say whether a local installation is asked from its own machine."""
    return access.is_local and _is_this_machine(request)


def _is_this_machine(request: Request) -> bool:
    """Say whether a browser or program on this machine asks, and no tunnel or other site.

    A tunnel such as ngrok connects from loopback too, but its headers and Host differ. A page whose
    name resolves to 127.0.0.1 (DNS rebinding) sends that name as Host.
    """
    if any(name.startswith(_PROXIES) for name in request.headers):
        return False
    peer = request.client.host if request.client else ""
    host = request.headers.get("host", "")
    if peer == "testclient":  # Starlette's; no socket has this name
        return host == "testserver" or is_local_name(host)
    return peer in {"127.0.0.1", "::1"} and is_local_name(host)


_PROXIES = ("x-forwarded", "forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-")
"""Prefixes of the headers that proxies and tunnels add."""


def is_local_name(host: str) -> bool:
    name = re.sub(":[0-9]*$", "", host).strip("[]").lower()
    return name in {"localhost", "127.0.0.1", "::1"}
