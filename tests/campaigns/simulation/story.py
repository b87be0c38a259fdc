"""What happened in a schedule, for people, and what was wrong with it."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Story:
    """Lines with the time in seconds at which they happened."""

    now: Callable[[], float]
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _looks: int = 0

    def clock(self) -> datetime:
        """Tell the time; it is a microsecond later at each look, as it is for real machines."""
        self._looks += 1
        return BEGAN + timedelta(seconds=self.now(), microseconds=self._looks)

    def tell(self, what: str, kind: str | None = None) -> None:
        """Add a line; things of a kind are counted."""
        self.lines.append(f"{self.now():10.3f}  {what}")
        if kind is not None:
            self.counts[kind] += 1

    def problem(self, what: str) -> None:
        self.problems.append(what)
        self.tell(f"PROBLEM: {what}")

    @contextmanager
    def told_by(self, logger: logging.Logger) -> Iterator[None]:
        """Have what is logged in it: a traceback is a problem."""
        handlers, propagate = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [_Listener(self)], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = handlers, propagate


class _Listener(logging.Handler):
    def __init__(self, story: Story) -> None:
        super().__init__(logging.WARNING)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        tell = self._story.problem if record.exc_info else self._story.tell
        tell(f"log: {record.getMessage()}")
