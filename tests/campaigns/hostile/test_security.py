"""docs/security.md says what is so: the tests and files that it names are there."""

import ast
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from core.paths import ROOT

PAGE = ROOT.joinpath("docs", "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def functions(file: str) -> Iterator[str]:
    tree = ast.parse(ROOT.joinpath("tests", file).read_text(encoding="utf-8"))
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_the_page_names_is_there(file: str) -> None:
    assert {test for named, test in NAMED if named == file} <= {*functions(file)}


def test_every_control_has_a_test() -> None:
    tables = PAGE.partition("## What a crowd does")[0].splitlines()
    rows = [line.split("|")[1:-1] for line in tables if line.startswith("|")]
    threats = [row for row in rows if row[0].strip() not in {"threat", "---"}]
    assert len(threats) > 30
    for threat, _control, tests in threats:
        assert re.fullmatch(r"(`[\w/]+\.py::test_\w+`(, )?)+", tests.strip()), threat


def test_every_link_of_the_page_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert ROOT.joinpath("docs", link).exists(), link


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(local: TestClient, path: str) -> None:
    page = local.get(path).text
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert loaded
    for address in loaded:
        assert re.match("static/", address), address
        assert local.get(f"/{address}").status_code == 200
