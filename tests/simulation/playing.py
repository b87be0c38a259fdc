"""Many schedules, in this process and in those of a pool."""

from collections import Counter
from collections.abc import Sequence

from tests.simulation.choices import Choices
from tests.simulation.schedule import Outcome, Theatre

_theatre: Theatre | None = None


def theatre() -> Theatre:
    """Find this process's own; its database file goes with the machine's memory."""
    global _theatre
    _theatre = _theatre or Theatre()
    return _theatre


def play(seeds: range) -> tuple[Counter[str], int | None]:
    """Play schedules; return what happened in them, and the first seed that fails."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = theatre().play(Choices(seed))
        if outcome.problems:
            return counts, seed
        counts += outcome.counts
        counts["schedules"] += 1
    return counts, None


def replay(choices: Sequence[int]) -> Outcome:
    return theatre().play(Choices(given=choices))
