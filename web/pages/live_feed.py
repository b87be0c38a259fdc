"""`GET /events`: open pages learn of new and changed reviews (server-sent events).

The server keeps nothing between streams: see docs/decisions/0018-*.md.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from core.clock import utc_now
from core.shutdown import Shutdown
from reviews import query
from reviews.query import MAX_CHANGES, Changes
from web.dependencies import ServicesDep, run_with_timeout
from web.filters import FilterQuery, Time
from web.pages.rendering import write
from web.security.auth import require_owner

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_owner)])

READ_AGAIN = timedelta(seconds=30)
"""Read back this far each time: a transaction that commits late is at most this late."""

MAX_CAUGHT_UP = timedelta(minutes=5)

EVERY_SECONDS = 1.0

STREAM_SECONDS = 20.0
"""Then the stream ends, and the page opens the next one."""


class FeedQuery(FilterQuery, extra="ignore"):
    """The query of `/events`: the page's filters, and what it has already."""

    shown: str = Field("", pattern="^([0-9]{1,18}(,[0-9]{1,18}){0,299})?$")
    """Ids of the reviews on the page, whose changes are sent too."""
    last: Time = None
    """The id of the last event; from now on if there is none."""


@router.get("/events")
async def follow(services: ServicesDep, asking: Annotated[FeedQuery, Query()]) -> StreamingResponse:
    """Stream the reviews that arrive or change."""
    chosen = asking.filter()
    ids = [int(number) for number in asking.shown.split(",") if number]
    now = utc_now()
    caught_up = max(now - MAX_CAUGHT_UP, min(asking.last or now, now))

    async def read(since: datetime) -> Changes:
        return await run_with_timeout(
            query.changes_since, services.database, since - READ_AGAIN, ids, chosen
        )

    first = await read(caught_up)  # before the status is sent: an outage must be a 503
    return StreamingResponse(
        _tell(first, now, read, {*ids}, services.shutdown),
        media_type="text/event-stream",
        # nginx would hold events back.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _tell(
    changes: Changes,
    read_at: datetime,
    read: Callable[[datetime], Awaitable[Changes]],
    shown: set[int],
    shutdown: Shutdown,
) -> AsyncIterator[str]:
    """Send what changed, then read again. `read_at` is when the last read began."""
    sent: dict[int, datetime] = {}
    gone: set[int] = set()
    end = time.monotonic() + STREAM_SECONDS
    while True:
        if len(changes.arrived) == MAX_CHANGES and (shown | sent.keys()).isdisjoint(
            row.id for row in changes.arrived
        ):
            yield _event("many", read_at)  # the page may have missed some before these
        for row in sorted((*changes.arrived, *changes.changed), key=attrgetter("created_at", "id")):
            if sent.get(row.id) != row.updated_at:
                sent[row.id] = row.updated_at
                card = write("event.html", review=row)
                yield _event("review", read_at, id=row.id, product=row.product_name, card=card)
        for number in changes.gone - gone:
            yield _event("gone", read_at, id=number)
        gone |= changes.gone
        if time.monotonic() >= end or shutdown.has_begun:
            break
        await anyio.sleep(EVERY_SECONDS)
        now = utc_now()
        try:
            changes = await read(read_at)
        except HTTPException:
            yield _event("away", read_at)
            return
        read_at = now
    yield _event("end", read_at)


def _event(name: str, read_at: datetime, **values: Any) -> str:
    return f"id: {read_at.isoformat()}\nevent: {name}\ndata: {json.dumps(values)}\n\n"
