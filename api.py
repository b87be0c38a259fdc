"""The HTTP surface for programs: the reviews, and health. Twilio's side is in webhooks.py."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy.engine import Row

import message_log
import reviews
import whatsapp
from access import require_owner
from reviews import Cursor
from services import Here, Services, in_time

router = APIRouter()


class ReviewItem(BaseModel):
    """A finished review."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    contact_number: str = Field(
        description="Without the `whatsapp:` prefix.", examples=["+15551234567"]
    )
    user_name: str = Field(examples=["Sarah"])
    product_name: str = Field(examples=["iPhone 15"])
    product_review: str = Field(examples=["Amazing battery life."])
    status: str = Field(
        description="Delivery of the confirmation: "
        + ", ".join([reviews.PENDING, *whatsapp.STATUSES])
        + ".",
        examples=["delivered"],
    )
    created_at: AwareDatetime = Field(description="When the review was finished, UTC.")
    conversation_id: str = Field(description="SID of the message that opened the conversation.")
    message_sid: str | None = Field(description="SID of our confirmation, once Twilio told it.")
    error_code: int | None = Field(
        description="https://www.twilio.com/docs/api/errors, where delivery failed."
    )
    updated_at: AwareDatetime


_items = TypeAdapter(list[ReviewItem])


@router.get(
    "/api/reviews",
    tags=["Reviews"],
    summary="List reviews, newest first",
    dependencies=[Depends(require_owner)],
    response_model=list[ReviewItem],
    responses={
        200: {
            "headers": {
                "Link": {
                    "description": 'With `limit`: the next page, `<…>; rel="next"` (RFC 8288).',
                    "schema": {"type": "string"},
                }
            }
        },
        401: {"description": "No key, or a wrong one."},
        503: {"description": "The database is away."},
    },
)
async def list_reviews(
    request: Request,
    here: Here,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="Left out: all, in one streamed array.")
    ] = None,
    cursor: Annotated[
        str | None, Query(description="Where the page before ended, from its Link header.")
    ] = None,
) -> Response:
    """Read all reviews as one JSON array, however many, or a page of them."""
    try:
        after = Cursor.parse(cursor) if cursor else None
    except ValueError as error:
        raise HTTPException(422, f"cursor: {error}") from None
    if limit is None:
        pages = reviews.pages(here.database, after)
        # The first page is read before the status is sent: a database that is away is a 503.
        first = await in_time(next, pages, ())
        return StreamingResponse(_stream(first, pages), media_type="application/json")
    rows = await in_time(reviews.page, here.database, after, limit + 1)
    headers = {}
    if len(rows) > limit:
        rows = rows[:limit]
        query = urlencode({"limit": limit, "cursor": str(Cursor.after(rows[-1]))})
        # A developer reads on this machine, whatever address Twilio calls.
        base = None if here.twilio.is_local else here.twilio.public_url
        base = base or str(request.base_url).rstrip("/")
        headers["Link"] = f'<{base}/api/reviews?{query}>; rel="next"'
    return Response(_json(rows), media_type="application/json", headers=headers)


def _json(rows: Sequence[Row[Any]]) -> bytes:
    return _items.dump_json(_items.validate_python(rows, from_attributes=True))


def _stream(first: Sequence[Row[Any]], rest: Iterator[Sequence[Row[Any]]]) -> Iterator[bytes]:
    yield b"[" + _json(first)[1:-1]
    for rows in rest:
        yield b"," + _json(rows)[1:-1]
    yield b"]"


class Health(BaseModel):
    status: str


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["Health"], summary="Alive?", response_model=Health)
async def healthz() -> dict[str, str]:
    """Say that the process serves."""
    return {"status": "alive"}


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["Health"],
    summary="Able to record?",
    response_model=Health,
    responses={503: {"model": Health, "description": "Not now; /healthz may be green."}},
)
async def readyz(here: Here) -> Response:
    """Say whether a message that comes now would be recorded."""
    try:
        ready = await in_time(_is_ready, here)
    except HTTPException:
        ready = False
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


def _is_ready(here: Services) -> bool:
    if not here.collector.is_able():
        return False
    with here.database.write() as connection:
        message_log.prove_writable(connection)
    return True
