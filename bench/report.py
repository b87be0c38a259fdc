"""Tell what was measured: a table to read, JSON to compute with, a picture to look at."""

import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROW, BAR, LEFT, WIDTH = 34, 20, 190, 760


def machine() -> dict[str, Any]:
    """Describe where the figures are from, the disk's own pace included."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "fdatasync_us": round(1e6 * _fdatasync_seconds()),
        "taken_at": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _fdatasync_seconds(times: int = 200) -> float:
    """Take the median time of putting a page on disk."""
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Write the median, and the least and the most."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:{form}} ({least:{form}}-{most:{form}})"


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Find the 50th and the 99th, in milliseconds."""
    cuts = statistics.quantiles((1000 * each for each in seconds), n=100)
    return cuts[49], cuts[98]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out as Markdown; its first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = [
        f"| {' | '.join(word.ljust(width) for word, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    return "\n".join([head, f"| {' | '.join('-' * width for width in widths)} |", *body])


def save(folder: Path, name: str, found: Any) -> None:
    """Write figures as JSON, with the machine they are from."""
    folder.mkdir(parents=True, exist_ok=True)
    file, here = folder / f"{name}.json", machine()
    text = json.dumps({"machine": here, name: found}, indent=1, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")
    tell(f"\nThe machine: {', '.join(f'{key} {value}' for key, value in here.items())}")
    tell(f"Written: {file}")


def tell(text: str) -> None:
    print(text, flush=True)


def bars(title: str, values: Mapping[str, Sequence[float]], marks: Mapping[str, float]) -> str:
    """Draw a bar for the median of each row of values, a thin line for its spread, as SVG.

    `marks` are upright lines to compare with, by name.
    """
    most = 1.08 * max([*marks.values(), *(max(row) for row in values.values())])
    scale = (WIDTH - LEFT - 70) / most
    height = 64 + ROW * len(values) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{title}</title>",
        "<style>text{fill:#1f2937}.bg{fill:#fff}.bar{fill:#93c5b1}.ours{fill:#0f766e}"
        ".line{stroke:#1f2937;stroke-width:1.5}.mark{stroke:#9ca3af;stroke-dasharray:4 3}"
        "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.bg{fill:#111827}"
        ".bar{fill:#4b5563}.ours{fill:#2dd4bf}.line{stroke:#e5e7eb}}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{height}"/>',
        f'<text x="16" y="30" font-size="17" font-weight="600">{title}</text>',
    ]
    for number, (name, row) in enumerate(values.items()):
        top = 52 + ROW * number
        middle = top + BAR / 2
        kind = "ours" if name.startswith(("sqlite", "postgresql")) else "bar"
        median, low, high = statistics.median(row), min(row), max(row)
        end = LEFT + scale * high
        parts += [
            f'<text x="{LEFT - 10}" y="{middle + 5}" text-anchor="end">{name}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{scale * median:.1f}"'
            f' height="{BAR}" rx="2"/>',
            f'<line class="line" x1="{LEFT + scale * low:.1f}" x2="{end:.1f}"'
            f' y1="{middle}" y2="{middle}"/>',
            f'<text x="{end + 8:.1f}" y="{middle + 5}">{median:.2f}</text>',
        ]
    bottom = 52 + ROW * len(values)
    for name, value in marks.items():
        x = LEFT + scale * value
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="46" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" font-size="12">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
