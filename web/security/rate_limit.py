"""Rate limit for wrong keys."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from fastapi import Request

_NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a NAT64 maps them (RFC 6052)."""


class KeyRateLimiter:
    """Rate limit for wrong keys, per address: 10, then one every 6 s.

    Beyond it, keys are rejected unread (429). An address that sent the right key within 24 hours is
    not limited, so nobody can lock the owner out. See
    docs/decisions/0017-a-guesser-is-slowed-down-by-address.md.
    """

    GUESSES = 10
    SECONDS_EACH = 6.0
    OWNER_SECONDS = 24 * 3600.0
    MAX_ADDRESSES = 10_000
    """Of each kind; the one seen longest ago is dropped first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all_back_at: OrderedDict[str, float] = OrderedDict()
        self._right_until: OrderedDict[str, float] = OrderedDict()

    def seconds_to_wait(self, address: str) -> int:
        """Return for how many seconds keys of this address are rejected unread; 0 for none."""
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
        if len(times) > self.MAX_ADDRESSES:
            times.popitem(last=False)


def address_of(request: Request) -> str:
    """Return a request's IPv4 address, or the /64 network of its IPv6 address.

    Behind a proxy on this machine uvicorn takes it from X-Forwarded-For. Without that header the
    answer is "", which is never limited: it stands for everybody.
    """
    peer = request.client.host if request.client else ""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer[:50]  # no address; a proxy may send anything
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return ""
    if address in _NAT64:
        return str(IPv4Address(int(address) & 0xFFFFFFFF))
    # A client with one IPv6 address has the whole /64.
    return address.exploded[:19]
