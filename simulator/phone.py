"""`/phone`: a phone in the browser, whose messages take the same route as Twilio's.

Only for a developer's own machine: in production main.py leaves this module out.
"""

import mimetypes
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from conversation.model import State
from conversation.wording import APOLOGY
from core.settings import Settings
from db.engine import name_of
from simulator.fake_twilio import ACCOUNT_SID, Simulator, message_form
from simulator.phone_records import Records, read_records
from simulator.twiml_reader import NotAnswered, read_twiml
from web.dependencies import run_with_timeout, services_of
from web.pages import rendering
from web.security.local_only import require_this_machine
from whatsapp.paths import STATUS_CALLBACK, WEBHOOK

router = APIRouter(
    prefix="/phone", include_in_schema=False, dependencies=[Depends(require_this_machine)]
)

mimetypes.add_type("text/javascript", ".js")  # Windows may differ, and modules need this type

# Its own threads: while the simulator waits for a status callback, that needs one of the others.
_threads = CapacityLimiter(8)


@router.get("")
async def show_phone(request: Request) -> HTMLResponse:
    settings: Settings = request.app.state.settings
    return rendering.page(
        request,
        "phone.html",
        store=settings.conversation_store,
        database=name_of(settings.database_url),
        is_checked=bool(services_of(request).twilio.auth_tokens),
        states=[state.value for state in State],
    )


Sid = Annotated[str, Field(pattern="^(SM|MM)[0-9a-f]{32}$")]


class OfContact(BaseModel):
    model_config = ConfigDict(extra="forbid")

    contact: Annotated[str, Field(pattern="^[+][0-9]{5,15}$")]

    @model_validator(mode="before")
    @classmethod
    def _drop_lone_surrogates(cls, fields: object) -> object:
        """Replace lone surrogates as a browser's form does: no JSON answer can contain them."""
        if not isinstance(fields, dict):
            return fields
        return {_encodable(name): _encodable(value) for name, value in fields.items()}


def _encodable(value: object) -> object:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


class Said(OfContact):
    """What the customer sends. With a known SID it is a repeat."""

    sid: Sid
    kind: Literal["text", "photo", "voice", "location"] = "text"
    text: Annotated[str, Field(max_length=20_000)] = ""
    forged: bool = False
    """Sign with another token than ours."""


def _require_address(callback: str) -> str:
    urlsplit(callback)  # raises ValueError
    return callback


class Reported(OfContact):
    """A delivery status, for the address in our message's TwiML."""

    sid: Sid
    callback: Annotated[str, Field(max_length=1_000), AfterValidator(_require_address)]
    status: Literal["sent", "delivered", "read", "undelivered"]


@router.post("/messages")
async def send_message(request: Request, said: Said) -> dict[str, Any]:
    def send(twilio: Simulator) -> Any:
        return twilio.post(WEBHOOK, {**fill_in(said), "AccountSid": twilio.account_sid})

    return await _play(request, said, send)


@router.post("/statuses")
async def report_status(request: Request, told: Reported) -> dict[str, Any]:
    def report(twilio: Simulator) -> Any:
        return twilio.report(told.callback, told.contact, told.sid, told.status)

    return await _play(request, told, report)


@router.post("/records")
async def show_records(request: Request, of: OfContact) -> Records:
    return await _read_records(request, of.contact)


def fill_in(said: Said) -> dict[str, str]:
    """Fill in Twilio's form. The same message always makes the same form, as a repeat must."""
    account = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}"
    media = f"{account}/Messages/{said.sid}/Media/ME{said.sid[2:]}"
    of_kind = {
        "text": {},
        "photo": {"MessageType": "image", "MediaContentType0": "image/jpeg"},
        "voice": {"MessageType": "audio", "MediaContentType0": "audio/ogg"},
        "location": {"MessageType": "location", "Latitude": "52.3676", "Longitude": "4.9041"},
    }[said.kind]
    if "MediaContentType0" in of_kind:
        of_kind |= {"NumMedia": "1", "MediaUrl0": media}
    return message_form(said.contact, said.text, MessageSid=said.sid, **of_kind)


class Line:
    """The simulator's HTTP client: it reaches this app's two webhooks and nothing else.

    Requests stay in this process, without a socket. So no Host or callback can lead elsewhere, and
    a single worker does not wait for itself: the simulator runs in a thread, and the event loop
    answers it. Without PUBLIC_URL, the address requested is also the one that is signed.
    """

    def __init__(self, app: Any) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost", trust_env=False
        )
        self.base_url = self._client.base_url
        self.posted: dict[str, Any] = {}
        """The last request."""

    def post(self, path: str, data: dict[str, str], headers: dict[str, str]) -> httpx.Response:
        if urlsplit(path).path not in {WEBHOOK, STATUS_CALLBACK}:
            raise HTTPException(422, "The callback is not one of our webhooks.")
        is_signed = "X-Twilio-Signature" in headers
        self.posted = {"path": path, "fields": data, "is_signed": is_signed}
        return from_thread.run(partial(self._client.post, path, data=data, headers=headers))


async def _play(
    request: Request, about: OfContact, act: Callable[[Simulator], Any]
) -> dict[str, Any]:
    """Let the simulator act. Return what it posted, the answer, and the contact's rows."""
    services = services_of(request)
    line = Line(request.app)
    is_forged = isinstance(about, Said) and about.forged
    twilio = Simulator(
        line,
        auth_token="forged" if is_forged else next(iter(services.twilio.auth_tokens), ""),
        public_url=services.twilio.public_url or "",
        account_sid=services.twilio.account_sid or ACCOUNT_SID,
    )
    began = time.monotonic()
    response = await to_thread.run_sync(act, twilio, limiter=_threads)
    return {
        "request": {**line.posted, "is_forged": is_forged},
        "answer": {**_read(response), "milliseconds": 1000 * (time.monotonic() - began)},
        "records": await _read_records(request, about.contact),
    }


async def _read_records(request: Request, contact: str) -> Records:
    settings: Settings = request.app.state.settings
    database = services_of(request).database
    return await run_with_timeout(read_records, database, contact, settings.conversation_ttl)


def _read(response: httpx.Response) -> dict[str, Any]:
    """Read an answer as Twilio does. `words` is None if the customer would see nothing."""
    answer: dict[str, Any] = {"status": response.status_code, "body": response.text}
    answer |= {"words": None, "callback": None, "trouble": "", "is_apology": False}
    if response.status_code == 204:
        return answer
    try:
        twiml = read_twiml(response)
    except NotAnswered as error:
        return {**answer, "trouble": str(error)}
    is_apology = twiml.text == APOLOGY
    return {**answer, "words": twiml.text, "callback": twiml.callback, "is_apology": is_apology}
