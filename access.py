"""Who may read and change: the holder of the key; on a developer's machine, whoever sits at it."""

import hmac
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

import login_cookie

_bearer = HTTPBearer(auto_error=False, description="The API_KEY of this installation.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")

_NAT64 = IPv6Network("64:ff9b::/96")
"""Where all of IPv4 is seen from behind a NAT64 (RFC 6052)."""


class Guesses:
    """How many wrong keys came from where lately: of too many, the next are not even looked at.

    An address has GUESSES to waste, and gets one back every SECONDS_EACH. From where the right key
    has come within OWNER_SECONDS nobody is turned away: a guesser beside the owner locks nobody
    out. See docs/decisions/0017-a-guesser-is-slowed-down-by-address.md.
    """

    GUESSES = 10
    SECONDS_EACH = 6.0
    OWNER_SECONDS = 24 * 3600.0
    MOST_ADDRESSES = 10_000
    """Of guessers and of owners; whoever was seen longest ago is forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all_back_at: OrderedDict[str, float] = OrderedDict()
        self._right_until: OrderedDict[str, float] = OrderedDict()

    def seconds_to_wait(self, address: str) -> int:
        """Say how long no key from there is looked at; 0: the next one is."""
        if not address or self._left(self._right_until, address):
            return 0
        left = self._left(self._all_back_at, address) - (self.GUESSES - 1) * self.SECONDS_EACH
        return max(0, math.ceil(left))

    def note_wrong(self, address: str) -> None:
        left = self._left(self._all_back_at, address) + self.SECONDS_EACH
        self._keep(self._all_back_at, address, min(left, self.GUESSES * self.SECONDS_EACH))

    def note_right(self, address: str) -> None:
        self._keep(self._right_until, address, self.OWNER_SECONDS)

    def _left(self, times: OrderedDict[str, float], address: str) -> float:
        return max(0.0, times.get(address, 0.0) - self._clock())

    def _keep(self, times: OrderedDict[str, float], address: str, seconds: float) -> None:
        times[address] = self._clock() + seconds
        times.move_to_end(address)
        if len(times) > self.MOST_ADDRESSES:
            times.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Whom this installation lets in; pages of `own_origin` may change something.

    The first of `cookie_keys` seals cookies, all are recognised.
    """

    api_key: str | None
    cookie_keys: tuple[str, ...]
    is_local: bool
    own_origin: str | None
    guesses: Guesses = field(default_factory=Guesses)


def access_of(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


async def _given_keys(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> list[str]:
    return [key for key in (bearer.credentials if bearer else None, header) if key]


GivenKeys = Annotated[list[str], Depends(_given_keys)]


async def require_owner(request: Request, keys: GivenKeys) -> None:
    """Let in who has the key, or has shown it at /login; locally who is on this machine itself.

    Raises 401 or 429.
    """
    access = access_of(request)
    if is_at_the_machine(access, request):
        return
    if has_logged_in(access, request):
        return
    if keys and is_right(access, request, keys):
        return
    raise HTTPException(
        401,
        "Send the API key: Authorization: Bearer <API_KEY>, or X-API-Key.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def has_logged_in(access: Access, request: Request) -> bool:
    """Say whether a request comes with the cookie of /login."""
    cookie = request.cookies.get(login_cookie.NAME, "")
    if access.api_key is None:
        return False
    return login_cookie.is_valid(cookie, access.cookie_keys, access.api_key)


async def require_owner_when_local(request: Request, keys: GivenKeys) -> None:
    """Keep what is public in production from those who reach a developer's machine by a tunnel."""
    if access_of(request).is_local:
        await require_owner(request, keys)


async def require_this_machine(request: Request) -> None:
    """Hide what is for who sits at a developer's machine, key or no key. Raises 404."""
    if not is_at_the_machine(access_of(request), request):
        raise HTTPException(404)


async def refuse_foreign_origin(request: Request) -> None:
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
    if access.is_local and _is_local_name(host):
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


def is_right(access: Access, request: Request, keys: Collection[str]) -> bool:
    """Say whether the key is among these. Raises 429 where too many wrong ones came from there."""
    address = _address(request)
    if wait := access.guesses.seconds_to_wait(address):
        raise HTTPException(429, "Too many wrong keys.", headers={"Retry-After": f"{wait}"})
    if access.api_key and any(_equal(key, access.api_key) for key in keys):
        access.guesses.note_right(address)
        return True
    for _ in keys:
        access.guesses.note_wrong(address)
    return False


def _equal(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())


def _address(request: Request) -> str:
    """Tell where a request comes from: an IPv4 address, or the network of an IPv6 one.

    Behind a proxy on this machine uvicorn takes it from X-Forwarded-For. "" is nobody in
    particular: a proxy that does not tell.
    """
    peer = request.client.host if request.client else ""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer[:50]  # whatever a proxy makes of it
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return ""
    if address in _NAT64:
        return str(IPv4Address(int(address) & 0xFFFFFFFF))
    # Who has one IPv6 address has 2**64 of them.
    return address.exploded[:19]


def is_at_the_machine(access: Access, request: Request) -> bool:
    """Say whether a developer asks who sits at the machine of a local installation."""
    return access.is_local and _is_this_machine(request)


def _is_this_machine(request: Request) -> bool:
    """Say whether a browser or program on this machine asks, rather than a tunnel or another site.

    A tunnel such as ngrok connects from loopback too; its headers and its Host give it away. A
    page that had its own name resolved to 127.0.0.1 (DNS rebinding) still sends that name as Host.
    """
    if any(name.startswith(_PROXIES) for name in request.headers):
        return False
    peer = request.client.host if request.client else ""
    host = request.headers.get("host", "")
    if peer == "testclient":  # Starlette's, which no socket can claim to be
        return host == "testserver" or _is_local_name(host)
    return peer in {"127.0.0.1", "::1"} and _is_local_name(host)


_PROXIES = ("x-forwarded", "forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-")
"""How the names of headers begin that proxies and tunnels add."""


def _is_local_name(host: str) -> bool:
    name = re.sub(":[0-9]*$", "", host).strip("[]").lower()
    return name in {"localhost", "127.0.0.1", "::1"}
