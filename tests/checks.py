"""`python -m tests.checks`, which `run.py check` starts: format, lint rules and types."""

import subprocess
import sys

CHECKS = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy", "."])


def main() -> int:
    """Run every check, also after one has failed, and return 1 if any did."""
    failures = 0
    for words in CHECKS:
        print("$", *words, flush=True)  # noqa: T201 - this is what people run it for
        failures += subprocess.call([sys.executable, "-m", *words]) != 0
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
