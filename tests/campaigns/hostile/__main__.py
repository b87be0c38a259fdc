"""Besiege the app with thousands of requests, on SQLite and PostgreSQL in turn.

`python -m tests.campaigns.hostile --bodies 20000` shows the first that goes wrong at its simplest.
"""

import argparse
import logging
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack

from fastapi.testclient import TestClient

from core.settings import Settings
from main import create_app
from tests.campaigns.campaign import above_zero, add_publish, publish
from tests.support.databases import Postgres

BATCH = 500
"""After so many bodies the database is compared with the answers."""


def besiege(running: ExitStack, count: int) -> Counter[str]:
    """Send so many bodies, and a tenth as many requests made from the description."""
    # These need Hypothesis and Schemathesis, which a look at the options can do without.
    from tests.campaigns.hostile.bodies import Siege, send_batch
    from tests.campaigns.hostile.described import MODES, ask, operations
    from tests.conftest import KEY, PRODUCTION

    folder = running.enter_context(tempfile.TemporaryDirectory())
    postgres = Postgres().start()
    running.callback(postgres.close)
    sieges = []
    for url in (f"sqlite:///{folder}/test.db", postgres.url()):
        app = create_app(Settings(database_url=url, **PRODUCTION))
        sieges.append(Siege(running.enter_context(TestClient(app))))
    logging.disable()  # a line for each would be most of the work
    for number, first in enumerate(range(0, count, BATCH)):
        send_batch(sieges[number % 2], number, min(BATCH, count - first))
        say(f"{sum(siege.counts['bodies'] for siege in sieges):,} of {count:,} bodies")
    counts = sieges[0].counts + sieges[1].counts
    for siege in sieges:
        found = operations(siege.app)
        for operation in found:
            for mode in MODES:
                asked = ask(operation, mode, max(1, count // 40 // len(found)), KEY)
                counts["requests from the description"] += asked.total()
        siege.insist()
        say(f"{counts['requests from the description']:,} requests from the description")
    return counts


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.hostile", description=__doc__)
    parser.add_argument("--bodies", type=above_zero, default=20_000, metavar="N", help="how many")
    add_publish(parser)
    options = parser.parse_args()
    with ExitStack() as running:
        counts = besiege(running, options.bodies)
    say(", ".join(f"{number:,} {what}" for what, number in counts.items()) + ": nothing broke")
    if options.publish:
        publish(
            "hostile input",
            f"python -m tests.campaigns.hostile --bodies {options.bodies}",
            counts,
            options.publish,
        )


if __name__ == "__main__":
    main()
