"""docs/reliability.md says what is so: its tests are there, its counts are the commands'."""

import json
import re

import pytest

from core.paths import ROOT
from tests.campaigns.campaign import COUNTS, PAGE, with_counts
from tests.campaigns.faults.__main__ import FAULTS

TEXT = PAGE.read_text(encoding="utf-8")
TESTS = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_a_test_that_the_page_names_is_there(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", TEXT))))
def test_a_file_that_the_page_names_is_there(path: str) -> None:
    assert ROOT.joinpath(path).exists()


def test_every_campaign_has_its_row() -> None:
    others = {"hostile input", "mutants", "system calls", "virtual time"}
    assert json.loads(COUNTS.read_text(encoding="utf-8")).keys() == FAULTS.keys() | others


def test_the_counts_are_those_that_the_commands_kept() -> None:
    assert with_counts(TEXT) == TEXT
