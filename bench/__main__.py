"""`python -m bench`, which `run.py bench` starts."""

import argparse
import sys
from pathlib import Path

from bench import hostile, messages, reads, scale, steps
from bench.traffic import Void

PARTS = {
    "messages": messages.main,
    "reads": reads.main,
    "scale": scale.main,
    "steps": steps.main,
    "hostile": hostile.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench")
    parser.add_argument("part", nargs="?", choices=PARTS, default="messages")
    parser.add_argument("--quick", action="store_true", help="less of it: a look")
    parser.add_argument("--into", type=Path, default=Path("bench-results"), metavar="FOLDER")
    options = parser.parse_args()
    try:
        PARTS[options.part](quick=options.quick, into=options.into)
    except Void as why:
        sys.exit(f"This run is void: {why}")


if __name__ == "__main__":
    main()
