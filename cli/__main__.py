"""`python -m cli WORD …`, to which run.py hands over: a command ends as its user expects.

Ctrl-C, and a reader that has closed the pipe, are no faults: neither prints a traceback.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_command() -> int:
    # Imported here, because that takes a second, and Ctrl-C may come in it.
    from cli.command_line import main

    return main(sys.argv[1:])


def run_in_terminal(command: Callable[[], int]) -> NoReturn:
    """Run a command and end this process with the exit code that it returns."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            # Bytes that are not text, or text that the terminal can't show, must not end a command.
            stream.reconfigure(errors="replace")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as we run
    try:
        try:
            code = command()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what fails at the interpreter's end can't be caught
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    sys.exit(code)


if __name__ == "__main__":
    run_in_terminal(run_command)
