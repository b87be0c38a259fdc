"""A mutant: changes of functions, and what must notice them."""

import ast
from dataclasses import dataclass
from pathlib import Path

SIMULATION = "tests.campaigns.simulation"


@dataclass(frozen=True, slots=True)
class Change:
    """In `place`, the text `code` becomes `instead`.

    A place is `module:name`: a function, `Class.method`, or a constant with its whole value.
    """

    place: str
    code: str
    instead: str

    def file_in(self, folder: Path) -> Path:
        """Return the module's file in a copy of the program."""
        return folder.joinpath(*self.place.partition(":")[0].split(".")).with_suffix(".py")

    def apply(self, source: str) -> str:
        """Return the changed source of the module.

        Raises ValueError if the place does not exist, or has the code not exactly once.
        """
        lines = source.splitlines(keepends=True)
        start, end = _find(ast.parse(source), self.place.partition(":")[2].split("."))
        body = "".join(lines[start:end])
        if body.count(self.code) != 1:
            raise ValueError(f"{self.place} does not have exactly once: {self.code!r}")
        return "".join([*lines[:start], body.replace(self.code, self.instead), *lines[end:]])


def _find(tree: ast.AST, names: list[str]) -> tuple[int, int]:
    """Return the lines of a definition, as for a slice. Raises ValueError if there is none."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined = [node.name]
        elif isinstance(node, ast.Assign):
            defined = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            continue
        if names[0] in defined:
            assert node.end_lineno is not None
            return (node.lineno - 1, node.end_lineno) if names[1:] == [] else _find(node, names[1:])
    raise ValueError(f"there is no {names[0]}")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`noticed_by` is the simulation, or the words of a pytest command; its output has `sign`."""

    name: str
    changes: tuple[Change, ...]
    noticed_by: str
    sign: str


def mutant(name: str, *changes: Change, noticed_by: str = SIMULATION, sign: str) -> Mutant:
    return Mutant(name, changes, noticed_by, sign)
