"""What becomes of a message's cost with more workers, contacts and years: `run.py bench scale`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from bench import client
from bench.messages import Sender
from bench.report import save, spread, table, tell
from bench.subjects import (
    NOOP,
    POSTGRESQL,
    SQLITE,
    SQLITE_IN_MEMORY,
    Laboratory,
    Running,
    Subject,
    open_laboratory,
)
from bench.traffic import Tally, Traffic, Void, make_traffic
from db.engine import open_database

CONNECTIONS = 64
REQUESTS = 36 * 1024
REQUESTS_PER_ROUND = 8 * 1024
SECONDS = 3
STEADY_SECONDS = 8

# Finished conversations of four messages each; SIDs, conversations and contacts in no order.
LOG = """
    INSERT INTO messages
    SELECT 'SM' || {scattered}, '+1555' || ((n / 4) * 7919 % 10000000), 'SM' || {conversation},
        n % 4 + 1, 'Amazing battery life, and the camera is better than I expected.', '[]',
        'Okay, got it. What''s your name?', n % 4 = 3, 1, {time}, NULL
    FROM {numbers}"""
FILL = {
    "sqlite": LOG.format(
        scattered="lower(hex(randomblob(16)))",
        conversation="printf('%08x%024x', (n / 4) * 2654435761 % 4294967296, n / 4)",
        time="strftime('%Y-%m-%d %H:%M:%S.000000', 1700000000 + n, 'unixepoch')",
        numbers="(WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number"
        " WHERE n < :size - 1) SELECT n FROM number)",
    ),
    "postgresql": LOG.format(
        scattered="md5(n::text)",
        conversation="md5((n / 4)::text || 'c')",
        time="to_timestamp(1700000000 + n)",
        numbers="generate_series(0, CAST(:size AS bigint) - 1) AS n",
    ),
}


def pace(running: Running, traffic: Traffic) -> float:
    """Warm up, send for a while, and return the messages a second. Raises Void."""
    sender = Sender(running, traffic)
    sender.keep_busy(CONNECTIONS, 1)
    rate = sender.keep_busy(CONNECTIONS, SECONDS)
    running.require_recorded(sender.tally)
    return rate


def by_workers(laboratory: Laboratory, rounds: int) -> list[list[str]]:
    """Serve with one, two and four workers on all cores, the client's and PostgreSQL's too."""
    traffic = make_traffic(REQUESTS)
    found: dict[tuple[Subject, int], list[float]] = {}
    for _ in range(rounds):
        for subject in (SQLITE, POSTGRESQL):
            for workers in (1, 2, 4):
                with laboratory.serve(subject, workers, has_a_core=False) as running:
                    found.setdefault((subject, workers), []).append(pace(running, traffic))
    return [[s.name, f"{workers}", spread(rates, ",.0f")] for (s, workers), rates in found.items()]


def by_rate(laboratory: Laboratory, rates: Sequence[int]) -> list[list[str]]:
    """Send at a steady rate, whether or not answers keep up, and look at how long they take."""
    rows = []
    for subject in (NOOP, SQLITE, POSTGRESQL):
        for per_second in rates:
            traffic = make_traffic(STEADY_SECONDS * per_second)
            with laboratory.serve(subject) as running:
                sender = Sender(running, traffic)
                p50, p99 = sender.send_steadily(per_second, STEADY_SECONDS)
                running.require_recorded(sender.tally)
            rows.append([subject.name, f"{per_second:,}", f"{p50:.1f}", f"{p99:.1f}"])
    return rows


def by_contacts(laboratory: Laboratory, rounds: int) -> list[list[str]]:
    """Compare many contacts with a single one, who sends everything."""
    found: dict[tuple[Subject, str], list[float]] = {}
    kinds = {"thousands": make_traffic(REQUESTS), "1": make_traffic(REQUESTS, 1, contacts=1)}
    for _ in range(rounds):
        for subject in (SQLITE, POSTGRESQL):
            for kind, traffic in kinds.items():
                with laboratory.serve(subject) as running:
                    found.setdefault((subject, kind), []).append(pace(running, traffic))
    return [[s.name, kind, spread(rates, ",.0f")] for (s, kind), rates in found.items()]


def by_messages(laboratory: Laboratory, count: int) -> list[list[str]]:
    """Let `count` contacts begin a conversation each, a quarter of them go on, and look on."""
    traffic = make_traffic(5 * count // 4, group=count)
    rows = []
    for subject in (SQLITE, SQLITE_IN_MEMORY, POSTGRESQL):
        with laboratory.serve(subject) as running:
            whole = client.Load()
            for place in range(0, 5 * count // 4, count // 4):
                part = traffic.requests[place : place + count // 4]
                load = client.send_all(running.server.port, part, CONNECTIONS)
                whole.answered += load.answered
                whole.refused += load.refused
                per_second = f"{load.answered / load.seconds:,.0f}"
                megabytes = f"{running.megabytes():.0f}"
                rows.append([subject.name, f"{whole.answered:,}", per_second, megabytes])
            tally = Tally(traffic)
            tally.add(whole)
            running.require_recorded(tally)
    return rows


def by_log(laboratory: Laboratory, sizes: Sequence[int], rounds: int) -> list[list[str]]:
    """Go on with a log that has so many messages at first."""
    traffic = make_traffic(rounds * REQUESTS_PER_ROUND)
    found: dict[tuple[Subject, int], list[float]] = {}
    megabytes: dict[tuple[Subject, int], float] = {}
    for subject in (SQLITE, POSTGRESQL):
        urls = {size: filled(laboratory, subject, size) for size in sizes}
        megabytes |= {(subject, size): database_megabytes(url) for size, url in urls.items()}
        for number in range(rounds):
            first = number * REQUESTS_PER_ROUND
            part = Traffic(traffic.requests[first : first + REQUESTS_PER_ROUND], traffic.group)
            for size, url in urls.items():
                with laboratory.serve(subject, url=url) as running:
                    found.setdefault((subject, size), []).append(go_on(running, part))
    return [
        [s.name, f"{size:,}", spread(rates, ",.0f"), f"{megabytes[s, size]:,.0f}"]
        for (s, size), rates in found.items()
    ]


def go_on(running: Running, traffic: Traffic) -> float:
    """Send all of it, and return the messages a second of the second half. Raises Void."""
    before, half = running.count("messages"), len(traffic.requests) // 2
    port = running.server.port
    warm = client.send_all(port, traffic.requests[:half], CONNECTIONS)
    load = client.send_all(port, traffic.requests[half:], CONNECTIONS)
    logged = running.count("messages") - before
    if warm.refused or load.refused or logged != len(traffic.requests):
        raise Void(f"{running.subject.name}: {logged} of {len(traffic.requests)} were logged")
    return load.answered / load.seconds


def database_megabytes(url: str) -> float:
    """Read how large a database is, indexes included."""
    database = open_database(url)
    try:
        if database.file is not None:
            return database.file.stat().st_size / 1e6
        with database.read() as connection:
            size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
            return float(size or 0) / 1e6
    finally:
        database.close()


def filled(laboratory: Laboratory, subject: Subject, size: int) -> str:
    """Make a database whose log has `size` messages already."""
    with laboratory.filling(subject) as (url, connection):
        if size:
            connection.execute(sa.text(FILL[connection.dialect.name]), {"size": size})
    return url


def main(*, quick: bool, into: Path) -> None:
    rounds = 1 if quick else 3
    sizes = (0, 10_000) if quick else (0, 100_000, 1_000_000)
    contacts = 4_000 if quick else 100_000
    rates = (80, 1_000) if quick else (80, 250, 500, 1_000)
    rate = f"messages/s, {CONNECTIONS} conn."
    with open_laboratory() as laboratory:
        parts: dict[str, tuple[list[str], Callable[[], list[list[str]]]]] = {
            "workers": (["workers", rate], lambda: by_workers(laboratory, rounds)),
            "rates": (["messages/s", "p50 ms", "p99 ms"], lambda: by_rate(laboratory, rates)),
            "contacts": (["contacts", rate], lambda: by_contacts(laboratory, rounds)),
            "log": (
                ["messages in the log", rate, "MB of database before"],
                lambda: by_log(laboratory, sizes, rounds),
            ),
            "messages": (
                ["messages so far", "messages/s", "resident MB"],
                lambda: by_messages(laboratory, contacts),
            ),
        }
        found = {}
        for part, (head, measure) in parts.items():
            found[part] = [["subject", *head], *measure()]
            tell(f"\n{table(found[part])}")
    save(into, "scale", found)
