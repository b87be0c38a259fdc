"""The two tiers of the tests: quick, and full (`--all`). Files and fixtures decide."""

from pathlib import Path

import pytest

from core.paths import ROOT

TESTS = ROOT / "tests"

FULL_FILES = (
    "campaigns/faults/*",
    "campaigns/hostile/*",
    "campaigns/system_calls/*",
    "*_in_a_browser.py",
    "*_processes.py",
    "test_bench.py",
    "test_run.py",
)
"""Long campaigns, a browser, servers in processes, virtual environments."""

FULL_FIXTURES = {"own_postgres", "own_valkey", "processes"}
"""Servers that a test starts for itself, and Python started again."""

SERVERS = {"postgres", "valkey", "postgresql", "redis"}
"""Fixtures, and parameters of fixtures, that need one of the servers."""

ON_SERVERS = (
    "db/test_schema.py",
    "ingest/test_turns.py",
    "ingest/test_outages.py",
    "privacy/test_contact_erasure.py",
    "reviews/test_query.py",
    "storage/test_batch.py",
    "storage/test_contact_state.py",
    "storage/test_end_cache.py",
)
"""Files whose tests run on PostgreSQL and Redis in the quick tier too."""

SCHEDULES = {"quick": 100, "full": 2_000}
"""Of the simulation."""


def is_left_out(config: pytest.Config) -> bool:
    """Say whether the full tier is left out: it is unless `--all`, a file or a folder is given."""
    named = [Path(word.partition("::")[0]) for word in config.args]
    folder = config.invocation_params.dir
    everything = all((folder / path).resolve() in (ROOT, TESTS) for path in named)
    return everything and not config.getoption("--all")


def is_file_of_the_full_tier(path: Path) -> bool:
    return path.is_relative_to(TESTS) and _is_among(path, FULL_FILES)


def is_test_of_the_full_tier(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    fixtures = {*item.fixturenames}
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    uses = fixtures | {value for value in parameters if isinstance(value, str)}
    return bool(uses & FULL_FIXTURES or (uses & SERVERS and not _is_among(item.path, ON_SERVERS)))


def _is_among(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.relative_to(TESTS).match(pattern) for pattern in patterns)
