"""Log an outage of something we depend on: once a minute while it lasts, and its end."""

from collections.abc import Callable

from core.clock import monotonic
from core.logs import logger


class OutageLog:
    """Note every failure and every success; the log gets few lines of it.

    `away` and `back` begin the two lines. An outage that begins within a minute of the last line
    about one is logged after that minute, if it still lasts. For one thread at a time.
    """

    REPEAT_SECONDS = 60.0

    def __init__(self, away: str, back: str, clock: Callable[[], float] = monotonic) -> None:
        self._away, self._back, self._clock = away, back, clock
        self._since: float | None = None
        self._logged_at: float | None = None
        self._is_logged = False

    @property
    def is_on(self) -> bool:
        """Whether the last note was a failure."""
        return self._since is not None

    def note_failure(self, why: str) -> None:
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._logged_at is None or now - self._logged_at >= self.REPEAT_SECONDS:
            self._logged_at, self._is_logged = now, True
            logger.error("%s: %s", self._away, why)

    def note_success(self) -> None:
        if self._since is None:
            return
        if self._is_logged:
            logger.info("%s after %.1f s", self._back, self._clock() - self._since)
        self._since, self._is_logged = None, False
