"""Database errors: those worth another try, and those that keep the program from starting."""

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class DatabaseUnavailable(Exception):
    """The database can't be used now, and this transaction has changed nothing."""


TRANSIENT_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError, DatabaseUnavailable)
"""Errors that may go away by themselves (unavailable, slow, locked, read-only, full): try again."""


class StartupError(Exception):
    """The program can't start, and another try won't help. The text says what to do."""
