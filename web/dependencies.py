"""What the routes work with, and how long they may wait for the database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Depends, HTTPException, Request
from sqlalchemy.exc import DBAPIError

from core.logs import describe, logger
from core.shutdown import Shutdown
from db.engine import Database
from db.errors import TRANSIENT_ERRORS, StartupError
from ingest.writer import MessageWriter
from whatsapp.inbound import TwilioAccount

DATABASE_SECONDS = 5.0
"""How long a request may wait for the database; a frozen server answers no time-out of its own."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of this installation; main.py puts them together."""

    database: Database
    writer: MessageWriter
    twilio: TwilioAccount
    pseudonym_key: str
    shutdown: Shutdown


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


# A coroutine, since FastAPI takes every plain function through its thread pool.
async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

T = TypeVar("T")


async def run_with_timeout(action: Callable[..., T], *arguments: Any) -> T:
    """Run database work in a thread, for DATABASE_SECONDS at most. Raises HTTPException 503."""
    try:
        with anyio.fail_after(DATABASE_SECONDS):
            return await anyio.to_thread.run_sync(action, *arguments, abandon_on_cancel=True)
    except (TimeoutError, StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        logger.error("database away for a request: %s", describe(error))
        raise HTTPException(503, "The database is away.") from None
