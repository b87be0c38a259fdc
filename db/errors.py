"""The errors of a database: those worth another try, and those that no second try mends."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from sqlalchemy.exc import (
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class DatabaseUnavailable(Exception):
    """The database can't be used just now, and nothing of this transaction has happened."""


TRANSIENT_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError, DatabaseUnavailable)
"""Errors that say "not now" (away, slow, locked, read-only, full): worth trying again."""


class StartupError(Exception):
    """What no second try mends; the text says in a sentence what to do."""
