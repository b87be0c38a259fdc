"""Every mutant changes today's code; the campaign says whether it is noticed."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import ROOT
from tests.campaigns.mutants import __main__ as command
from tests.campaigns.mutants.__main__ import make
from tests.campaigns.mutants.changes import SIMULATION, Change, Mutant, mutant
from tests.campaigns.mutants.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_todays_code(mutant: Mutant) -> None:
    sources: dict[Path, str] = {}
    for change in mutant.changes:
        file = change.file_in(ROOT)
        before = sources.get(file) or file.read_text(encoding="utf-8")
        sources[file] = change.apply(before)
        assert sources[file] != before
    for file, source in sources.items():
        compile(source, file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_notices_a_mutant_is_there(mutant: Mutant) -> None:
    for file in mutant.noticed_by.split():
        assert file == SIMULATION or ROOT.joinpath(file).exists()


PROGRAM = """
LIMIT = {1}

class Counter:
    def add(self):
        return 1

    def double(self):
        return 1 + 1

def add():
    return 1
"""


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        ("LIMIT", "LIMIT = {2}"),
        ("Counter.add", "    def add(self):\n        return 2"),
        ("add", "\ndef add():\n    return 2"),
    ],
)
def test_a_change_is_made_in_its_place_only(place: str, changed: str) -> None:
    source = Change(f"program:{place}", "1", "2").apply(PROGRAM)
    assert changed in source
    assert source.count("2") == 1


@pytest.mark.parametrize("place", ["Counter", "Counter.double", "Counter.add.more", "nothing"])
def test_a_change_without_one_clear_place_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match=r"not have exactly once|there is no"):
        Change(f"program:{place}", "1", "2").apply(PROGRAM)


@pytest.mark.skipif(sys.platform == "win32", reason="who may make links there is another matter")
def test_a_copy_for_a_mutant_leaves_out_what_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=source, check=True)
    for name in ("program.py", "removed.py"):
        source.joinpath(name).write_text("x = 1\n")
    subprocess.run(["git", "add", "."], cwd=source, check=True)
    source.joinpath("removed.py").unlink()
    source.joinpath("link").symlink_to(tmp_path)
    monkeypatch.setattr(command, "ROOT", source)
    make(mutant("two", Change("program:x", "1", "2"), sign=""), copy)
    assert [file.name for file in copy.iterdir()] == ["program.py"]
    assert copy.joinpath("program.py").read_text() == "x = 2\n"
