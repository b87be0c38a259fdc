"""The Twilio edge: is this request Twilio's, what does it say, and how do we answer."""

import re
import uuid
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from fastapi import HTTPException, Request

from conversation.model import Message
from core.logs import logger
from core.pseudonym import FORGOTTEN
from core.text import clean, is_blank
from signature import in_a_row, is_signed
from web.form_body import read_pairs

WEBHOOK = "/webhook"

STATUS_CALLBACK = "/twilio-status-callback"

NO_REVIEW = "none"
"""What the doctor's callback names, to see whether a query arrives as it was signed."""

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'

MOST_CONTACT_CHARACTERS = 150

STATUSES = (
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "canceled",
    "undelivered",
    "failed",
    "delivered",
    "read",
)
"""Delivery statuses in order of rank: callbacks come in any order, and only a higher one counts.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

FAILURES = frozenset({"canceled", "undelivered", "failed"})

_MESSAGE_SID = re.compile("(SM|MM)[0-9a-f]{32}")

_ACCOUNT_SID = re.compile("AC[0-9a-f]{32}")

_ANY_SID = re.compile("(?!legacy-|migrated-|proof-)[A-Za-z0-9_-]{1,64}")  # what we name ourselves

_SIGNED_SID = re.compile("Sms(?:Message)?Sid((?:SM|MM)[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What Twilio tells of one of our messages.

    `status` is None where it is one we don't know. `review` is the conversation whose review the
    message confirms. `by_hand` marks a developer's callback, whose `contact` picks the review.
    """

    message_sid: str | None
    status: str | None
    error_code: int | None
    review: str | None
    contact: str | None
    by_hand: bool = False

    @property
    def lower_statuses(self) -> tuple[str, ...]:
        """The statuses of Twilio's that this one replaces."""
        return STATUSES[: STATUSES.index(self.status)] if self.status else ()


@dataclass(frozen=True, slots=True)
class Twilio:
    """What we know of our side of the line; without `auth_tokens` no signature is checked.

    In a local environment a request made by hand (curl, Swagger) may leave out the SIDs.
    """

    auth_tokens: tuple[str, ...] = ()
    account_sid: str | None = None
    public_url: str | None = None
    is_local: bool = False

    async def read_message(self, request: Request) -> Message:
        """Read a customer's message. Raises HTTPException where it is not one of Twilio's.

        https://www.twilio.com/docs/messaging/guides/webhook-request
        """
        form = await self._read_form(request, once=("From", "MessageSid", "AccountSid", "Body"))
        contact = _read_contact(form.get("From", ""))
        if not contact:
            raise HTTPException(400, "From is missing.")
        sid = self._read_sid(form, "MessageSid", _MESSAGE_SID) or f"SM{uuid.uuid4().hex}"
        cleaned = (clean(form.get(name, "")) for name in ("Body", "ButtonText", "ListTitle"))
        self._insist_on_account(form)
        return Message(
            sid=sid,
            contact=contact,
            text=next((text for text in cleaned if not is_blank(text)), ""),
            media=tuple(_read_media(form)),
        )

    async def read_status(self, request: Request) -> StatusUpdate:
        """Read a status callback. Raises HTTPException where it is not one of Twilio's."""
        form = await self._read_form(request, once=("MessageSid", "AccountSid", "MessageStatus"))
        message_sid = self._read_sid(form, "MessageSid", _MESSAGE_SID)
        by_hand = self._insist_on_account(form) is None
        status = form.get("MessageStatus", "").lower()
        error_code = form.get("ErrorCode", "")
        return StatusUpdate(
            message_sid=message_sid,
            status=status if status in STATUSES else None,
            error_code=(
                int(error_code)
                if status in FAILURES and re.fullmatch("[0-9]{1,9}", error_code)
                else None
            ),
            review=clean(request.query_params.get("review", "")) or None,
            contact=(_read_contact(form.get("To", "")) or None) if by_hand else None,
            by_hand=by_hand,
        )

    def write_reply(self, text: str, confirms: str | None = None) -> str:
        """Write TwiML with one <Message>, or with none where there is nothing to say.

        `action` and `statusCallback` are both set since WhatsApp accounts honour one or the other:
        https://www.twilio.com/docs/messaging/twiml/message. They carry the conversation whose
        review is confirmed, as nobody tells us the SID of a TwiML reply.
        """
        if not text:
            return f"{XML_DECLARATION}<Response />"
        attributes = ""
        if confirms:
            # Relative, it is resolved against the webhook's own address.
            base = f"{self.public_url}/" if self.public_url else ""
            callback = quoteattr(f"{base}{STATUS_CALLBACK[1:]}?review={confirms}")
            attributes = f" action={callback} statusCallback={callback}"
        message = f"<Message{attributes}>{escape(text)}</Message>"
        return f"{XML_DECLARATION}<Response>{message}</Response>"

    async def _read_form(self, request: Request, once: tuple[str, ...]) -> dict[str, str]:
        """Read a signed form. Fields in `once` may not be repeated; of others the last counts."""
        pairs = await read_pairs(request)
        signed = in_a_row(pairs) if self.auth_tokens else ""
        if self.auth_tokens and not self._is_signed(request, signed):
            logger.warning("refused, signature path=%s", request.url.path)
            raise HTTPException(403, "Not signed by Twilio for this address.")
        names = [name for name, _ in pairs]
        for name in once:
            if names.count(name) > 1:
                raise HTTPException(400, f"{name} comes {names.count(name)} times.")
        form = dict(pairs)
        # Cut anew, a signed form whose text holds the names of fields could be another message; but
        # Twilio writes its SID under other names too, SmsSid also in a status callback, and these
        # stay somewhere in what is signed.
        if any(sid != form.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):
            raise HTTPException(400, "MessageSid is not the one that was signed.")
        return form

    def _is_signed(self, request: Request, fields: str) -> bool:
        signature = request.headers.get("x-twilio-signature", "")
        try:
            return is_signed(signature, self.auth_tokens, self._signed_url(request), fields)
        except ValueError:  # a Host whose port is no port
            return False

    def _signed_url(self, request: Request) -> str:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        query = request.scope["query_string"].decode("latin-1")
        if self.public_url:
            base = self.public_url
        else:  # local only: the tunnel's word is good enough where a forger needs the token anyway
            headers = request.headers
            scheme = headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
            host = headers.get("x-forwarded-host", headers.get("host", "")).partition(",")[0]
            base = f"{scheme}://{host.strip()}"
        return f"{base}{path}?{query}" if query else f"{base}{path}"

    def _read_sid(self, form: dict[str, str], name: str, twilios: re.Pattern[str]) -> str | None:
        """Read a SID; None where a local environment does without.

        Its form is checked because the signed string has no delimiters: fields could be cut anew,
        and an old message come again under a SID that has swallowed its neighbour.
        """
        sid = form.get(name, "")
        if not sid and self.is_local:
            return None
        good = _ANY_SID if self.is_local else twilios
        if not good.fullmatch(sid):
            raise HTTPException(400, f"{name} is {'malformed' if sid else 'missing'}.")
        return sid

    def _insist_on_account(self, form: dict[str, str]) -> str | None:
        account_sid = self._read_sid(form, "AccountSid", _ACCOUNT_SID)
        if account_sid and self.account_sid and account_sid != self.account_sid:
            logger.warning("refused, another account account=%s", account_sid)
            raise HTTPException(403, "Another Twilio account's message.")
        return account_sid


def contact_of(address: str) -> str:
    """Cut an address of Twilio's, `whatsapp:+15551234567`, down to the contact."""
    number = address[9:] if address[:9].lower() == "whatsapp:" else address
    contact = clean(number)
    # A plus sign that curl's -d left unencoded arrives as a space.
    return f"+{contact}" if re.match(" [0-9]", number) else contact


def _read_contact(address: str) -> str:
    contact = contact_of(address)
    if len(contact) > MOST_CONTACT_CHARACTERS:
        raise HTTPException(400, f"An address has {MOST_CONTACT_CHARACTERS} characters at most.")
    if contact.startswith(FORGOTTEN):  # a pseudonym of ours, in the place of a forgotten number
        raise HTTPException(400, "This is no address.")
    return contact


def _read_media(form: dict[str, str]) -> list[tuple[str, str]]:
    media: list[tuple[str, str]] = []
    while url := clean(form.get(f"MediaUrl{len(media)}", "")):
        media.append((url, clean(form.get(f"MediaContentType{len(media)}", ""))))
    return media
