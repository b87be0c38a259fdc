"""What `run.py doctor` finds: one line for each thing that it has checked."""

import stat
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, and the result. `advice` says what to do about it.

    A problem keeps the service from doing its work; other advice is a recommendation.
    """

    subject: str
    text: str
    advice: str = ""
    is_problem: bool = False


def problem(subject: str, text: str, advice: str) -> Finding:
    return Finding(subject, text, advice, is_problem=True)


def others_can_read(file: Path) -> bool:
    return sys.platform != "win32" and bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
