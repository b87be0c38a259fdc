"""The HTTP surface for programs: Twilio's two webhooks, the reviews, and health."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import anyio
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import text
from sqlalchemy.engine import Row

import reviews
import whatsapp
from access import require_owner
from collector import Collector
from logs import logger
from models import OUTAGES, Database, utc_now
from reviews import Cursor
from waiting_room import MessageSidTaken, OutcomeUnknown
from whatsapp import StatusUpdate, Twilio

DATABASE_SECONDS = 5.0
"""How long a request may wait for the database; a frozen server answers no time-out of its own."""


@dataclass(slots=True)
class Services:
    """What the routes work with; main.py puts it together."""

    database: Database
    collector: Collector
    twilio: Twilio
    callbacks_without_review: int = 0
    """How many callbacks have come while none had `review=`; -1 once one had, or we told."""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Here = Annotated[Services, Depends(_services)]

T = TypeVar("T")

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
        description="Delivery of the confirmation: " + ", ".join(whatsapp.STATUSES) + ".",
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


def _form(required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    """Describe a form for /docs: required fields with an example, optional ones with a meaning.

    The optional ones have an empty example, as Swagger would send the word "string" for them.
    """
    properties: dict[str, Any] = {}
    for name, example in required.items():
        properties[name] = {"type": "string", "example": example}
    for name, meaning in optional.items():
        properties[name] = {"type": "string", "example": "", "description": meaning}
    schema = {"type": "object", "required": list(required), "properties": properties}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field is missing, repeated or malformed, or the SID is another's."},
    403: {"description": "Not signed by Twilio for this address, or another account's."},
    413: {"description": "More than 128 KiB."},
    415: {"description": "Not application/x-www-form-urlencoded."},
    503: {"description": "The database did not answer in time: send it again."},
}


@router.post(
    whatsapp.WEBHOOK,
    tags=["Twilio"],
    summary="Take a customer's WhatsApp message",
    response_class=Response,
    responses={
        200: {"description": "TwiML, at most one Message.", "content": {"text/xml": {}}},
        **_REFUSALS,
    },
    openapi_extra=_form(
        {"From": "whatsapp:+15551234567", "Body": "Hi"},
        {
            "MessageSid": "Twilio's id of the message; a local environment makes one up.",
            "AccountSid": "Twilio's id of the account; a local environment does without.",
        },
    ),
)
async def receive_message(request: Request, here: Here) -> Response:
    """Answer one message, and record the review that it finishes, once under its MessageSid."""
    message = await here.twilio.read_message(request)
    try:
        reply = await here.collector.reply_to(message)
    except MessageSidTaken:
        logger.warning("refused, another contact's SID sid=%s", message.sid)
        raise HTTPException(400, "Another contact has used this MessageSid.") from None
    except OutcomeUnknown:
        raise HTTPException(503, "The database did not answer in time.") from None
    twiml = here.twilio.write_reply(reply.text, reply.confirms)
    return Response(twiml, media_type="text/xml")


@router.post(
    whatsapp.STATUS_CALLBACK,
    tags=["Twilio"],
    summary="Take the delivery status of one of our messages",
    status_code=204,
    responses=_REFUSALS,
    openapi_extra=_form(
        {"MessageSid": "SM00000000000000000000000000000001", "MessageStatus": "delivered"},
        {
            "ErrorCode": "Why delivery failed, as a number.",
            "To": "The customer; in a local environment picks the review.",
            "AccountSid": "Left out, in a local environment, the newest pending review is meant.",
        },
    ),
)
async def receive_status(request: Request, here: Here) -> Response:
    """Raise the status of the review that the message confirmed; 204 for the unknown as well."""
    update = await here.twilio.read_status(request)
    if not update.by_hand:
        _notice_callbacks_without_review(here, update)
    if update.status is not None:
        await _in_time(_raise_status, here.database, update)
    return Response(status_code=204)


def _raise_status(database: Database, update: StatusUpdate) -> None:
    with database.write() as connection:
        if update.by_hand and update.review is None:
            review = reviews.find_newest_pending(connection, update.contact)
        else:
            review = reviews.find_confirmed(connection, update.review, update.message_sid)
        raised = review is not None and reviews.raise_status(
            connection,
            review,
            update.status or "",
            lower=update.lower_statuses,
            message_sid=update.message_sid,
            error_code=update.error_code,
            now=utc_now(),
        )
    if raised:
        logger.info(
            "status %s review=%s sid=%s error=%s",
            update.status,
            review,
            update.message_sid,
            update.error_code,
        )


def _notice_callbacks_without_review(here: Services, update: StatusUpdate) -> None:
    """Tell the owner once when another callback URL than ours, which names the review, is used."""
    if update.review is not None or here.callbacks_without_review < 0:
        here.callbacks_without_review = -1
        return
    here.callbacks_without_review += 1
    if here.callbacks_without_review == 20:
        here.callbacks_without_review = -1
        logger.warning(
            "20 status callbacks and none with review=: no delivery status can be told."
            " Remove the status callback URL of the sender or Messaging Service in the console."
        )


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
        first = await _in_time(next, pages, ())
        return StreamingResponse(_stream(first, pages), media_type="application/json")
    rows = await _in_time(reviews.page, here.database, after, limit + 1)
    headers = {}
    if len(rows) > limit:
        rows = rows[:limit]
        query = urlencode({"limit": limit, "cursor": str(Cursor.after(rows[-1]))})
        base = here.twilio.public_url or str(request.base_url).rstrip("/")
        headers["Link"] = f'<{base}/api/reviews?{query}>; rel="next"'
    return Response(_json(rows), media_type="application/json", headers=headers)


def _json(rows: Sequence[Row[Any]]) -> bytes:
    return _items.dump_json(_items.validate_python(rows, from_attributes=True))


def _stream(first: Sequence[Row[Any]], rest: Iterator[Sequence[Row[Any]]]) -> Iterator[bytes]:
    yield b"[" + _json(first)[1:-1]
    for rows in rest:
        yield b"," + _json(rows)[1:-1]
    yield b"]"


async def _in_time(action: Callable[..., T], *arguments: Any) -> T:
    """Run database work in a thread, for DATABASE_SECONDS at most. Raises HTTPException 503."""
    try:
        with anyio.fail_after(DATABASE_SECONDS):
            return await anyio.to_thread.run_sync(action, *arguments, abandon_on_cancel=True)
    except (TimeoutError, *OUTAGES) as error:
        logger.error("database away for a request: %s", type(error).__name__)
        raise HTTPException(503, "The database is away.") from None


class Health(BaseModel):
    status: str


@router.get("/healthz", tags=["Health"], summary="Alive?", response_model=Health)
async def healthz() -> dict[str, str]:
    """Say that the process serves."""
    return {"status": "alive"}


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
        ready = await _in_time(_is_ready, here)
    except HTTPException:
        ready = False
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


def _is_ready(here: Services) -> bool:
    with here.database.read() as connection:
        connection.execute(text("SELECT 1"))
    return here.collector.is_able()
