"""Play Twilio and a customer against any base URL: for people by hand, and for the tests."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

import httpx
from twilio.request_validator import RequestValidator

from audit.client_history import ClientHistory
from simulator.twiml_reader import Answer, NotAnswered, read_twiml

ACCOUNT_SID = "AC" + "0" * 32

SENDER = "whatsapp:+14155238886"
"""Twilio's sandbox number."""

TWILIO_SECONDS = 15.0
"""What Twilio waits for an answer at most, retries included."""


def new_sid(prefix: str = "SM") -> str:
    return prefix + uuid.uuid4().hex


def message_form(contact: str, text: str, **changes: str | None) -> dict[str, str]:
    """Fill in the form of a WhatsApp message as Twilio sends it; None in `changes` leaves one out.

    https://www.twilio.com/docs/messaging/guides/webhook-request
    """
    sid = changes.pop("MessageSid", None) or new_sid("MM" if "MediaUrl0" in changes else "SM")
    form: dict[str, str | None] = {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": "Ana & Co",
        "MessageType": "text",
        "SmsSid": sid,
        "WaId": contact.lstrip("+"),
        "SmsStatus": "received",
        "Body": text,
        "To": SENDER,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": ACCOUNT_SID,
        "From": f"whatsapp:{contact}",
        "ApiVersion": "2010-04-01",
        **changes,
    }
    return {name: value for name, value in form.items() if value is not None}


def photo_form(contact: str, caption: str = "") -> dict[str, str]:
    """Fill in the form of a photo."""
    sid = new_sid("MM")
    account = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}"
    return message_form(
        contact,
        caption,
        MessageSid=sid,
        MessageType="image",
        NumMedia="1",
        MediaContentType0="image/jpeg",
        MediaUrl0=f"{account}/Messages/{sid}/Media/{new_sid('ME')}",
    )


@dataclass(slots=True)
class Simulator:
    """Twilio, as far as a webhook can tell. `client` has the base URL that it connects to.

    Requests are signed for `public_url`, or for that base URL, where there is a token.
    """

    client: (
        Any  # an httpx.Client with its time-out, or Starlette's TestClient, which may be httpx2's
    )
    auth_token: str = ""
    public_url: str = ""
    account_sid: str = ACCOUNT_SID
    attempts: int = 1
    """How often a message is delivered under the same SID until it is answered."""
    pause_seconds: float = 0.1
    client_history: ClientHistory = field(default_factory=ClientHistory)
    """What was told to customers, and which statuses were acknowledged."""

    def __post_init__(self) -> None:
        self.public_url = (self.public_url or str(self.client.base_url)).rstrip("/")

    def post(self, path: str, form: Mapping[str, str]) -> Any:
        """Post a form as Twilio does: `path` may have a query, which is signed as well."""
        headers = {
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": str(uuid.uuid4()),
        }
        if self.auth_token:
            signer = RequestValidator(self.auth_token)
            signature = signer.compute_signature(self.public_url + path, dict(form))
            headers["X-Twilio-Signature"] = signature
        response = None
        try:
            response = self.client.post(path, data=dict(form), headers=headers)
        finally:
            self._note(urlsplit(path), form, response)
        return response

    def _note(self, url: SplitResult, form: Mapping[str, str], response: Any) -> None:
        if url.path == "/webhook" and "MessageSid" in form:
            try:
                words = None if response is None else read_twiml(response).text or ""
            except NotAnswered:
                words = None
            self.client_history.note_answer(form["MessageSid"], words)
        elif response is not None and response.status_code == 204:
            for conversation_id in parse_qs(url.query).get("review", []):
                self.client_history.note_status(conversation_id, form.get("MessageStatus", ""))

    def deliver(self, form: Mapping[str, str]) -> Answer:
        """Deliver a message until it is answered. Raises NotAnswered after the last attempt."""
        return read_twiml(self._post_until_answered("/webhook", form))

    def _post_until_answered(self, path: str, form: Mapping[str, str]) -> Any:
        form = {**form, "AccountSid": self.account_sid}
        for attempts_left in reversed(range(self.attempts)):
            try:
                response = self.post(path, form)
                if response.status_code < 500 or not attempts_left:
                    return response
            except httpx.TransportError as error:
                if not attempts_left:
                    raise NotAnswered(f"{type(error).__name__}: {error}") from None
            time.sleep(self.pause_seconds)
        raise ValueError("attempts is at least 1")

    def report(
        self, callback: str, contact: str, sid: str, status: str, error_code: str | None = None
    ) -> Any:
        """Send the status callback of one of our messages to the address that its TwiML named.

        Raises NotAnswered where no connection can be made. See
        https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
        """
        url = urlsplit(urljoin(f"{self.public_url}/webhook", callback))
        path = url.path.removeprefix(urlsplit(self.public_url).path)
        form = {
            "SmsSid": sid,
            "SmsStatus": status,
            "MessageStatus": status,
            "ChannelToAddress": contact[:-4] + "XXXX",
            "To": f"whatsapp:{contact}",
            "ChannelPrefix": "whatsapp",
            "MessageSid": sid,
            "From": SENDER,
            "ApiVersion": "2010-04-01",
        }
        if status in {"delivered", "read"}:
            form["EventType"] = status.upper()
        if error_code is not None:
            form["ErrorCode"] = error_code
        return self._post_until_answered(f"{path}?{url.query}" if url.query else path, form)
