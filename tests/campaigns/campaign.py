"""What the full campaigns counted: kept as JSON, and told as a table in docs/reliability.md.

Commands write their own counts here (`--publish`), so the page can't say more than was run.
"""

import argparse
import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.paths import ROOT

COUNTS = ROOT / "docs" / "reliability" / "campaign.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: written by the commands -->", "<!-- end of counts -->"


def above_zero(text: str) -> int:
    """Read how many of something; argparse words the refusal of none."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def require_known(
    parser: argparse.ArgumentParser, words: Iterable[str], names: Iterable[str]
) -> None:
    """End a command of which a word is in no name: it would leave out what was meant."""
    names = [*names]
    for word in words:
        if not any(word in name for name in names):
            parser.error(f"nothing has {word!r} in its name")


class _CommitAtStart(argparse.Action):
    def __call__(self, parser: Any, namespace: argparse.Namespace, *_: Any, **__: Any) -> None:  # noqa: ARG002
        setattr(namespace, self.dest, version())


def add_publish(parser: argparse.ArgumentParser) -> None:
    """Add `--publish`: what `version` says as the campaign begins, or ""."""
    parser.add_argument(
        "--publish", nargs=0, default="", action=_CommitAtStart, help="keep the counts in docs"
    )


def publish(part: str, command: str, figures: Mapping[str, int | str], tried: str) -> None:
    """Keep the counts of a campaign that has just run clean, in place of its last ones.

    `tried` is what `--publish` stands for; a tree that is another now is said to be.
    """
    counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else {}
    counts[part] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": tried if version() == tried else f"{tried}-changed",
        "command": command,
        "figures": dict(figures),
    }
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_counts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def version() -> str:
    """Name the commit that is here; a changed working tree, but for these counts, is said to be."""
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
