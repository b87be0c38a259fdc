"""Many schedules, in this process and in those of a pool."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.campaigns.simulation.choices import Choices
from tests.campaigns.simulation.schedule import Outcome, Theatre

_theatre: Theatre


def open_theatre(folder: Path) -> None:
    """Make this process's own, in a folder of its own below this one."""
    global _theatre
    _theatre = Theatre(Path(tempfile.mkdtemp(dir=folder)))


@contextmanager
def stage() -> Iterator[Path]:
    """Make a folder for theatres, in memory where there is one for it."""
    memory = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=place) as folder:
        yield Path(folder)


def play(seeds: range) -> tuple[Counter[str], int | None]:
    """Play schedules; return what happened in those that are in order, and the first that fails."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = play_one(seed)
        if outcome.problems:
            return counts, seed
        counts += outcome.counts
        counts["schedules"] += 1
    return counts, None


def play_one(seed: int) -> Outcome:
    return _theatre.play(Choices(seed))


def replay(choices: Sequence[int]) -> Outcome:
    return _theatre.play(Choices(given=choices))
