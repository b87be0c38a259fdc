"""Learn at once that the server was told to stop.

A server tells its app only when every answer has been sent. A stream would hold it up until then.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS: list[int] = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    SIGNALS.append(signal.SIGBREAK)

Handler = Callable[[int, FrameType | None], Any]


class Shutdown:
    """Says whether the server was told to stop, as far as `notice` has seen."""

    def __init__(self) -> None:
        # No Event: its lock could be held already when a second signal comes.
        self.has_begun = False

    @contextmanager
    def notice(self) -> Iterator[None]:
        """Notice the signals that end the server, and hand them on to its own handlers.

        The server's handlers must be in place. Outside the main thread nothing is noticed: only
        that thread may handle signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        handlers: dict[int, Handler] = {}

        def handle(number: int, frame: FrameType | None) -> None:
            self.has_begun = True
            handlers[number](number, frame)

        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # else the signal ends the process at once, or is ignored
                handlers[number] = handler
                signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
