"""Logging: one event a line, without customers' words, whole numbers, keys or tokens."""

import logging
import re
import sqlite3
import traceback
from types import TracebackType
from urllib.parse import quote, unquote

from sqlalchemy.exc import DBAPIError

logger = logging.getLogger("reviews")
"""Log events as `what happened name=value …`."""


def describe(error: BaseException) -> str:
    """Return an error's type and first line. Below it drivers quote values, so the rest is cut."""
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    return f"{type(error).__name__}: {without_text(text).strip().partition(chr(10))[0]}"


_UNDECODABLE = re.compile("(Could not decode to UTF-8 column '[^']*').*", re.DOTALL)


def is_undecodable(error: BaseException | None) -> bool:
    """Say whether an error means that SQLite returned text that is not UTF-8."""
    return isinstance(error, sqlite3.OperationalError) and bool(_UNDECODABLE.match(str(error)))


def without_text(message: str) -> str:
    """Remove the text that is not UTF-8 from Python's error message, which quotes it."""
    return _UNDECODABLE.sub(r"\1", message)


def configure(level: str) -> None:
    """Send our events to standard error, and give uvicorn's lines the same format.

    `level` is a name such as "INFO". It may be called again, and after uvicorn's own set-up.
    """
    formatter = _Formatter("%(asctime)s %(levelname)s %(message)s")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
    logger.setLevel(level)
    for name in ("reviews", "uvicorn", "uvicorn.error", "uvicorn.access"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(formatter)
    for name in ("uvicorn.access", "uvicorn.error"):  # WebSocket requests go to the second
        uvicorn = logging.getLogger(name)
        if not any(isinstance(known, _WithoutNumbers) for known in uvicorn.filters):
            uvicorn.addFilter(_WithoutNumbers())


class _Formatter(logging.Formatter):
    """Write an event as one line; escape line breaks, and leave values out of tracebacks."""

    _latest = (-1, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Write the time as logging does. All but the milliseconds is made once per second."""
        second, written = self._latest
        if second != int(record.created):
            written = super().formatTime(record, datefmt or self.default_time_format)
            self._latest = (int(record.created), written)
        return f"{written},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's text, which has the values
        message = record.getMessage()
        if message.startswith("Traceback ") and "StartupError: " in message:
            # Uvicorn logs the traceback of a StartupError; its sentence is enough.
            message = message.rpartition("StartupError: ")[2].strip()
        line = f"{self.formatTime(record)} {record.levelname} {_escape(message)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        frames = "".join(traceback.format_tb(ei[2]))
        return frames + _escape(describe(ei[1])) if ei[1] is not None else frames


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class _WithoutNumbers(logging.Filter):
    """Remove customers' numbers from the paths that uvicorn logs: queries, and contacts/…"""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                # uvicorn quotes a target that is not a path, as in GET *+1555…
                _cut_path(word) if isinstance(word, str) and word.startswith(("/", "%")) else word
                for word in record.args
            )
        return True


def _cut_path(path: str) -> str:
    path = _CONTACT.sub("…", path.partition("?")[0])
    # A mistyped path may contain a number, too.
    others = _NUMBER.split(unquote(path))
    return "…".join(map(quote, others)) if len(others) > 1 else path


_CONTACT = re.compile("(?<=contacts/).*", re.IGNORECASE)

_NUMBER = re.compile(r"\d(?:[\W_]{0,9}\d){6,}")
