"""The mutants are changes of today's code; the campaign says whether they are noticed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.mutants import __main__ as command
from tests.campaigns.mutants.__main__ import make, mutate
from tests.campaigns.mutants.mutants import MUTANTS, SIMULATION, Mutant
from tests.support.servers import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_todays_code(mutant: Mutant) -> None:
    source = ROOT.joinpath(mutant.file).read_text(encoding="utf-8")
    compile(mutate(mutant, source), mutant.file, "exec")
    for file in mutant.noticed_by.split():
        assert file == SIMULATION or ROOT.joinpath(file).exists()


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
    make(Mutant("two", "program.py", "1", "2", sign=""), copy)
    assert [file.name for file in copy.iterdir()] == ["program.py"]
    assert copy.joinpath("program.py").read_text() == "x = 2\n"
