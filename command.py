"""Run a command of ours as a person expects it to end: `python -m command MODULE …`.

Ctrl-C, and a reader who has seen enough, are no faults: neither prints a traceback.
"""

import io
import os
import runpy
import sys


def main() -> None:
    """Run the module that the first word names; what follows are its own words."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            # Bytes that are no text, and text that the terminal can't show, end nothing either.
            stream.reconfigure(errors="replace")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as we run
    del sys.argv[0]
    try:
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # sooner than at the interpreter's end, which is past our care
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


if __name__ == "__main__":
    main()
