"""Set up .venv and run the everyday commands; `python3 run.py help` lists them.

Standard library only. An old Python 3 must get as far as our sentence about its age, so there is
no syntax newer than 3.6 here, and annotations that 3.6 could not evaluate are quoted.
"""

import argparse
import hashlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

OLDEST_PYTHON = (3, 11)
HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

# The last file is the one that pip installs; it includes those before it.
RUNTIME = ["requirements.txt"]
DEVELOPMENT = ["requirements.txt", "requirements-dev.txt"]
BROWSER = ["requirements.txt", "requirements-dev.txt", "requirements-browser.txt"]

# The first is Chromium without its windows, which takes half as long.
BROWSERS = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)

HELP = """\
python3 run.py [--port N]  serve on http://localhost:8000 (or port N), reloading on changes
python3 run.py chat        be a customer: chat with the bot in this terminal
python3 run.py demo        watch every review being recorded exactly once
python3 run.py test        run the tests on all cores; arguments are pytest's
python3 run.py check       check format, lint rules and types
python3 run.py doctor      say what is wrong with this installation, and what to do
python3 run.py check-data  check the message log against itself and the reviews
python3 run.py forget +N   erase a customer: reviews, words and the number
python3 run.py backup F    copy the SQLite database to file F, also while serving
python3 run.py restore F   put such a copy back; what is there is kept under another name
python3 run.py bench       measure it against FastAPI doing nothing; --quick takes a minute
python3 run.py help        show this list"""

# These work with the settings of this installation, whatever they are.
MODULES = {
    "doctor": ["cli.doctor"],
    "check-data": ["cli.check_data"],
    "forget": ["cli.erase"],
    "backup": ["cli.backup", "backup"],
    "restore": ["cli.backup", "restore"],
}

# Seconds that a client may still take to read its answer after the server is told to stop. A client
# that reads nothing would else hold the server up for ever.
STOP_SECONDS = 10

# Others cost every process of pytest two seconds: to rewrite the asserts of all their modules.
PLUGINS = ["--disable-plugin-autoload", "-p", "xdist.plugin", "-p", "pytest_cov.plugin"]

FILE_OPTIONS = ["--client-history", "--reviews"]


def main(arguments: "list[str]") -> int:
    """Do what the first word asks and return the exit code."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed, this = (".".join(map(str, v)) for v in (OLDEST_PYTHON, sys.version_info[:3]))
        sys.exit(f"Python {needed} or newer is needed; this is {this}.")
    started_in = os.getcwd()
    os.chdir(str(HERE))
    if not arguments:
        return serve([])
    word, rest = arguments[0], arguments[1:]
    if word in ("backup", "restore"):
        rest = [file if file.startswith("-") else os.path.join(started_in, file) for file in rest]
    if word in ("demo", "check-data"):
        rest = name_files_from(started_in, rest)
    if word in ("help", "-h", "--help"):
        print(HELP)
        return 0
    if word.startswith("-"):
        return serve(arguments)
    if word == "test":
        set_up(BROWSER if find_browser() else DEVELOPMENT)
        return hand_over("pytest", *PLUGINS, "-n", "auto", "--dist", "worksteal", *rest)
    if word == "check":
        set_up(DEVELOPMENT)
        return check()
    if word == "bench":
        set_up(DEVELOPMENT)
        return hand_over("bench", *rest)
    if word in ("chat", "demo"):
        set_up(RUNTIME)
        chosen = os.environ.get("ENVIRONMENT") or "local"
        return hand_over("command", "cli.play", word, *rest, ENVIRONMENT=chosen)
    if word in MODULES:
        set_up(RUNTIME)
        return hand_over("command", *MODULES[word], *rest)
    print(f"run.py does not know the word {word!r}.\n\n{HELP}", file=sys.stderr)
    return 2


def name_files_from(folder: str, words: "list[str]") -> "list[str]":
    """Let the options that name a file mean the one that is seen from `folder`."""
    named = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, file = word.partition("=")
        if equals and is_file_option(option):
            word = f"{option}={os.path.join(folder, file)}"
        elif is_file_option(before) and not word.startswith("-"):
            word = os.path.join(folder, word)
        named.append(word)
    return named


def is_file_option(word: str) -> bool:
    """Say whether it is one of FILE_OPTIONS, or short for it: argparse takes `--wit` too."""
    return len(word) > 2 and any(option.startswith(word) for option in FILE_OPTIONS)


def serve(options: "list[str]") -> int:
    """Serve the app on this machine only, always as a local installation."""
    parser = argparse.ArgumentParser(prog="run.py", add_help=False)
    parser.add_argument("--port", metavar="N", type=port_number, default=8000)
    port = parser.parse_args(options).port
    require_free(port)
    set_up(RUNTIME)
    where = "" if port == 8000 else f" --url http://localhost:{port}"
    print(
        f"Open  http://localhost:{port}  for the reviews (for programs: /api/reviews, see /docs)\n"
        f"  and  http://localhost:{port}/phone  to be the customer.\n"
        f"Then try, in a second terminal:  python3 run.py chat{where}\n"
        f"                            or:  python3 run.py demo{where}\n"
        "Ctrl-C stops."
    )
    stopping = ("--timeout-graceful-shutdown", str(STOP_SECONDS))
    words = ("uvicorn", "main:app", "--reload", "--port", str(port), *stopping)
    return hand_over(*words, ENVIRONMENT="local")


def find_browser() -> str:
    """Find a browser to try the pages in: $CHROMIUM, or one on the PATH; "" where there is none."""
    names = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS
    return next(filter(None, map(shutil.which, names)), "")


def port_number(text: str) -> int:
    """Read a port; argparse words the refusal of anything else."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def require_free(port: int) -> None:
    """Exit with a sentence if nobody could listen on `port`: sooner and clearer than uvicorn."""
    with socket.socket() as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Connections of a server that has just stopped (TIME_WAIT) are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            another = port + 1 if 1024 <= port < 65535 else 8001
            sys.exit(
                f"Port {port} cannot be used ({error.strerror}); if no earlier run.py still serves,"
                f" take another: python3 run.py --port {another}"
            )


def check() -> int:
    """Run every check, also after one has failed, and return 1 if any did."""
    failures = 0
    for words in (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy", "."]):
        print("$", *words, flush=True)
        failures += call_in_venv(*words) != 0
    return 1 if failures else 0


def call_in_venv(*module_and_arguments: str) -> int:
    """Run a module in .venv to its end and return its exit code."""
    return subprocess.call([str(VENV_PYTHON), "-m", *module_and_arguments], env=environment())


def hand_over(*module_and_arguments: str, **changes: str) -> int:
    """Let a module in .venv take this process's place: its signals and its exit code."""
    command = [str(VENV_PYTHON), "-m", *module_and_arguments]
    sys.stdout.flush()
    if sys.platform == "win32":
        # There is no such exec. Ctrl-C reaches the child too, and how it ends then is its affair.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return subprocess.call(command, env=environment(**changes))
    return os.execve(command[0], command, environment(**changes))


def environment(**changes: str) -> "dict[str, str]":
    """Take ours, less what would send the Python in .venv to another one's library."""
    drop = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
    return {**{name: os.environ[name] for name in os.environ if name not in drop}, **changes}


def set_up(requirements: "list[str]") -> None:
    """Make .venv and install `requirements`, where that has not been done; or exit saying why."""
    try:
        if is_set_up(requirements):
            return
        with one_at_a_time():
            if is_set_up(requirements):  # by the run.py we waited for
                return
            if not (venv_version() and ask_venv("-m", "pip", "--version")):
                make_venv()
            install(requirements)
    except OSError as error:
        sys.exit(f"Setting up .venv failed: {error}.")


def is_set_up(requirements: "list[str]") -> bool:
    stamp = stamp_of(requirements)
    return stamp.exists() and stamp.read_text() == digest(requirements, venv_version())


def stamp_of(requirements: "list[str]") -> Path:
    return VENV / (requirements[-1] + ".sha256")


def digest(requirements: "list[str]", version: str) -> str:
    parts = [version.encode(), *[(HERE / name).read_bytes() for name in requirements]]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def venv_version() -> str:
    """Tell the version of the Python in .venv: "" if it is too old or does not run (any more)."""
    code = f"import sys; v = sys.version_info[:2]; print(v if v >= {OLDEST_PYTHON} else '')"
    return ask_venv("-c", code)


def ask_venv(*arguments: str) -> str:
    """Run the Python in .venv and return what it prints: "" if it fails."""
    command = [str(VENV_PYTHON), *arguments]
    try:
        printed = subprocess.check_output(command, env=environment(), stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return printed.decode(errors="replace").strip()


def make_venv() -> None:
    """Make .venv from nothing, whatever was left of it."""
    try:
        importlib.import_module("venv")
        importlib.import_module("ensurepip")
    except ImportError as error:
        advice = "on Debian and Ubuntu: sudo apt install python3-venv"
        sys.exit(f"This Python cannot make .venv ({error}); {advice}")
    tell("Setting up .venv (once, about a minute) ...")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
        sys.exit("Making .venv failed; put right what Python says above and run this again.")


def install(requirements: "list[str]") -> None:
    """Install the last file of `requirements` and note that this covers those before it."""
    name = requirements[-1]
    tell(f"Installing {name} into .venv ...")
    for stamp in VENV.glob("*.sha256"):  # an interrupted installation may leave anything behind
        stamp.unlink()
    options = ("--quiet", "--disable-pip-version-check")
    if call_in_venv("pip", "install", *options, "-r", name) != 0:
        sys.exit(f"Installing {name} failed; check the internet connection and run this again.")
    version = venv_version()
    for count in range(1, len(requirements) + 1):
        covered = requirements[:count]
        stamp_of(covered).write_text(digest(covered, version))


@contextmanager
def one_at_a_time() -> "Iterator[None]":
    """Wait for another run.py that sets up .venv; its lock goes with it, however it ends."""
    with (HERE / ".venv.lock").open("w") as lock:
        if not locked(lock.fileno()):
            tell("Waiting for another run.py that sets up .venv ...")
            while not locked(lock.fileno()):
                time.sleep(0.2)
        yield


def locked(file: int) -> bool:
    """Try to lock an open file and tell whether that worked."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX, Windows: another has it
        return False
    return True


def tell(progress: str) -> None:
    """Say what is happening, apart from the output that a command may be run for."""
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
