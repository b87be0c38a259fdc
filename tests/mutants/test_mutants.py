"""The mutants are changes of today's code; whether they are noticed, `tests.mutants` says."""

import pytest

from tests.mutants.__main__ import mutate
from tests.mutants.mutants import MUTANTS, SIMULATION, Mutant
from tests.servers import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_todays_code(mutant: Mutant) -> None:
    source = ROOT.joinpath(mutant.file).read_text(encoding="utf-8")
    compile(mutate(mutant, source), mutant.file, "exec")
    for file in mutant.noticed_by.split():
        assert file == SIMULATION or ROOT.joinpath(file).exists()
