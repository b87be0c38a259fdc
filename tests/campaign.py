"""What the full campaigns counted: kept as JSON, and told as a table in docs/reliability.md.

Commands write their own counts here (`--publish`), so the page can't say more than was run.
"""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.servers import ROOT

COUNTS = ROOT / "docs" / "reliability" / "campaign.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: written by the commands -->", "<!-- end of counts -->"


def publish(part: str, command: str, figures: Mapping[str, int | str]) -> None:
    """Keep the counts of a campaign that has just run clean, in place of its last ones."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else {}
    counts[part] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": version(),
        "command": command,
        "figures": dict(figures),
    }
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_counts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def version() -> str:
    """Name the commit that was run; a changed working tree, but for these counts, is said to be."""
    written_here = [f":!{file.relative_to(ROOT).as_posix()}" for file in (COUNTS, PAGE)]
    commit = _git("rev-parse", "--short=10", "HEAD")
    return f"{commit}-dirty" if _git("status", "--porcelain", "--", ".", *written_here) else commit


def _git(*words: str) -> str:
    return subprocess.check_output(["git", *words], cwd=ROOT, text=True).strip()


def with_counts(page: str) -> str:
    """Put the table into a page, between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(COUNTS)}\n{END}{after}"


def table(file: Path) -> str:
    lines = ["", "| campaign | counted, all clean | run on | commit |", "|---|---|---|---|"]
    for part, run in json.loads(file.read_text(encoding="utf-8")).items():
        figures = ", ".join(
            f"{number:,} {what}" if isinstance(number, int) else f"{what} {number}"
            for what, number in run["figures"].items()
        )
        lines.append(
            f"| {part}: `{run['command']}` | {figures} | {run['date']} | `{run['version']}` |"
        )
    return "\n".join([*lines, ""])
