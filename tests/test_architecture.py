"""The floors: a package imports only from lower floors, and from nothing else on its own."""

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

from core.paths import ROOT

FLOORS = {
    "core": 1,
    "models": 1,
    "conversation": 2,
    "db": 2,
    "storage": 3,
    "whatsapp": 3,
    "reviews": 4,
    "privacy": 5,
    "audit": 5,
    "ingest": 6,
    "web": 7,
    "api": 8,
    "simulator": 8,
    "cli": 9,
    "main": 9,
}
"""docs/architecture.md says what each of them is for."""

BESIDE_THEM = {"bench", "run", "tests"}
"""These import whatever they need, and nothing imports them; migrations are a past of their own."""

FILES = [
    file
    for name in FLOORS
    for file in (
        [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else ROOT.glob(f"{name}/**/*.py")
    )
    if "migrations" not in file.parts
]


def imports_of(file: Path) -> set[str]:
    """Read the modules that a file imports, wherever in it, by their whole names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def test_every_package_has_a_floor() -> None:
    ours = {package_of(file) for pattern in ("*.py", "*/*.py") for file in ROOT.glob(pattern)}
    assert ours - BESIDE_THEM == set(FLOORS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_from_lower_floors(file: Path) -> None:
    here = package_of(file)
    imported = {name.partition(".")[0] for name in imports_of(file)} - {here}
    assert [name for name in imported if FLOORS.get(name, 0) >= FLOORS[here]] == []
    assert imported & BESIDE_THEM == set()


def test_the_conversation_is_pure() -> None:
    for file in ROOT.glob("conversation/*.py"):
        others = {name for name in imports_of(file) if not name.startswith("conversation.")}
        ours = {name for name in others if name.partition(".")[0] in FLOORS}
        assert {name.rpartition(".")[0] for name in ours} <= {"core.text"}, file
        assert {name.partition(".")[0] for name in others - ours} <= sys.stdlib_module_names, file


def test_only_the_web_knows_fastapi() -> None:
    knows = {package_of(file) for file in FILES if "fastapi" in str(imports_of(file))}
    assert knows == {"api", "main", "simulator", "web"}


def test_no_package_is_named_after_another() -> None:
    packages = {*importlib.metadata.packages_distributions(), *sys.stdlib_module_names}
    packages |= {"redis", "alembic", "twilio", "dotenv", "prometheus_client"}
    assert set(FLOORS) & packages == set()
