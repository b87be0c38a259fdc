"""Strike at every system call that writes: `python -m tests.campaigns.system_calls`.

It takes half an hour.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.campaigns.campaign import above_zero, add_publish, publish
from tests.campaigns.system_calls.calls import combinations, count_strikes, is_possible
from tests.support.databases import migrated


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.system_calls", description=__doc__
    )
    parser.add_argument(
        "--jobs", type=above_zero, default=os.cpu_count(), metavar="N", help="at once"
    )
    add_publish(parser)
    options = parser.parse_args()
    if not is_possible():
        sys.exit("strace is not installed, or may not trace.")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="calls-") as folder:
        empty = Path(folder) / "migrated.db"
        migrated(f"sqlite:///{empty}")
        with ThreadPoolExecutor(options.jobs) as pool:
            tries = {
                (call, kind, is_migrated): pool.submit(
                    count_strikes, call, kind, empty if is_migrated else None
                )
                for call, kind, is_migrated in combinations()
            }
            for (call, kind, is_migrated), count in tries.items():
                what = f"{kind.partition('=')[2]} at {call}"
                where = what if is_migrated else f"{what} from the first start"
                counts[where] = count.result()
                sys.stdout.write(f"{where}: {counts[where]} times, one review each time\n")
                sys.stdout.flush()
    sys.stdout.write(f"{counts.total()} in all\n")
    if options.publish:
        figures = {"faults at a system call": counts.total(), **+counts}
        publish("system calls", "python -m tests.campaigns.system_calls", figures, options.publish)


if __name__ == "__main__":
    main()
