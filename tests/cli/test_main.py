"""How a command ends: by Ctrl-C, when its reader is gone, with bytes that are not text."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import ROOT

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes are POSIX's")

RUN_A_COMMAND = """
from cli.__main__ import run_in_terminal

def command():
    import a_command
    return 0

run_in_terminal(command)
"""


def start(folder: Path, code: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a command that is this code."""
    folder.joinpath("a_command.py").write_text(code)
    # A shell's background job ignores Ctrl-C and hands that on; ours must not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", RUN_A_COMMAND],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(folder), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)


@POSIX_ONLY
def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    code = "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\n"
    code += "finally:\n    print('saved')"
    with start(tmp_path, code) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"ready\n"
        command.send_signal(signal.SIGINT)
        said, complained = command.communicate(timeout=60)
    assert (command.returncode, said, complained) == (130, b"saved\n", b"")


@POSIX_ONLY
@pytest.mark.parametrize(
    "line", ["print('line', flush=True)", "print('line')", "print('line' * 100_000)"]
)
def test_a_reader_that_is_gone_ends_it_without_a_traceback(tmp_path: Path, line: str) -> None:
    with start(tmp_path, f"input()\n{line}\n{line}") as command:
        assert command.stdin is not None
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        command.stdin.write(b"\n")
        command.stdin.close()
        assert command.stderr.read() == b""
        assert command.wait(60) == 1


@POSIX_ONLY
def test_a_closed_stderr_ends_nothing(tmp_path: Path) -> None:
    tmp_path.joinpath("a_command.py").write_text("import sys\nsys.stderr.write('All is well.')")
    ran = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, RUN_A_COMMAND],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0


def test_its_exit_code_and_its_last_sentence_are_its_own(tmp_path: Path) -> None:
    with start(tmp_path, "import sys\nsys.exit('It failed.')") as command:
        said, complained = command.communicate(timeout=60)
    assert (command.returncode, said) == (1, b"")
    assert complained.split() == [b"It", b"failed."]
    with start(tmp_path, "raise SystemExit(7)") as command:
        command.communicate(timeout=60)
    assert command.returncode == 7


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"PYTHONUTF8": "1"}]
)
def test_bytes_that_are_not_text_and_text_that_cant_be_shown_end_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code = "input().encode()\nprint('é 日')\nprint('end')"
    with start(tmp_path, code, **environment) as command:
        said, complained = command.communicate(b"\xff\xfe\n", timeout=60)
    assert (command.returncode, complained) == (0, b"")
    assert said.split()[-1] == b"end"
