"""Play schedules in virtual time, each from a seed, and tell the first that fails as a story.

`python -m tests.campaigns.simulation --schedules 1000000 --seed 1`; `--play` repeats a story.
"""

import argparse
import multiprocessing
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

from tests.campaigns.campaign import above_zero, add_publish, publish
from tests.campaigns.simulation.playing import open_theatre, play, play_one, replay, stage
from tests.campaigns.simulation.schedule import Outcome
from tests.campaigns.simulation.shrink import shrink, without_calm_end

AT_ONCE = 50


def tell_simplest(outcome: Outcome) -> None:
    """Shrink a failing schedule, as long as something of the same is wrong; tell its story."""
    say("Looking for the simplest schedule that does ...")
    wrong = kinds(outcome)
    tell(replay(shrink(outcome.choices, lambda choices: bool(kinds(replay(choices)) & wrong))))


def kinds(outcome: Outcome) -> set[str]:
    """Name what is wrong in a schedule, without the names and numbers in it."""
    return {re.sub(r"\S*\d\S*", "…", problem) for problem in outcome.problems}


def tell(outcome: Outcome) -> None:
    say("\n".join([*outcome.story, *(f"wrong: {problem}" for problem in outcome.problems)]))
    choices = without_calm_end(outcome.choices) or [0]
    numbers = ",".join(map(str, choices))
    say(f"\nTo see it again: python -m tests.campaigns.simulation --play {numbers}")


def choices_of(text: str) -> list[int]:
    """Read the choices to play; argparse words the refusal of anything else."""
    try:
        return [int(word) for word in text.split(",") if word]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers like 1,0,2") from None


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.simulation", description=__doc__
    )
    parser.add_argument("--schedules", type=above_zero, default=2_000, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the first (1)")
    parser.add_argument(
        "--jobs", type=above_zero, default=os.cpu_count(), metavar="N", help="processes"
    )
    parser.add_argument("--brief", action="store_true", help="name a failing seed, tell no story")
    parser.add_argument(
        "--play", type=choices_of, metavar="1,0,2", help="tell the story of these choices"
    )
    add_publish(parser)
    options = parser.parse_args()
    with stage() as folder:
        open_theatre(folder)
        if options.play is not None:
            outcome = replay(options.play)
            tell(outcome)
            return bool(outcome.problems)
        return play_all(options, folder)


def play_all(options: argparse.Namespace, folder: Path) -> int:
    """Play the schedules in processes; return the exit code."""
    end = options.seed + options.schedules
    parts = [range(first, min(first + AT_ONCE, end)) for first in range(options.seed, end, AT_ONCE)]
    counts: Counter[str] = Counter()
    told = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(options.jobs, open_theatre, (folder,)) as pool:
        for more, failing in pool.imap_unordered(play, parts):
            counts += more
            if failing is not None:
                pool.terminate()
                outcome = play_one(failing)
                say(f"seed {failing} fails: {'; '.join(outcome.problems)}")
                if not options.brief:
                    tell_simplest(outcome)
                return 1
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"{counts['schedules']:,} of {options.schedules:,} schedules")
    say(", ".join(f"{number:,} {what}" for what, number in counts.items()) + ": none fails")
    if options.publish:
        command = f"python -m tests.campaigns.simulation --schedules {options.schedules}"
        publish("virtual time", f"{command} --seed {options.seed}", counts, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
