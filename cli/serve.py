"""Serve on this machine only, always as a local installation, and reload on changes."""

import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

import uvicorn

from cli.command_error import CommandError
from core.console import tell
from core.settings import Settings

DEFAULT_PORT = 8000

STOP_SECONDS = 10
"""How long clients may still read their answers after the server is told to stop.

Without a limit a client that reads nothing keeps the server from ending.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", metavar="N", type=_port_number, default=DEFAULT_PORT)


def run(options: Namespace, _settings: Settings) -> int:
    port: int = options.port
    require_free(port)
    where = "" if port == DEFAULT_PORT else f" --url http://localhost:{port}"
    tell(
        f"Open  http://localhost:{port}  for the reviews (for programs: /api/reviews, see /docs)\n"
        f"  and  http://localhost:{port}/phone  to be the customer.\n"
        f"Then try, in a second terminal:  python3 run.py chat{where}\n"
        f"                            or:  python3 run.py demo{where}\n"
        "Ctrl-C stops."
    )
    uvicorn.run("main:app", port=port, reload=True, timeout_graceful_shutdown=STOP_SECONDS)
    return 0


def _port_number(text: str) -> int:
    """Read a port; argparse words the refusal of anything else."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def require_free(port: int) -> None:
    """Raise CommandError if nobody can listen on `port`: sooner and clearer than uvicorn."""
    with socket.socket() as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Connections of a server that has just stopped (TIME_WAIT) don't block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            another = port + 1 if 1024 <= port < 65535 else DEFAULT_PORT + 1
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}). If no other server should run"
                f" there, stop it; or use another port: python3 run.py --port {another}"
            ) from None
