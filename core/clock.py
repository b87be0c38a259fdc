"""The clock: modules that need the time, or must wait, ask here. The simulation replaces it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def utc_now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class SystemClock:
    """The clock of this machine."""

    def utc_now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)


_clock: Clock = SystemClock()


def utc_now() -> datetime:
    """Return the present time, in UTC. It may go back when the machine's clock is set."""
    return _clock.utc_now()


def monotonic() -> float:
    """Return seconds since some moment, for durations only. They never go back."""
    return _clock.monotonic()


def sleep(seconds: float) -> None:
    """Block this thread for `seconds`."""
    _clock.sleep(seconds)


@contextmanager
def replaced_by(clock: Clock) -> Iterator[None]:
    """Let every module that asks here use another clock, for as long as the block runs."""
    global _clock
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before
