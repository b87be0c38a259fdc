"""What reading costs as the reviews grow: `python -m bench.reads`.

Fills a thousand, a hundred thousand and a million reviews, serves them with one worker, and asks
over HTTP. Needs the development requirements, and Linux for the memory's growth.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from database import Database, open_database
from reviews import search_text
from terminal import read_examples
from tests.servers import Postgres, Uvicorn, serve

SIZES = (1_000, 100_000, 1_000_000)
REPEATS = 41
ROUNDS = 5
SECONDS_BETWEEN_REVIEWS = 30

# Every row repeats one of the examples, under an id, a conversation and a time of its own.
FILL = {
    "sqlite": """
        WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :size)
        INSERT INTO reviews
        SELECT n, contact_number, user_name, product_name, product_review, 'delivered',
            strftime('%Y-%m-%d %H:%M:%S.000000', 1700000000 + n * :step, 'unixepoch'),
            printf('SM%032x', n), NULL, NULL,
            strftime('%Y-%m-%d %H:%M:%S.000000', 1700000000 + n * :step, 'unixepoch'), search_text
        FROM number JOIN example ON example.id = n % :examples""",
    "postgresql": """
        INSERT INTO reviews
        SELECT n, contact_number, user_name, product_name, product_review, 'delivered',
            to_timestamp(1700000000 + n * :step), 'SM' || lpad(to_hex(n), 32, '0'), NULL, NULL,
            to_timestamp(1700000000 + n * :step), search_text
        FROM generate_series(1, :size) AS n JOIN example ON example.id = n % :examples""",
}


def fill(database: Database, size: int) -> None:
    """Fill an empty database with `size` reviews, made of the examples."""
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
    with database.write() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        kept = "id INT, " + ", ".join(f"{name} TEXT" for name in rows[0] if name != "id")
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE example ({kept})"))
        connection.execute(sa.text(f"INSERT INTO example ({names}) VALUES ({values})"), rows)
        kind = "sqlite" if database.is_sqlite else "postgresql"
        connection.execute(
            sa.text(FILL[kind]),
            {"size": size, "step": SECONDS_BETWEEN_REVIEWS, "examples": len(rows)},
        )
        connection.execute(sa.text("DROP TABLE example"))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


@dataclass(frozen=True, slots=True)
class Server:
    """One worker that serves a filled database."""

    process: Uvicorn
    client: httpx.Client

    def median_milliseconds(self, path: str, repeats: int = REPEATS) -> float:
        taken = []
        for _ in range(repeats + 3):
            began = time.perf_counter()
            self.client.get(path).raise_for_status()
            taken.append(1000 * (time.perf_counter() - began))
        return statistics.median(taken[3:])

    def stream(self, path: str) -> tuple[float, float]:
        """Read everything; return the seconds and the growth of the worker's memory in MB."""
        before = self._resident_megabytes()
        most, began, looked_at = before, time.perf_counter(), 0.0
        with self.client.stream("GET", path) as response:
            response.raise_for_status()
            for _ in response.iter_raw():
                if time.perf_counter() - looked_at > 0.05:
                    looked_at = time.perf_counter()
                    most = max(most, self._resident_megabytes())
        return time.perf_counter() - began, max(most, self._resident_megabytes()) - before

    def _resident_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


def deep_path(size: int) -> str:
    """Address the page at nine tenths of the list."""
    place = time.gmtime(1700000000 + size // 10 * SECONDS_BETWEEN_REVIEWS)
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
    """Ask for what takes its time; milliseconds, except where the name says otherwise."""
    found: dict[str, float] = {}
    few = 5
    found["one product, 50"] = server.median_milliseconds(
        "/api/reviews?limit=50&product=" + read_examples()[0]["product"], few
    )
    found["q found often, 50"] = server.median_milliseconds("/api/reviews?limit=50&q=great", few)
    found["q found nowhere"] = server.median_milliseconds("/api/reviews?limit=50&q=xyzzyx", few)
    found["stats"] = server.median_milliseconds("/api/stats", few)
    for name, path in (("list", "/api/reviews"), ("CSV", "/api/reviews.csv")):
        seconds, growth = server.stream(path)
        found[f"whole {name}, s"] = seconds
        found[f"whole {name}, rows/s"] = size / seconds
        found[f"whole {name}, MB grown"] = growth
    return found


def urls(kinds: list[str], folder: Path, running: ExitStack) -> Iterator[tuple[str, Any]]:
    """Make for each kind of database a function from a name to a new one's URL."""
    if "sqlite" in kinds:
        yield "sqlite", lambda name: f"sqlite:///{folder / name}.db"
    if "postgresql" in kinds:
        server = Postgres().start()
        running.callback(server.close)

        def new(name: str) -> str:
            server.run_sql(f"CREATE DATABASE {name}")
            return server.url(name)

        yield "postgresql", new


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reads", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument(
        "--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"]
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    with ExitStack() as running:
        running.callback(shutil.rmtree, folder)
        for kind, new_url in urls(options.databases, folder, running):
            with ExitStack() as serving:
                servers = {}
                for size in options.sizes:
                    url = new_url(f"reviews_{size}")
                    database = open_database(url)
                    fill(database, size)
                    database.close()
                    settings = {"DATABASE_URL": url, "CONVERSATION_STORE": "database"}
                    process = serving.enter_context(
                        serve(folder / f"{kind}-{size}.log", **settings)
                    )
                    client = httpx.Client(base_url=process.base_url, timeout=600, trust_env=False)
                    servers[size] = Server(process, serving.enter_context(client))
                columns = measure_pages(servers)
                for size, server in servers.items():
                    columns[size] |= measure(server, size)
                show(kind, columns)


def show(kind: str, columns: dict[int, dict[str, float]]) -> None:
    print(f"\n{kind:24}" + "".join(f"{size:>14,}" for size in columns), flush=True)
    for name in next(iter(columns.values())):
        values = [column[name] for column in columns.values()]
        print(f"{name:24}" + "".join(f"{value:14,.1f}" for value in values))


if __name__ == "__main__":
    main()
