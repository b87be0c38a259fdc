"""`python -m tests`, which `run.py test` starts: pytest on all cores, with the words given."""

import sys

import pytest

# Others cost every process of pytest two seconds: to rewrite the asserts of all their modules.
PLUGINS = ["--disable-plugin-autoload", "-p", "xdist.plugin", "-p", "pytest_cov.plugin"]

ALL_CORES = ["-n", "auto", "--dist", "worksteal"]

if __name__ == "__main__":
    sys.exit(pytest.main([*PLUGINS, *ALL_CORES, *sys.argv[1:]]))
