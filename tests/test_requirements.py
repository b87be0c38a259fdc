"""requirements.txt names what we import, in the versions that the tests ran with."""

import importlib.metadata
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from core.paths import ROOT
from tests.test_architecture import FILES, FLOORS, imports_of

LINES = ROOT.joinpath("requirements.txt").read_text(encoding="utf-8").splitlines()
BOUNDS = {str(canonicalize_name(each.name)): each.specifier for each in map(Requirement, LINES)}


def imported_packages() -> set[str]:
    """List the packages that our modules import, by their names in the registry."""
    modules = {name.partition(".")[0] for file in FILES for name in imports_of(file)}
    theirs = modules - {*FLOORS, *sys.stdlib_module_names}
    by_module = importlib.metadata.packages_distributions()
    return {canonicalize_name(by_module[module][0]) for module in theirs}


def first_untested(installed: Version) -> str:
    """Name the first version that may differ: the next major, or what stands for it before 1.0."""
    major, minor, patch = installed.release[:3]
    if major:
        return f"{major + 1}.0.0"
    return f"0.{minor + 1}.0" if minor else f"0.0.{patch + 1}"


def test_every_package_that_we_import_is_named() -> None:
    assert {"fastapi", "starlette", "anyio"} <= imported_packages()
    assert imported_packages() - BOUNDS.keys() == set()


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_a_package_is_bounded_to_versions_like_the_tested_one(name: str) -> None:
    installed = Version(importlib.metadata.version(name))
    assert installed in BOUNDS[name]
    assert first_untested(installed) not in BOUNDS[name]
