"""Clocks for tests; `core.clock.replaced_by` puts one in the place of the machine's."""

from datetime import datetime, timedelta

from core.clock import SystemClock


class ManualClock(SystemClock):
    """A clock whose seconds a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class ClockAhead(SystemClock):
    """A clock that is set wrong."""

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    def utc_now(self) -> datetime:
        return super().utc_now() + self.ahead
