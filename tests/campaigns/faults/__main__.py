"""Break things under load, one after another, and see that everything is recorded once.

`python -m tests.campaigns.faults` at full size, in some ten minutes; names pick some of it.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from simulator.demo import read_examples
from tests.campaigns.campaign import add_publish, publish, require_known
from tests.campaigns.faults import cuts, databases, load, workers
from tests.support.databases import Postgres, Valkey, migrated

REVIEWS = read_examples()


class Grounds:
    """A folder, PostgreSQL and Valkey; each fault finds an empty database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.postgres, self.valkey = Postgres().start(), Valkey().start()

    def close(self) -> None:
        self.valkey.kill()
        self.postgres.close()

    def folder(self) -> Path:
        """Make a folder of a fault's own."""
        made = self._folder / uuid.uuid4().hex
        made.mkdir()
        return made

    def sqlite(self) -> str:
        return migrated(f"sqlite:///{self.folder() / 'faults.db'}")

    def postgresql(self) -> str:
        name = f"faults_{uuid.uuid4().hex}"
        self.postgres.run_sql(f"CREATE DATABASE {name}")
        return migrated(self.postgres.url(name))


Fault = Callable[[Grounds], Counter[str]]

FAULTS: dict[str, Fault] = {
    "workers killed, PostgreSQL": lambda g: workers.kill_workers(
        g.folder(), g.postgresql(), REVIEWS, kills=100
    ),
    "workers killed, SQLite": lambda g: workers.kill_workers(
        g.folder(), g.sqlite(), REVIEWS, kills=100
    ),
    "four workers on one file": lambda g: workers.share_a_file(
        g.folder(), g.sqlite(), REVIEWS, some=1_000
    ),
    "servers replaced": lambda g: workers.restart_in_turn(
        g.folder(), g.postgresql(), REVIEWS, restarts=20
    ),
    "a worker frozen while it holds contacts": lambda g: workers.freeze_a_holder(
        g.folder(), g.postgres, g.postgresql(), REVIEWS, times=5
    ),
    "PostgreSQL killed": lambda g: databases.kill_postgres(
        g.folder(), g.postgres, g.postgresql(), REVIEWS, kills=20
    ),
    "sessions ended": lambda g: databases.end_sessions(
        g.folder(), g.postgres, g.postgresql(), REVIEWS, times=100
    ),
    "PostgreSQL frozen": lambda g: databases.freeze_postgres(
        g.folder(), g.postgres, g.postgresql(), REVIEWS, seconds=[3, 20, 3, 20]
    ),
    "Valkey emptied, frozen and killed": lambda g: databases.lose_valkey(
        g.folder(), g.valkey, g.postgresql(), REVIEWS, times=10
    ),
    "connections cut after every byte": lambda g: cuts.cut_conversations(
        g.postgres, g.postgresql(), REVIEWS[0], step=1
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.faults", description=__doc__)
    add_publish(parser)
    parser.add_argument("names", nargs="*", help="only faults with one of these in their name")
    options = parser.parse_args()
    require_known(parser, options.names, FAULTS)
    load.THINKING_SECONDS = 0.0  # the machine has nothing else to do
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        with closing(Grounds(Path(folder))) as grounds:
            for name, fault in FAULTS.items():
                if options.names and not any(word in name for word in options.names):
                    continue
                began = time.monotonic()
                counts = fault(grounds)
                told = ", ".join(f"{number:,} {what}" for what, number in counts.items())
                sys.stdout.write(f"{name}: {told}; {time.monotonic() - began:.0f} s\n")
                sys.stdout.flush()
                if options.publish:
                    publish(
                        name, f'python -m tests.campaigns.faults "{name}"', counts, options.publish
                    )


if __name__ == "__main__":
    main()
