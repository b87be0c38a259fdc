"""Set up .venv, where that is needed, and run a command in it.

python3 run.py [--port N]  serve on http://localhost:8000 (or port N), reloading on changes
python3 run.py chat        be a customer: chat with the bot in this terminal
python3 run.py demo        watch every review being recorded exactly once
python3 run.py test        run the tests on all cores; arguments are pytest's
python3 run.py check       check format, lint rules and types
python3 run.py doctor      say what is wrong with this installation, and what to do
python3 run.py check-data  check the message log against itself and the reviews
python3 run.py erase +N    erase a customer: reviews, words and the number
python3 run.py backup F    copy the SQLite database to file F, also while serving
python3 run.py restore F   put such a copy back; the replaced database is kept in another file
python3 run.py bench       measure it against FastAPI doing nothing; --quick takes a minute
python3 run.py help        show this list
"""

# Standard library only. An old Python 3 must get as far as our sentence about its age: no syntax
# newer than 3.6, and quotes around the annotations that 3.6 could not evaluate.
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

OLDEST_PYTHON = (3, 11)
HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
VENV_PYTHON = str(VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))

# The last file is the one that pip installs; it includes those before it.
RUNTIME = ["requirements.txt"]
DEVELOPMENT = [*RUNTIME, "requirements-dev.txt"]
BROWSER = [*DEVELOPMENT, "requirements-browser.txt"]
# The first is Chromium without its windows, which takes half as long.
BROWSERS = "chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable"

FOR_USERS = ("serve", "chat", "demo", "doctor", "check-data", "erase", "backup", "restore")
FOR_DEVELOPERS = {"test": "tests", "check": "tests.checks", "bench": "bench"}
# Without what would send the Python in .venv to another one's library.
UNSET = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
ENVIRONMENT = {name: os.environ[name] for name in os.environ if name not in UNSET}


def main(arguments: "list[str]") -> int:
    """Do what the first word asks and return the exit code."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed, this = (".".join(map(str, v)) for v in (OLDEST_PYTHON, sys.version_info[:3]))
        sys.exit(f"Python {needed} or newer is needed; this is {this}.")
    folder = os.getcwd()
    os.chdir(HERE)
    word, *rest = arguments or ["serve"]
    if word in ("help", "-h", "--help"):
        sys.stdout.write(f"{__doc__}")
        return 0
    if word.startswith("-"):
        word, rest = "serve", arguments
    if word in FOR_USERS:
        set_up(RUNTIME)
        return hand_over("cli", "--folder", folder, word, *rest)
    if word in FOR_DEVELOPERS:
        set_up(BROWSER if word == "test" and find_browser() else DEVELOPMENT)
        return hand_over(FOR_DEVELOPERS[word], *rest)
    sys.stderr.write(f"run.py does not know the word {word!r}.\n\n{__doc__}")
    return 2


def find_browser() -> str:
    """Find a browser to try the pages in: $CHROMIUM, or one on the PATH; "" where there is none."""
    names = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS.split()
    return next(filter(None, map(shutil.which, names)), "")


def hand_over(*module_and_arguments: str) -> int:
    """Let a module in .venv take this process's place: its signals and its exit code."""
    command = [VENV_PYTHON, "-m", *module_and_arguments]
    if sys.platform == "win32":  # where there is no such exec
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child, which ends
        return subprocess.call(command, env=ENVIRONMENT)
    return os.execve(command[0], command, ENVIRONMENT)


def set_up(requirements: "list[str]") -> None:
    """Make .venv and install `requirements`, where that has not been done; or exit saying why."""
    try:
        if is_set_up(requirements):
            return
        # SQLite's lock works on every system, and ends with its process.
        with closing(sqlite3.connect(HERE / ".venv.lock", timeout=0)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's would wait for SQLite
                sys.stderr.write("Waiting for another run.py that sets up .venv ...\n")
                lock.execute("PRAGMA busy_timeout = 600000")  # milliseconds
                lock.execute("BEGIN EXCLUSIVE")
            if not is_set_up(requirements):  # by the run.py that we waited for
                install(requirements)
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"Setting up .venv failed: {error}.")


def is_set_up(requirements: "list[str]") -> bool:
    stamp, digest = stamp_of(requirements)
    return digest != "" and stamp.exists() and stamp.read_text() == digest


def stamp_of(requirements: "list[str]") -> "tuple[Path, str]":
    """Name the file that notes an installation, and what it must say; "" where .venv is no use."""
    code = f"import pip, sys; v = sys.version_info[:2]; print(v if v >= {OLDEST_PYTHON} else '')"
    command, version = [VENV_PYTHON, "-c", code], b""
    if os.path.exists(VENV_PYTHON):
        version = subprocess.run(command, env=ENVIRONMENT, capture_output=True).stdout.strip()
    parts = [version, *[(HERE / name).read_bytes() for name in requirements]]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return VENV / (requirements[-1] + ".sha256"), digest if version else ""


def install(requirements: "list[str]") -> None:
    """Install the last file of `requirements` and note that this covers those before it."""
    if not stamp_of(requirements)[1]:
        try:
            import ensurepip  # noqa: F401 - Debian has both in a package of their own
            import venv  # noqa: F401
        except ImportError as error:
            advice = "on Debian and Ubuntu: sudo apt install python3-venv"
            sys.exit(f"This Python cannot make .venv ({error}); {advice}")
        sys.stderr.write("Setting up .venv (once, about a minute) ...\n")
        if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
            sys.exit("Making .venv failed; put right what Python says above and run this again.")
    sys.stderr.write(f"Installing {requirements[-1]} into .venv ...\n")
    for stamp in VENV.glob("*.sha256"):  # an interrupted installation may leave anything behind
        stamp.unlink()
    pip = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.call([*pip, "-r", requirements[-1]], env=ENVIRONMENT) != 0:
        advice = "check the internet connection and run this again."
        sys.exit(f"Installing {requirements[-1]} failed; {advice}")
    for count in range(len(requirements)):
        stamp, digest = stamp_of(requirements[: count + 1])
        stamp.write_text(digest)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
