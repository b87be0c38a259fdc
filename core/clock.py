"""The clock: every module that needs the time asks here."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
