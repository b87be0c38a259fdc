"""A real browser for tests: Chromium as it is installed here, led by Playwright."""

import os
from importlib.util import find_spec

from run import find_browser

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # There is nothing to draw on: fewer processes and threads do.
    "--in-process-gpu",
    "--disable-software-rasterizer",
    "--renderer-process-limit=1",
]


def flags() -> list[str]:
    """Choose flags; as root there is no sandbox to be had."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [*FLAGS, "--no-sandbox"] if is_root else FLAGS


def missing() -> str:
    """Name what is missing for tests in a browser; "" where nothing is."""
    parts = [] if find_spec("playwright") else ["playwright"]
    if not find_browser():
        parts.append("chromium")
    return " and ".join(parts)
