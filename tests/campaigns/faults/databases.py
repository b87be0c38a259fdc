"""What befalls PostgreSQL and Valkey while two workers use them: our processes stay."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis

from conversation.wording import APOLOGY
from tests.campaigns.faults.aftermath import require_order
from tests.campaigns.faults.load import Load, Review
from tests.support.databases import Postgres, Valkey
from tests.support.servers import serve, wait_until


@contextlib.contextmanager
def under_load(
    folder: Path, url: str, reviews: Sequence[Review], counts: Counter[str], **environment: str
) -> Iterator[Load]:
    """Have customers write to two workers during the block, and everything be in order after it.

    As no process of ours ends, every delivery gets an answer within Twilio's patience.
    """
    log = folder / "log"
    settings = {"DATABASE_URL": url, "CONVERSATION_STORE": "database", **environment}
    with serve(log, workers=2, **settings) as server:
        with Load([server], reviews) as load:
            yield load
            load.wait_for(8)
    counts.update(require_order(load, url, [log]))
    assert load.line.counts.keys() <= {"200", "204", "503"}


def kill_postgres(
    folder: Path, postgres: Postgres, url: str, reviews: Sequence[Review], kills: int
) -> Counter[str]:
    """Kill PostgreSQL -9, and start it again."""
    counts = Counter({"databases killed": kills})
    with under_load(folder, url, reviews, counts) as load:
        for _ in range(kills):
            load.wait_for(4)
            postgres.kill()
            postgres.start()
    return counts


def end_sessions(
    folder: Path, postgres: Postgres, url: str, reviews: Sequence[Review], times: int
) -> Counter[str]:
    """Have PostgreSQL end all sessions of ours, as an administrator does."""
    counts = Counter({"times sessions ended": times})
    with under_load(folder, url, reviews, counts) as load:
        for _ in range(times):
            load.wait_for(2)
            postgres.run_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'review-collector'"
            )
    return counts


def freeze_postgres(
    folder: Path, postgres: Postgres, url: str, reviews: Sequence[Review], seconds: Sequence[float]
) -> Counter[str]:
    """Stop PostgreSQL for so many seconds; 7 or more are past the deadline of who waits."""
    counts = Counter({"databases frozen": len(seconds)})
    with under_load(folder, url, reviews, counts) as load:
        for so_long in seconds:
            load.wait_for(4)
            before = told_to_wait(load)
            postgres.freeze()
            try:
                time.sleep(so_long)
                if so_long >= 7:
                    wait_until(lambda: told_to_wait(load) > before)  # noqa: B023
            finally:
                postgres.thaw()
    return counts


def told_to_wait(load: Load) -> int:
    return load.count_told(APOLOGY) + load.line.counts["503"]


def lose_valkey(
    folder: Path, valkey: Valkey, url: str, reviews: Sequence[Review], times: int
) -> Counter[str]:
    """Empty Valkey, freeze it, kill it and do without, one after another."""
    counts = Counter({"Valkey emptied, frozen and killed": times})
    store = {"CONVERSATION_STORE": "redis", "REDIS_URL": valkey.url}
    with under_load(folder, url, reviews, counts, **store) as load:
        for _ in range(times):
            with redis.Redis.from_url(valkey.url) as connection:
                load.wait_for(2)
                connection.flushall()
            load.wait_for(2)
            valkey.freeze()
            load.wait_for(2)
            valkey.thaw()
            load.wait_for(2)
            valkey.kill()
            load.wait_for(2)
            valkey.start()
    return counts
