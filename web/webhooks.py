"""Twilio's two webhooks: a customer's message, and the delivery status of our confirmation."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute

from core.clock import utc_now
from core.logs import logger
from db.engine import Database
from ingest.idempotency import MessageSidTaken
from ingest.pending import ClientGone, InDoubt
from reviews import repository
from web.dependencies import run_with_timeout, services_of
from web.form_body import read_signed_form
from web.security.csrf import reject_cross_origin
from whatsapp.paths import NO_REVIEW, STATUS_CALLBACK, WEBHOOK
from whatsapp.statuses import StatusUpdate
from whatsapp.twiml import write_reply


class PlainRoute(APIRoute):
    """A route whose endpoint gets the request itself, without dependency injection.

    Injection took FastAPI longer than the message's turn takes us (docs/performance.md). In /docs
    it is a route like any other.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


router = APIRouter(tags=["Twilio"], route_class=PlainRoute)


def _form(required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    """Describe a form for /docs: required fields by an example, optional ones by a description.

    Optional fields have an empty example, otherwise Swagger sends the word "string" for them.
    """
    properties: dict[str, Any] = {}
    for name, example in required.items():
        properties[name] = {"type": "string", "example": example}
    for name, meaning in optional.items():
        properties[name] = {"type": "string", "example": "", "description": meaning}
    schema = {"type": "object", "required": list(required), "properties": properties}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


_REJECTIONS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field is missing, repeated or malformed, or the SID is another's."},
    403: {"description": "Wrong signature, another Twilio account, or a page of another origin."},
    408: {"description": "The body took longer than 5 s."},
    413: {"description": "The body has more than 128 KiB."},
    415: {"description": "The body is not `application/x-www-form-urlencoded`."},
    503: {"description": "The database did not answer in time. Send the request again."},
}


@router.post(
    WEBHOOK,
    summary="Receive a customer's WhatsApp message",
    response_class=Response,
    responses={
        200: {"description": "TwiML with at most one `<Message>`.", "content": {"text/xml": {}}},
        **_REJECTIONS,
    },
    openapi_extra=_form(
        {"From": "whatsapp:+15551234567", "Body": "Hi"},
        {
            "MessageSid": "Twilio's id of the message. Optional in a local environment.",
            "AccountSid": "Twilio's id of the account. Optional in a local environment.",
        },
    ),
)
async def receive_message(request: Request) -> Response:
    """Reply to a message and record the review that it finishes.

    A repeated `MessageSid` gets the stored reply and changes nothing.
    """
    await reject_cross_origin(request)
    services = services_of(request)
    form = await read_signed_form(request, services.twilio.public_url)
    message = services.twilio.parse_message(form)
    try:
        reply = await services.writer.submit(message, partial(_until_gone, request))
    except MessageSidTaken:
        logger.warning("rejected, another contact's SID sid=%s", message.sid)
        raise HTTPException(400, "Another contact has used this MessageSid.") from None
    except ClientGone:
        return Response(status_code=503)  # nobody reads it
    except InDoubt:
        raise HTTPException(503, "The database did not answer in time.") from None
    twiml = write_reply(reply.text, reply.confirms, services.twilio.public_url)
    return Response(twiml, media_type="text/xml")


async def _until_gone(request: Request) -> None:
    """Wait until the client closes its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.post(
    STATUS_CALLBACK,
    summary="Receive the delivery status of one of our messages",
    status_code=204,
    responses=_REJECTIONS,
    openapi_extra=_form(
        {"MessageSid": "SM00000000000000000000000000000001", "MessageStatus": "delivered"},
        {
            "ErrorCode": "Twilio's error number, if delivery failed.",
            "To": "The customer. In a local environment it selects the review.",
            "AccountSid": "Without it, in a local environment, the newest pending review is meant.",
        },
    ),
)
async def receive_status(request: Request) -> Response:
    """Update the status of the review that the message confirmed.

    A status never goes back (`read` stays). An unknown message gets 204 too, so that Twilio stops.
    """
    await reject_cross_origin(request)
    services = services_of(request)
    form = await read_signed_form(request, services.twilio.public_url)
    update = services.twilio.parse_status(form)
    request.app.state.callback_hint.notice(update)
    if update.status is not None:
        await run_with_timeout(_raise_status, services.database, update)
    return Response(status_code=204)


def _raise_status(database: Database, update: StatusUpdate) -> None:
    with database.write() as connection:
        review = repository.find_confirmed(connection, update.review, update.message_sid)
        if review is None and update.by_hand and update.review is None:
            review = repository.find_newest_pending(connection, update.contact)
        raised = review is not None and repository.raise_status(
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


class CallbackHint:
    """Warns once if callbacks lack the `review` that our callback URL contains."""

    PATIENCE = 20

    def __init__(self) -> None:
        self._without_review = 0
        self._is_settled = False

    def notice(self, update: StatusUpdate) -> None:
        if self._is_settled or update.by_hand or update.review == NO_REVIEW:
            return
        self._without_review += 1
        self._is_settled = update.review is not None or self._without_review == self.PATIENCE
        if update.review is None and self._is_settled:
            logger.warning(
                "%d status callbacks and none with review=: delivery statuses are lost. Remove the"
                " status callback URL of the sender or Messaging Service in the Twilio console.",
                self.PATIENCE,
            )
