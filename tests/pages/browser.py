"""A real browser for tests: Chromium as it is installed here, led by Playwright."""

import os
import shutil
from importlib.util import find_spec

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser() -> str | None:
    """Find Chromium's program: $CHROMIUM, or one of its names on the PATH."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def flags() -> list[str]:
    """Choose flags; as root there is no sandbox to be had."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [*FLAGS, "--no-sandbox"] if is_root else FLAGS


def missing() -> str:
    """Name what is missing for tests in a browser; "" where nothing is."""
    parts = [] if find_spec("playwright") else ["playwright"]
    if find_browser() is None:
        parts.append("chromium")
    return " and ".join(parts)
