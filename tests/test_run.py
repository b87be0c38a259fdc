"""`run.py` in a folder of its own: real virtual environments and real pip, no internet.

What it hands over to is a stub that prints how it was called; `tests.checks` is real.
"""

import ast
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.command_line import COMMANDS
from run import FOR_USERS

RUN = Path(__file__).resolve().parent.parent / "run.py"
POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="signals and exec are POSIX's")

STUB = """
import json, os, sys
from pathlib import Path

name = __spec__.name.partition(".")[0]
seen = ("ENVIRONMENT", "PYTHONHOME", "__PYVENV_LAUNCHER__")
print(json.dumps({
    "module": name,
    "arguments": sys.argv[1:],
    "environment": {key: os.environ[key] for key in seen if key in os.environ},
    "folder": os.getcwd(),
    "process": os.getpid(),
    "in_venv": Path(sys.prefix) == Path(os.getcwd(), ".venv"),
}))
sys.exit(int(os.environ.get(name + "_exits_with", "0")))
"""


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """`run.py test` where a set-up was interrupted: .venv is there, pip is not yet."""
    folder = tmp_path_factory.mktemp("installation").resolve()
    shutil.copy(RUN, folder)
    folder.joinpath("requirements.txt").touch()
    folder.joinpath("requirements-dev.txt").write_text("-r requirements.txt\n")
    folder.joinpath("requirements-browser.txt").write_text("-r requirements-dev.txt\n")
    for module in ("cli", "bench", "ruff", "mypy"):
        folder.joinpath(f"{module}.py").write_text(STUB)
    folder.joinpath("tests").mkdir()
    folder.joinpath("tests/__main__.py").write_text(STUB)
    shutil.copy(RUN.with_name("tests") / "checks.py", folder / "tests")
    half_made = [sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")]
    subprocess.run(half_made, check=True)
    return run(folder, "test")


@pytest.fixture
def folder(first_run: subprocess.CompletedProcess[str]) -> Path:
    """A folder that is set up for development. Tests that change it take `copy` instead."""
    [call] = calls(first_run.stdout)
    return Path(call["folder"])


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    def link_or_copy(source: str, target: str) -> None:
        """Save time on what pip's packages are: nobody writes into those files."""
        (os.link if "site-packages" in source else shutil.copy2)(source, target)

    target = tmp_path.resolve() / "copy"
    return shutil.copytree(folder, target, symlinks=True, copy_function=link_or_copy)


def run(
    folder: Path,
    *words: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(folder / "run.py"), *words],
        cwd=cwd or folder,
        env=environment(env or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def environment(changes: dict[str, str]) -> dict[str, str]:
    hide = ("ENVIRONMENT", "PYTHONUNBUFFERED")  # the latter would mend a forgotten flush
    ours = {name: value for name, value in os.environ.items() if name not in hide}
    return {**ours, "PIP_NO_INDEX": "1", "CHROMIUM": "none", **changes}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(folder / "run.py"), *words],
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calls(output: str) -> list[dict[str, Any]]:
    """The calls of stubs in what run.py printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def old_pythons() -> list[str]:
    """Every Python 3 before 3.11 that this machine has, on the PATH or in pyenv."""
    on_path = [shutil.which(f"python3.{minor}") for minor in range(6, 11)]
    in_pyenv = Path.home().glob(".pyenv/versions/3.*/bin/python")
    question = "import sys; sys.exit(not (3, 6) <= sys.version_info < (3, 11))"
    candidates = [python for python in [*on_path, *map(str, in_pyenv)] if python]
    return [
        python
        for python in candidates
        if subprocess.run([python, "-c", question], capture_output=True).returncode == 0
    ]


# What the words do


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_lists_every_command(folder: Path, word: str) -> None:
    result = run(folder, word)
    assert result.returncode == 0
    commands = ("[--port N]", "chat", "demo", "test", "check", "check-data", "bench", "help")
    for command in (*commands, "doctor", "erase +N", "backup F", "restore F"):
        assert f"python3 run.py {command} " in result.stdout


def test_run_py_knows_the_words_of_the_command_line() -> None:
    assert set(FOR_USERS) == set(COMMANDS)


def test_an_unknown_word_is_refused_with_the_list(folder: Path) -> None:
    result = run(folder, "dance")
    assert result.returncode == 2
    assert result.stderr.startswith("run.py does not know the word 'dance'.\n")
    assert run(folder, "help").stdout in result.stderr


@pytest.mark.parametrize(
    ("words", "module", "arguments"),
    [
        ([], "cli", ["serve"]),
        (["--port", "8001"], "cli", ["serve", "--port", "8001"]),
        (["chat", "--help"], "cli", ["chat", "--help"]),
        (["demo", "100"], "cli", ["demo", "100"]),
        (["check-data", "--quiet"], "cli", ["check-data", "--quiet"]),
        (["doctor", "--signature"], "cli", ["doctor", "--signature"]),
        (["erase", "+15551234567"], "cli", ["erase", "+15551234567"]),
        (["backup"], "cli", ["backup"]),
        (["test", "-k", "a or b"], "tests", ["-k", "a or b"]),
        (["test", "--help"], "tests", ["--help"]),
        (["bench", "--quick"], "bench", ["--quick"]),
    ],
)
def test_arguments_are_passed_on(
    folder: Path, words: list[str], module: str, arguments: list[str]
) -> None:
    [call] = calls(run(folder, *words).stdout)
    assert call["in_venv"]
    for_cli = ["--folder", str(folder)] if module == "cli" else []
    assert (call["module"], call["arguments"]) == (module, [*for_cli, *arguments])


def test_the_folder_one_is_in_is_passed_on_for_names_of_files(folder: Path, tmp_path: Path) -> None:
    [call] = calls(run(folder, "backup", "copy", cwd=tmp_path).stdout)
    assert call["folder"] == str(folder)
    assert call["arguments"] == ["--folder", str(tmp_path.resolve()), "backup", "copy"]


@pytest.mark.parametrize("word", ["chat", "check-data", "test"])
def test_what_is_run_sees_the_environment_as_it_is(folder: Path, word: str) -> None:
    for given in ({}, {"ENVIRONMENT": "production"}):
        [call] = calls(run(folder, word, env=given).stdout)
        assert call["environment"] == given


@pytest.mark.parametrize(
    ("exits", "code"),
    [({}, 0), ({"ruff_exits_with": "1"}, 1), ({"mypy_exits_with": "2"}, 1)],
)
def test_every_check_runs_also_after_one_has_failed(
    folder: Path, exits: dict[str, str], code: int
) -> None:
    result = run(folder, "check", env=exits)
    assert [[call["module"], *call["arguments"]] for call in calls(result.stdout)] == [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy", "."],
    ]
    assert result.returncode == code


def test_the_exit_code_passes_through(folder: Path) -> None:
    assert run(folder, "test", env={"tests_exits_with": "5"}).returncode == 5


def test_run_py_works_from_another_folder(folder: Path, tmp_path: Path) -> None:
    [call] = calls(run(folder, "test", cwd=tmp_path).stdout)
    assert call["folder"] == str(folder)


def test_another_python_home_does_not_reach_the_venv(folder: Path) -> None:
    homes = {"PYTHONHOME": sys.base_prefix, "__PYVENV_LAUNCHER__": sys.executable}
    [call] = calls(run(folder, "test", env=homes).stdout)
    assert call["environment"] == {}


@POSIX_ONLY
def test_signals_reach_the_command_itself(folder: Path) -> None:
    with start(folder, "--port", "8001") as command:
        output, _ = command.communicate(timeout=60)
    [call] = calls(output)
    assert call["process"] == command.pid


def test_pytest_is_started_with_the_words_given() -> None:
    words = [sys.executable, "-m", "tests", "--version"]
    ran = subprocess.run(words, cwd=RUN.parent, capture_output=True, text=True, check=True)
    assert f"{ran.stdout}{ran.stderr}".startswith("pytest ")


# Set-up


def test_a_half_made_venv_is_made_again_saying_that_it_takes_a_while(
    first_run: subprocess.CompletedProcess[str],
) -> None:
    assert first_run.returncode == 0
    assert first_run.stderr.startswith(
        "Setting up .venv (once, about a minute) ...\n"
        "Installing requirements-dev.txt into .venv ...\n"
    )


@pytest.mark.parametrize("word", ["test", "chat"])
def test_a_second_run_installs_nothing_and_says_nothing(folder: Path, word: str) -> None:
    result = run(folder, word)
    assert result.stderr == ""
    assert len(calls(result.stdout)) == 1


def test_changed_requirements_are_installed_once_by_whatever_comes_first(copy: Path) -> None:
    wheel = make_wheel(copy, "freshly_required")
    requirements = copy / "requirements.txt"
    requirements.write_text(f"./{wheel.name}\n")
    copy.joinpath("cli.py").write_text("import freshly_required")
    assert run(copy, "test").stderr.startswith("Installing requirements-dev.txt into .venv ...\n")
    second = run(copy, "check-data")
    assert (second.returncode, second.stderr) == (0, "")

    copy.joinpath("cli.py").write_text(STUB)
    requirements.write_text(f"./{wheel.name}\n# changed again\n")
    assert run(copy, "chat").stderr.startswith("Installing requirements.txt into .venv ...\n")
    assert run(copy, "chat").stderr == ""


def test_changed_development_requirements_concern_development_only(copy: Path) -> None:
    wheel = make_wheel(copy, "freshly_required")
    with copy.joinpath("requirements-dev.txt").open("a") as requirements:
        requirements.write(f"./{wheel.name}\n")
    copy.joinpath("tests/__main__.py").write_text("import freshly_required")
    assert run(copy, "check-data").stderr == ""
    first, second = run(copy, "test"), run(copy, "test")
    assert first.returncode == 0, first.stderr
    assert "Installing requirements-dev.txt into .venv ..." in first.stderr
    assert second.stderr == ""


def test_where_there_is_a_browser_its_requirements_are_installed_for_the_tests(copy: Path) -> None:
    with_browser = {"CHROMIUM": sys.executable}
    first, second = (run(copy, "test", env=with_browser) for _ in range(2))
    assert first.stderr == "Installing requirements-browser.txt into .venv ...\n"
    assert (first.returncode, second.stderr) == (0, "")
    assert run(copy, "check").stderr == ""


def test_a_failed_installation_is_said_and_nothing_counts_as_installed_then(copy: Path) -> None:
    requirements = copy / "requirements-dev.txt"
    before = requirements.read_text()
    requirements.write_text("./not-there-1.0-py3-none-any.whl\n")
    failed = run(copy, "test")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "ERROR: " in failed.stderr  # pip's own words
    assert failed.stderr.splitlines()[-1] == (
        "Installing requirements-dev.txt failed; check the internet connection and run this again."
    )
    requirements.write_text(before)
    assert run(copy, "chat").stderr.startswith("Installing requirements.txt into .venv ...\n")


@POSIX_ONLY
def test_a_venv_whose_interpreter_was_removed_is_made_again(copy: Path) -> None:
    python = copy / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/removed/python3")
    result = run(copy, "chat")
    assert result.stderr.startswith("Setting up .venv ")
    [call] = calls(result.stdout)
    assert call["in_venv"]


def test_of_two_runs_at_once_one_sets_up_and_both_go_on(copy: Path) -> None:
    for stamp in copy.glob(".venv/*.sha256"):
        stamp.unlink()
    both = [start(copy, "chat"), start(copy, "chat")]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [len(calls(output)) for output, _ in outputs] == [1, 1]
    assert sum(progress.count("Installing") for _, progress in outputs) == 1


@POSIX_ONLY
def test_ctrl_c_while_waiting_for_another_run_ends_quietly(copy: Path) -> None:
    copy.joinpath(".venv/requirements.txt.sha256").unlink()
    with closing(sqlite3.connect(copy / ".venv.lock")) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        # A shell's background job ignores Ctrl-C and hands that on; ours must not.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            waiting = start(copy, "chat")
        finally:
            signal.signal(signal.SIGINT, before)
        too_long = threading.Timer(30, waiting.kill)
        too_long.start()
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, rest = waiting.communicate()
        too_long.cancel()
    assert said == "Waiting for another run.py that sets up .venv ...\n"
    assert rest == ""
    assert waiting.returncode == -signal.SIGINT


def test_a_missing_requirements_file_is_said_in_one_sentence(copy: Path) -> None:
    copy.joinpath("requirements-dev.txt").unlink()
    result = run(copy, "test")
    assert result.returncode == 1
    [sentence] = result.stderr.splitlines()
    assert "requirements-dev.txt" in sentence


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_said_in_one_sentence(tmp_path: Path, module: str) -> None:
    shutil.copy(RUN, tmp_path)
    tmp_path.joinpath("requirements.txt").touch()
    shim = tmp_path / "shim"
    shim.mkdir()
    shim.joinpath(f"{module}.py").write_text(f"raise ImportError('no {module}')")
    result = run(tmp_path, "chat", env={"PYTHONPATH": str(shim)})
    assert result.returncode == 1
    [sentence] = result.stderr.splitlines()
    assert module in sentence
    assert sentence.endswith("sudo apt install python3-venv")


def make_wheel(folder: Path, module: str) -> Path:
    """Make the smallest package that pip installs without an index."""
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{module}.py", "")
        about = f"{module}-1.0.dist-info"
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return wheel


# Old Pythons


def test_a_python_that_says_it_is_3_8_is_refused_in_one_sentence(tmp_path: Path) -> None:
    shutil.copy(RUN, tmp_path)
    pretend = (
        "import runpy, sys; sys.version_info = (3, 8, 18, 'final', 0);"
        "runpy.run_path('run.py', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", pretend], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == "Python 3.11 or newer is needed; this is 3.8.18.\n"
    assert not tmp_path.joinpath(".venv").exists()


def test_every_older_python_here_is_refused_in_one_sentence(folder: Path) -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python older than 3.11 on this machine")
    for python in pythons:
        result = run(folder, "help", python=python)
        assert result.returncode == 1
        [sentence] = result.stderr.splitlines()
        assert sentence.startswith("Python 3.11 or newer is needed; this is 3.")


def test_run_py_has_no_syntax_that_an_old_python_cannot_read() -> None:
    ast.parse(RUN.read_text(), feature_version=(3, 7))
