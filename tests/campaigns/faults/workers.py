"""What befalls our own processes: kill -9, SIGSTOP, SIGTERM, and company on one SQLite file."""

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.campaigns.faults.aftermath import require_order
from tests.campaigns.faults.load import Load, Review
from tests.support.databases import Postgres
from tests.support.servers import Uvicorn, serve, wait_until


def keeping(database_url: str) -> dict[str, str]:
    """Make the settings of a server that keeps conversations in its database."""
    return {"DATABASE_URL": database_url, "CONVERSATION_STORE": "database"}


def kill_workers(
    folder: Path, database_url: str, reviews: Sequence[Review], kills: int
) -> Counter[str]:
    """Kill -9 one worker of four after another, while the others go on."""
    log = folder / "log"
    with serve(log, workers=4, **keeping(database_url)) as server:
        with Load([server], reviews) as load:
            killed: list[int] = []
            for _ in range(kills):
                load.wait_for(2)
                wait_until(lambda: len(server.workers()) > len(killed))  # uvicorn looks each 0.5 s
                victim = random.choice([pid for pid in server.workers() if pid not in killed])
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
        wait_until(lambda: len(server.workers()) == 4 + kills)
    return Counter({"workers killed": kills}) + require_order(load, database_url, [log])


def share_a_file(
    folder: Path, sqlite_url: str, reviews: Sequence[Review], some: int
) -> Counter[str]:
    """Have four workers write so many reviews to one SQLite file."""
    log = folder / "log"
    with serve(log, workers=4, **keeping(sqlite_url)) as server:
        with Load([server], reviews) as load:
            load.wait_for(some)
    counts = require_order(load, sqlite_url, [log])
    # That it is locked may be in the log, where the disk stood still for longer than SQLite waits
    # for its turn, and the writer tried again; it is nobody's answer.
    assert load.line.counts.keys() == {"200", "204"}
    assert counts["apologies"] == 0
    return counts


def restart_in_turn(
    folder: Path, postgres_url: str, reviews: Sequence[Review], restarts: int
) -> Counter[str]:
    """Replace one server of two by a new one, again and again: SIGTERM while it is being asked.

    A server may close a connection that it has read nothing from; that request is delivered again,
    as a balancer does. What it has recorded it must answer, and nobody is apologised to.
    """
    logs: dict[int, Path] = {}
    with ExitStack() as running:

        def start() -> Uvicorn:
            log = folder / f"log-{len(logs)}"
            server = running.enter_context(serve(log, workers=1, **keeping(postgres_url)))
            logs[server.port] = log
            return server

        with Load([start(), start()], reviews) as load:
            for _ in range(restarts):
                load.line.servers.append(start())
                load.wait_for(2)
                oldest = load.line.servers[0]
                assert oldest.stop() in {0, -signal.SIGTERM}
                load.line.servers.remove(oldest)
    counts = require_order(load, postgres_url, logs.values())
    closed = load.line.broken - load.line.answered
    assert [sid for port, sid in closed if f" sid={sid} contact=" in logs[port].read_text()] == []
    assert load.line.counts["503"] == counts["apologies"] == 0
    return Counter({"servers replaced": restarts}) + counts


def freeze_a_holder(
    folder: Path, postgres: Postgres, postgres_url: str, reviews: Sequence[Review], times: int
) -> Counter[str]:
    """Stop a server while it holds contacts, until PostgreSQL has given them to the other one."""
    logs = [folder / "log-0", folder / "log-1"]
    with ExitStack() as running:
        servers = [
            running.enter_context(serve(log, workers=1, **keeping(postgres_url))) for log in logs
        ]
        with Load(servers, reviews, patience=3) as load:
            for nth in range(times):
                with frozen_holding(servers[nth % 2], postgres, load) as held:
                    wait_until(lambda: not held & idle_transactions(postgres))
                    load.wait_for(8)
                load.wait_for(4)
    counts = require_order(load, postgres_url, logs)
    return Counter({"servers frozen with contacts held": times}) + counts


@contextlib.contextmanager
def frozen_holding(
    server: Uvicorn, postgres: Postgres, load: Load
) -> Iterator[set[tuple[int, str]]]:
    """Stop a server amid a transaction; yield its session. The balancer sends it nothing."""
    held: set[tuple[int, str]] = set()
    for _ in range(50):
        load.wait_for(1)
        server.process.send_signal(signal.SIGSTOP)
        load.line.servers.remove(server)
        try:
            held = idle_transactions(postgres)
            load.wait_for(1)  # the other's transactions are over
            held &= idle_transactions(postgres)
            if held:
                yield held
                return
        finally:
            server.process.send_signal(signal.SIGCONT)
            load.line.servers.append(server)
    raise AssertionError("never found amid a transaction")


def idle_transactions(postgres: Postgres) -> set[tuple[int, str]]:
    """List the transactions that wait for their client, by process and beginning."""
    rows = postgres.read_sql(
        "SELECT pid, CAST(xact_start AS text) FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND application_name = 'review-collector'"
    )
    return {(pid, began) for pid, began in rows}
