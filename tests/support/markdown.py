"""The documentation as tests read it: pages, their sections, tables, code blocks and commands."""

import re
from pathlib import Path

from core.paths import ROOT

GUIDES = sorted(ROOT.glob("docs/*.md"))
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *GUIDES, *DECISIONS]


def read(page: str) -> str:
    """Read a page by its path from the root, such as `docs/api.md`."""
    return ROOT.joinpath(page).read_text(encoding="utf-8")


def fenced(page: str, language: str) -> list[str]:
    """Read a page's code blocks of one language."""
    blocks = rf"^ *```{language}\n(.*?)^ *```$"
    return re.findall(blocks, read(page), re.MULTILINE | re.DOTALL)


def section(page: str, title: str) -> str:
    """Read what stands below a heading of second rank, up to the next one."""
    text = read(page)
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def table(text: str, first_cell: str) -> list[list[str]]:
    """Read the rows of the one table whose head begins with this cell, without the head."""
    tables = map(_cells, re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE))
    [(_head, _ruler, *rows)] = [found for found in tables if found[0][0] == first_cell]
    return rows


def _cells(text: str) -> list[list[str]]:
    rows = [line.split("|")[1:-1] for line in text.splitlines()]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def names_in(cell: str) -> list[str]:
    """Read the names of a cell that lists several, in backticks."""
    return re.split("`, `", cell)


def commands(page: str, first_word: str) -> list[tuple[str, str]]:
    """Read the `$ command` lines of a page's consoles, each with the output that is shown."""
    consoles = "\n".join(fenced(page, "console"))
    shown = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", consoles, re.MULTILINE)
    return [(line, output) for line, output in shown if line.startswith(first_word)]


def anchors(page: Path) -> set[str]:
    """Read the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }
