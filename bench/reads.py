"""What reading costs as the reviews grow: `run.py bench reads`.

Fills a thousand, a hundred thousand and a million reviews, serves them with one worker, and asks
over HTTP. Milliseconds, where a name says nothing else.
"""

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bench.report import save, table, tell
from bench.subjects import (
    POSTGRESQL,
    SQLITE,
    TUTORIAL,
    Laboratory,
    Running,
    Subject,
    open_laboratory,
)
from bench.traffic import API_KEY
from core.clock import utc_now
from core.text import search_text
from db.engine import open_database
from reviews import query
from simulator.demo import read_examples
from web.pages.dashboard import CARDS
from web.pages.live_feed import READ_AGAIN

SIZES = (1_000, 100_000, 1_000_000)
MAX_FOR_TUTORIAL = 100_000
"""It builds the whole list in memory first."""
REPEATS = 41
ROUNDS = 5
SECONDS_BETWEEN_REVIEWS = 30
LATEST = 30 * 24 * 3600 // SECONDS_BETWEEN_REVIEWS
"""The reviews of the last 30 days have a log: further back the dashboard does not look."""

# Every row repeats one of the examples, under an id, a conversation and a time of its own; the
# last is of now.
FILL = {
    "sqlite": """
        WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :size)
        INSERT INTO reviews
        SELECT n, contact_number, user_name, product_name, product_review, 'delivered',
            strftime('%Y-%m-%d %H:%M:%S.000000', :began + n * :step, 'unixepoch'),
            printf('SM%032x', n), NULL, NULL,
            strftime('%Y-%m-%d %H:%M:%S.000000', :began + n * :step, 'unixepoch'), search_text
        FROM number JOIN example ON example.id = n % :examples""",
    "postgresql": """
        INSERT INTO reviews
        SELECT n, contact_number, user_name, product_name, product_review, 'delivered',
            to_timestamp(:began + n * :step), 'SM' || lpad(to_hex(n), 32, '0'), NULL, NULL,
            to_timestamp(:began + n * :step), search_text
        FROM generate_series(1, :size) AS n JOIN example ON example.id = n % :examples""",
}
FILL_LOG = """
    INSERT INTO messages
    SELECT conversation_id || '-' || position, contact_number, conversation_id, position,
        product_name, '[]', 'Okay', position = 4, 1, created_at, NULL
    FROM reviews,
        (SELECT 1 AS position UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) AS place
    WHERE id > :before"""


def fill(connection: Connection, size: int) -> None:
    """Fill empty tables with `size` reviews, made of the examples, and with the latest's log."""
    rows = [
        {
            "id": number,
            "contact_number": f"+1555{number:07}",
            "user_name": review["name"],
            "product_name": review["product"],
            "product_review": review["review"],
            "search_text": search_text(review["product"], review["name"], review["review"]),
        }
        for number, review in enumerate(read_examples())
    ]
    names = ", ".join(rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    kept = "id INT, " + ", ".join(f"{name} TEXT" for name in rows[0] if name != "id")
    connection.execute(sa.text(f"CREATE TEMPORARY TABLE example ({kept})"))
    connection.execute(sa.text(f"INSERT INTO example ({names}) VALUES ({values})"), rows)
    connection.execute(
        sa.text(FILL[connection.dialect.name]),
        {
            "size": size,
            "began": int(time.time()) - size * SECONDS_BETWEEN_REVIEWS,
            "step": SECONDS_BETWEEN_REVIEWS,
            "examples": len(rows),
        },
    )
    connection.execute(sa.text(FILL_LOG), {"before": size - LATEST})
    connection.execute(sa.text("DROP TABLE example"))


@dataclass(frozen=True, slots=True)
class Server:
    """One worker that serves a filled database."""

    running: Running
    client: httpx.Client

    def median_milliseconds(self, path: str, repeats: int = REPEATS) -> float:
        """Ask so often; infinity where it takes longer than the database may, and is refused."""
        taken = []
        for _ in range(repeats + 3):
            began = time.perf_counter()
            response = self.client.get(path)
            if response.status_code == 503:
                return math.inf
            response.raise_for_status()
            taken.append(1000 * (time.perf_counter() - began))
        return statistics.median(taken[3:])

    def stream(self, path: str) -> tuple[float, float]:
        """Read everything; return the seconds and the growth of the worker's memory in MB."""
        before = self.running.megabytes()
        most, began, looked_at = before, time.perf_counter(), 0.0
        with self.client.stream("GET", path) as response:
            response.raise_for_status()
            for _ in response.iter_raw():
                if time.perf_counter() - looked_at > 0.05:
                    looked_at = time.perf_counter()
                    most = max(most, self.running.megabytes())
        return time.perf_counter() - began, max(most, self.running.megabytes()) - before


def deep_path(size: int) -> str:
    """Address the page at nine tenths of the list."""
    place = time.gmtime(time.time() - size // 10 * 9 * SECONDS_BETWEEN_REVIEWS)
    return f"/api/reviews?limit=50&cursor={time.strftime('%Y%m%dT%H%M%S.000000', place)}-1"


def measure_pages(servers: dict[int, Server]) -> dict[int, dict[str, float]]:
    """Ask every size in turn, several times over: noise of the machine meets all of them alike."""
    found: dict[int, dict[str, float]] = {size: {} for size in servers}
    for name, path_of in (
        ("first page", lambda _size: "/api/reviews?limit=50"),
        ("deep page", deep_path),
    ):
        rounds = [
            {size: server.median_milliseconds(path_of(size)) for size, server in servers.items()}
            for _ in range(ROUNDS)
        ]
        for size in servers:
            found[size][name] = statistics.median(medians[size] for medians in rounds)
    return found


def measure(server: Server, size: int) -> dict[str, float]:
    """Ask for what takes its time."""
    found: dict[str, float] = {}
    few = 5
    found["one product, 50"] = server.median_milliseconds(
        "/api/reviews?limit=50&product=" + read_examples()[0]["product"], few
    )
    found["q found often, 50"] = server.median_milliseconds("/api/reviews?limit=50&q=great", few)
    found["q found nowhere"] = server.median_milliseconds("/api/reviews?limit=50&q=xyzzyx", few)
    found["dashboard"] = server.median_milliseconds("/", few)
    found["news for an open page"] = feed_milliseconds(server.running.url)
    found["stats"] = server.median_milliseconds("/api/stats", few)
    for name, path in (("list", "/api/reviews"), ("CSV", "/api/reviews.csv")):
        seconds, growth = server.stream(path)
        found[f"whole {name}, s"] = seconds
        found[f"whole {name}, rows/s"] = size / seconds
        found[f"whole {name}, MB grown"] = growth
    return found


def feed_milliseconds(url: str) -> float:
    """Read what an open page asks for once a second, without the stream that it asks by."""
    database = open_database(url)
    ids = [review.id for review in query.page(database, None, CARDS)]
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        query.changes_since(database, utc_now() - READ_AGAIN, ids)
        taken.append(1000 * (time.perf_counter() - began))
    database.close()
    return statistics.median(taken)


def measure_tutorial(laboratory: Laboratory, url: str, size: int) -> dict[str, float]:
    """Have the usual design list a filled database: it reads the columns of ours that it knows."""
    with ExitStack() as serving:
        server = open_server(laboratory, TUTORIAL, url, serving)
        server.client.get("/docs")  # its first request takes longer than others
        seconds, growth = server.stream("/api/reviews")
    return {"tutorial's list, rows/s": size / seconds, "tutorial's list, MB grown": growth}


def open_server(laboratory: Laboratory, subject: Subject, url: str, serving: ExitStack) -> Server:
    running = serving.enter_context(laboratory.serve(subject, url=url))
    client = httpx.Client(
        base_url=running.server.base_url,
        headers={"X-API-Key": API_KEY},
        timeout=600,
        trust_env=False,
    )
    return Server(running, serving.enter_context(client))


def measure_all(
    laboratory: Laboratory, subject: Subject, sizes: Sequence[int]
) -> dict[int, dict[str, float]]:
    with ExitStack() as serving:
        servers = {}
        for size in sizes:
            with laboratory.filling(subject) as (url, connection):
                fill(connection, size)
            servers[size] = open_server(laboratory, subject, url, serving)
        columns = measure_pages(servers)
        for size, server in servers.items():
            columns[size] |= measure(server, size)
            if subject.database == TUTORIAL.database and size <= MAX_FOR_TUTORIAL:
                columns[size] |= measure_tutorial(laboratory, server.running.url, size)
    return columns


def main(*, quick: bool, into: Path) -> None:
    sizes = SIZES[:2] if quick else SIZES
    found = {}
    with open_laboratory() as laboratory:
        for subject in (SQLITE, POSTGRESQL):
            columns = measure_all(laboratory, subject, sizes)
            names = dict.fromkeys(name for column in columns.values() for name in column)
            rows = [
                [name, *(f"{c[name]:,.1f}" if name in c else "" for c in columns.values())]
                for name in names
            ]
            assert subject.database is not None
            found[subject.database] = [
                [subject.database, *(f"{size:,}" for size in columns)],
                *rows,
            ]
            tell(f"\n{table(found[subject.database])}")
    save(into, "reads", found)
