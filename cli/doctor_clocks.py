"""`run.py doctor` on clocks: this machine's, the database's, Redis's."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from cli.findings import Finding, problem
from core.clock import utc_now
from db.engine import Database
from models import LoggedMessage

CLOCK_TOLERANCE = timedelta(seconds=1)


def examine_clock(database: Database) -> Iterator[Finding]:
    with database.read() as connection:
        before = utc_now()
        if not database.is_sqlite:
            theirs = connection.scalar(sa.text("SELECT clock_timestamp()"))
            yield compare_clocks("PostgreSQL", theirs, before, utc_now())
        newest = connection.scalar(
            sa.select(sa.func.max(LoggedMessage.received_at)).where(
                LoggedMessage.erased_at.is_(None)
            )
        )
    if newest is not None and newest > utc_now() + CLOCK_TOLERANCE:
        yield problem(
            "clock",
            f"the newest logged message is dated in the future ({newest:%Y-%m-%d %H:%M:%S} UTC)",
            "Correct this machine's clock (NTP): it dates reviews and ends idle conversations.",
        )
    elif database.is_sqlite:
        yield Finding("clock", "not behind the newest message in the log")


def compare_clocks(whose: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    """Compare with another clock's time, read between two times of ours."""
    if before - CLOCK_TOLERANCE <= theirs <= after + CLOCK_TOLERANCE:
        return Finding("clock", f"agrees with {whose}'s clock")
    skew = (theirs - before).total_seconds()
    place = "ahead of" if skew > 0 else "behind"
    return problem(
        "clock",
        f"{whose}'s clock is {abs(skew):.0f} s {place} this machine's",
        "Synchronise both (NTP): clocks date reviews and end idle conversations.",
    )
