"""Make every mutant in a copy of the program, and see that it is noticed."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.paths import ROOT
from tests.campaigns.campaign import above_zero, add_publish, publish, require_known
from tests.campaigns.mutants.changes import SIMULATION, Mutant
from tests.campaigns.mutants.mutants import MUTANTS

SECONDS = 600


def make(mutant: Mutant, folder: Path) -> None:
    """Copy the program into a folder, with the mutant's changes. Raises ValueError."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).splitlines():
        if not (ROOT / name).is_file():  # removed since, or a link to a folder
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    for change in mutant.changes:
        file = change.file_in(folder)
        file.write_text(change.apply(file.read_text(encoding="utf-8")), encoding="utf-8")


def sentence_of(mutant: Mutant) -> str | None:
    """Say who noticed a mutant, and how; None if nothing did as expected."""
    if mutant.noticed_by == SIMULATION:
        command = ["-m", SIMULATION, "--jobs", "1", "--brief"]
        mark = " fails: "
    else:
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += mutant.noticed_by.split()
        mark = "FAILED "
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        make(mutant, Path(folder))
        try:
            ran = subprocess.run(
                [sys.executable, *command],
                cwd=folder,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None
    noticed = [line for line in ran.stdout.splitlines() if mark in line and mutant.sign in line]
    return noticed[0][:250] if ran.returncode == 1 and noticed else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.mutants", description=__doc__)
    parser.add_argument(
        "--jobs", type=above_zero, default=os.cpu_count(), metavar="N", help="at once"
    )
    add_publish(parser)
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    options = parser.parse_args()
    if options.publish and options.words:
        parser.error("only all of them are published")
    require_known(parser, options.words, (mutant.name for mutant in MUTANTS))
    chosen = [
        mutant
        for mutant in MUTANTS
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    began, unnoticed = time.monotonic(), 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, sentence in zip(chosen, pool.map(sentence_of, chosen), strict=True):
            unnoticed += sentence is None
            sys.stdout.write(f"{mutant.name}: {sentence or 'NOT NOTICED'}\n")
            sys.stdout.flush()
    seconds = round(time.monotonic() - began)
    sys.stdout.write(f"{len(chosen)} mutants in {seconds} s, {unnoticed} not noticed\n")
    if options.publish and not unnoticed:
        by_simulation = sum(mutant.noticed_by == SIMULATION for mutant in chosen)
        figures = {"mutants": len(chosen), "noticed": len(chosen), "by virtual time": by_simulation}
        publish("mutants", "python -m tests.campaigns.mutants", figures, options.publish)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
