"""How events are logged, and what never is: a customer's words, a whole number, a token."""

import logging
import re
import sqlite3
import traceback
from types import TracebackType
from urllib.parse import quote, unquote

from sqlalchemy.exc import DBAPIError

logger = logging.getLogger("reviews")
"""Events, a line each, as `what happened name=value …`."""


def describe(error: BaseException) -> str:
    """Name an error in one line, without the values that drivers quote below their first line."""
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    return f"{type(error).__name__}: {without_text(text).strip().partition(chr(10))[0]}"


_UNDECODABLE = re.compile("(Could not decode to UTF-8 column '[^']*').*", re.DOTALL)


def is_undecodable(error: BaseException | None) -> bool:
    """Say whether Python could not read a text of SQLite's because it is not UTF-8."""
    return isinstance(error, sqlite3.OperationalError) and bool(_UNDECODABLE.match(str(error)))


def without_text(message: str) -> str:
    """Cut the text out of Python's complaint that it could not read it."""
    return _UNDECODABLE.sub(r"\1", message)


def configure(level: str) -> None:
    """Send our events, and uvicorn's own lines, to standard error in one form.

    Safe to call again; right under plain `uvicorn main:app` too, which set up logging before us.
    """
    formatter = _Formatter("%(asctime)s %(levelname)s %(message)s")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
    logger.setLevel(level)
    for name in ("reviews", "uvicorn", "uvicorn.error", "uvicorn.access"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(formatter)
    for name in ("uvicorn.access", "uvicorn.error"):  # the second tells of WebSocket requests
        uvicorn = logging.getLogger(name)
        if not any(isinstance(known, _WithoutNumbers) for known in uvicorn.filters):
            uvicorn.addFilter(_WithoutNumbers())


class _Formatter(logging.Formatter):
    """One event, one line: line breaks are escaped, and tracebacks hold places but no values."""

    _latest = (-1, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Write the time as logging does; what stays the same for a second is made once in it."""
        second, written = self._latest
        if second != int(record.created):
            written = super().formatTime(record, datefmt or self.default_time_format)
            self._latest = (int(record.created), written)
        return f"{written},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's rendering, with the values in it
        message = record.getMessage()
        if message.startswith("Traceback ") and "StartupError: " in message:
            # Uvicorn prints the whole way to a refused start; the sentence says it.
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
    """Cut customers' numbers from the paths uvicorn logs: queries, and the contact to forget."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                # What is no path at all is quoted: GET *+1555…
                _cut_path(word) if isinstance(word, str) and word.startswith(("/", "%")) else word
                for word in record.args
            )
        return True


def _cut_path(path: str) -> str:
    path = _CONTACT.sub("…", path.partition("?")[0])
    # A mistyped path may have the number as well.
    others = _NUMBER.split(unquote(path))
    return "…".join(map(quote, others)) if len(others) > 1 else path


_CONTACT = re.compile("(?<=contacts/).*", re.IGNORECASE)

_NUMBER = re.compile(r"\d(?:[\W_]{0,9}\d){6,}")
