"""What becomes of a message's cost with more workers, contacts and years: `run.py bench scale`."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from bench import client
from bench.report import save, spread, table, tell
from bench.subjects import (
    POSTGRESQL,
    SQLITE,
    SQLITE_IN_MEMORY,
    Laboratory,
    Running,
    Subject,
    Void,
)
from bench.traffic import Traffic, make_traffic
from database import open_database

CONNECTIONS = 64
REQUESTS_PER_ROUND = 16 * 1024

# Finished conversations of four messages each, under SIDs that come in no order.
LOG = """
    INSERT INTO messages
    SELECT 'SM' || {random_hex}, '+1556' || ((n / 4) % 1000000), 'SMlog' || (n / 4), n % 4 + 1,
        'Amazing battery life, and the camera is better than I expected.', '[]',
        'Okay, got it. What''s your name?', n % 4 = 3, 1, {time}, NULL
    FROM {numbers}"""
FILL = {
    "sqlite": LOG.format(
        random_hex="lower(hex(randomblob(16)))",
        time="strftime('%Y-%m-%d %H:%M:%S.000000', 1700000000 + n, 'unixepoch')",
        numbers="(WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number"
        " WHERE n < :size - 1) SELECT n FROM number)",
    ),
    "postgresql": LOG.format(
        random_hex="md5(n::text)",
        time="to_timestamp(1700000000 + n)",
        numbers="generate_series(0, :size - 1) AS n",
    ),
}


def rate(running: Running, traffic: Traffic, place: int, seconds: int) -> tuple[float, int]:
    """Send for so long; return the messages a second, and where to go on. Raises Void."""
    load = client.send(running.server.port, traffic.requests[place:], CONNECTIONS, seconds)
    if load.refused or place + load.answered > len(traffic.requests):
        raise Void(f"{running.subject.name}: {load.refused} answers were no TwiML")
    return load.answered / load.seconds, traffic.next_group(place + load.answered + CONNECTIONS)


def by_workers(laboratory: Laboratory, rounds: int) -> list[list[str]]:
    """Serve with one, two and four workers, which share all cores with who sends."""
    traffic = make_traffic(30_000)
    found: dict[tuple[Subject, int], list[float]] = {}
    for _ in range(rounds):
        for subject in (SQLITE, POSTGRESQL):
            for workers in (1, 2, 4):
                with laboratory.serve(subject, workers) as running:
                    _, place = rate(running, traffic, 0, 1)
                    each, _ = rate(running, traffic, place, 3)
                found.setdefault((subject, workers), []).append(each)
    return [[s.name, f"{workers}", spread(rates, ",.0f")] for (s, workers), rates in found.items()]


def by_contacts(laboratory: Laboratory, rounds: int) -> list[list[str]]:
    """Compare many contacts with a single one, who sends everything."""
    found: dict[tuple[Subject, str], list[float]] = {}
    kinds = {"7,500": make_traffic(30_000), "1": make_traffic(30_000, contacts=1)}
    for _ in range(rounds):
        for subject in (SQLITE, POSTGRESQL):
            for kind, traffic in kinds.items():
                with laboratory.serve(subject) as running:
                    _, place = rate(running, traffic, 0, 1)
                    each, _ = rate(running, traffic, place, 3)
                found.setdefault((subject, kind), []).append(each)
    return [[s.name, kind, spread(rates, ",.0f")] for (s, kind), rates in found.items()]


def by_messages(laboratory: Laboratory, count: int) -> list[list[str]]:
    """Let `count` contacts begin a conversation each, and look at pace and memory on the way."""
    traffic = make_traffic(4 * count, group=count)
    rows = []
    for subject in (SQLITE, SQLITE_IN_MEMORY, POSTGRESQL):
        with laboratory.serve(subject) as running:
            for place in range(0, 5 * count // 4, count // 4):
                part = traffic.requests[place : place + count // 4]
                load = client.send_all(running.server.port, part, CONNECTIONS)
                if load.refused:
                    raise Void(f"{subject.name}: {load.refused} answers were no TwiML")
                sent, pace = f"{place + len(part):,}", f"{load.answered / load.seconds:,.0f}"
                rows.append([subject.name, sent, pace, f"{running.megabytes():.0f}"])
            running.insist_on_reviews(0, 0)
    return rows


def by_log(laboratory: Laboratory, sizes: Sequence[int], rounds: int) -> list[list[str]]:
    """Go on with a log of so many messages."""
    traffic = make_traffic(rounds * REQUESTS_PER_ROUND)
    found: dict[tuple[Subject, int], list[float]] = {}
    for subject in (SQLITE, POSTGRESQL):
        urls = {size: filled(laboratory, subject, size) for size in sizes}
        for number in range(rounds):
            for size, url in urls.items():
                place = number * REQUESTS_PER_ROUND
                with laboratory.serve(subject, url=url) as running:
                    _, place = rate(running, traffic, place, 1)
                    each, _ = rate(running, traffic, place, 1)
                found.setdefault((subject, size), []).append(each)
    return [[s.name, f"{size:,}", spread(rates, ",.0f")] for (s, size), rates in found.items()]


def filled(laboratory: Laboratory, subject: Subject, size: int) -> str:
    """Make a database whose log has `size` messages already."""
    url = laboratory.new_database(subject)
    database = open_database(url)
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        if size:
            kind = "sqlite" if database.is_sqlite else "postgresql"
            connection.execute(sa.text(FILL[kind]), {"size": size})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    database.close()
    return url


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="run.py bench scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, once: a look")
    parser.add_argument("--into", type=Path, default=Path("bench-results"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else 5
    sizes = (0, 10_000) if options.quick else (0, 100_000, 1_000_000)
    contacts = 4_000 if options.quick else 100_000
    pace = f"messages/s, {CONNECTIONS} conn."
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        laboratory = Laboratory(Path(folder))
        parts: dict[str, tuple[list[str], Callable[[], list[list[str]]]]] = {
            "workers": (["workers", pace], lambda: by_workers(laboratory, rounds)),
            "contacts": (["contacts", pace], lambda: by_contacts(laboratory, rounds)),
            "log": (["messages in the log", pace], lambda: by_log(laboratory, sizes, rounds)),
            "messages": (
                ["messages so far", "messages/s", "resident MB"],
                lambda: by_messages(laboratory, contacts),
            ),
        }
        found = {}
        try:
            for part, (head, measure) in parts.items():
                found[part] = [["subject", *head], *measure()]
                tell(f"\n{table(found[part])}")
        finally:
            laboratory.close()
    save(options.into, "scale", found)
