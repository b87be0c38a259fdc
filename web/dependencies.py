"""The parts that routes use, and the time limit for their database work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Depends, HTTPException, Request
from sqlalchemy.exc import DBAPIError

from core.logs import describe, logger
from core.outage import OutageLog
from core.shutdown import Shutdown
from db.engine import Database
from db.errors import TRANSIENT_ERRORS, StartupError
from ingest.writer import MessageWriter
from whatsapp.inbound import TwilioAccount

DATABASE_SECONDS = 5.0
"""We need our own limit: a frozen server never answers, so its timeouts never fire."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of this installation. main.py puts them together."""

    database: Database
    writer: MessageWriter
    twilio: TwilioAccount
    pseudonym_key: str
    shutdown: Shutdown


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


# A coroutine: FastAPI runs every plain function in its thread pool.
async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

T = TypeVar("T")

_outage = OutageLog("database away, requests get 503", "database back for requests")
"""One per process, as the log is."""


async def run_in_thread(action: Callable[..., T], *arguments: Any) -> T:
    """Run blocking work in a thread. Raises TimeoutError after DATABASE_SECONDS."""
    with anyio.fail_after(DATABASE_SECONDS):
        return await anyio.to_thread.run_sync(action, *arguments, abandon_on_cancel=True)


async def run_with_timeout(action: Callable[..., T], *arguments: Any) -> T:
    """Run database work in a thread. Raises HTTPException 503 on an error or after 5 s."""
    try:
        result = await run_in_thread(action, *arguments)
    except (TimeoutError, StartupError, DBAPIError, *TRANSIENT_ERRORS) as error:
        if isinstance(error, (TimeoutError, StartupError, *TRANSIENT_ERRORS)):
            _outage.note_failure(describe(error))
        else:  # no outage: only this request's rows are concerned
            logger.error("a request failed in the database: %s", describe(error))
        raise HTTPException(503, "The database is not available. Try again.") from None
    _outage.note_success()
    return result
