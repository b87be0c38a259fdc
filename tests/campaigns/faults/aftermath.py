"""What must be true after every fault, and what is counted of it."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from audit.check import Findings, check
from audit.client_history import ClientHistory
from conversation.wording import APOLOGY
from db.engine import open_database
from models import Review as Recorded
from simulator.fake_twilio import TWILIO_SECONDS
from tests.campaigns.faults.load import Load, Review

KEPT_FOR = timedelta(hours=24)
"""What CONVERSATION_TTL_HOURS is where nobody sets it."""
A_CONTACT = re.compile(r"(?<![0-9a-f])1555\d{7}(?![0-9a-f])")
"""Of the load's own; a SID may hold the same digits among others."""


def require_order(load: Load, database_url: str, logs: Iterable[Path]) -> Counter[str]:
    """Insist that what was written is recorded, once, as customers were told; return counts."""
    findings = require_exactly(load.written, database_url, load.client_history)
    assert load.line.slowest_seconds < TWILIO_SECONDS
    for log in logs:
        require_a_quiet_log(log.read_text(encoding="utf-8"))
    return Counter(
        {
            "reviews": findings.reviews,
            "messages": findings.messages,
            "deliveries": sum(map(len, load.client_history.answers.values())),
            "of them without an answer": load.count_told(None),
            "apologies": load.count_told(APOLOGY),
        }
    )


def require_exactly(
    written: Iterable[tuple[str, Review]], database_url: str, client_history: ClientHistory
) -> Findings:
    database = open_database(database_url)
    columns = (
        Recorded.contact_number,
        Recorded.product_name,
        Recorded.user_name,
        Recorded.product_review,
    )
    with database.read() as connection:
        recorded = Counter(tuple(row) for row in connection.execute(sa.select(*columns)))
        statuses = set(connection.scalars(sa.select(Recorded.status).distinct()))
    findings = check(database, kept_for=KEPT_FOR, history=client_history)
    database.close()
    assert recorded == Counter(
        (contact, *(review[word].strip() for word in ("product", "name", "review")))
        for contact, review in written
    )
    assert statuses == {"read"}
    assert findings.problems == []
    return findings


def require_a_quiet_log(log: str) -> None:
    assert "Traceback" not in log
    assert A_CONTACT.findall(log) == []
