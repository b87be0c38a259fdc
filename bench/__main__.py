"""`python -m bench [messages|reads|scale|steps]`, which `run.py bench` starts."""

import sys

from bench import messages, reads, scale, steps
from bench.traffic import Void

PARTS = {"messages": messages.main, "reads": reads.main, "scale": scale.main, "steps": steps.main}

if __name__ == "__main__":
    part, *options = sys.argv[1:] or ["messages"]
    if part.startswith("-"):
        part, options = "messages", [part, *options]
    if part not in PARTS:
        sys.exit(f"bench knows {', '.join(PARTS)}, not {part}.")
    try:
        PARTS[part](options)
    except Void as why:
        sys.exit(f"This run is void: {why}")
