"""Connect what plays Twilio to a server: what `run.py chat` and `run.py demo` share."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cli.command_error import CommandError
from core.settings import Settings
from simulator.fake_twilio import ACCOUNT_SID, TWILIO_SECONDS, Simulator
from simulator.twiml_reader import NotAnswered

KEEP_ALIVE_SECONDS = 2.0
"""Less than the 5 seconds after which uvicorn closes an idle connection."""


def add_url(parser: ArgumentParser) -> None:
    parser.add_argument("--url", default="http://localhost:8000", help="where the server is")


@contextmanager
def connect(options: Namespace, settings: Settings) -> Iterator[Simulator]:
    """Connect to the server; raise CommandError where it can't be used, also within the block."""
    # No limit to the connections kept: by default httpx closes some that are in use, too.
    limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
    try:
        client = httpx.Client(
            base_url=options.url, timeout=TWILIO_SECONDS, trust_env=False, limits=limits
        )
        if settings.api_key:
            client.headers["X-API-Key"] = settings.api_key
        twilio = Simulator(
            client,
            auth_token=next(iter(settings.twilio_auth_token), ""),
            public_url=settings.public_url or "",
            account_sid=settings.twilio_account_sid or ACCOUNT_SID,
        )
        with client:
            client.get("/healthz").raise_for_status()
            yield twilio
    except httpx.ConnectError:
        raise CommandError(
            f"No server answers at {options.url}: start it with  python3 run.py"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, NotAnswered) as error:
        raise CommandError(f"\n{error}") from None
