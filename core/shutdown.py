"""Learn at once that the server is shutting down.

The server tells its app only after every response has been sent, so an open stream would delay the
shutdown until it ends by itself.
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
    """Whether the server is shutting down: `has_begun`, set by the signals that `notice` sees."""

    def __init__(self) -> None:
        # A bool, not an Event: a second signal may come while the first holds an Event's lock.
        self.has_begun = False

    @contextmanager
    def notice(self) -> Iterator[None]:
        """Watch for SIGINT and SIGTERM (on Windows SIGBREAK, too), and call the server's handlers.

        The server must have installed its handlers before. Outside the main thread this does
        nothing: only the main thread may handle signals.
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
            if callable(handler):  # else the signal is ignored, or ends the process at once
                handlers[number] = handler
                signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
