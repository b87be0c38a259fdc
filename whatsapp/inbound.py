"""Parse Twilio's requests: check signature, account and fields, and return the message."""

import re
import uuid
from dataclasses import dataclass
from urllib.parse import parse_qsl

from conversation.model import Message
from core.logs import logger
from core.text import clean, is_blank
from whatsapp.address import parse_contact
from whatsapp.errors import InvalidRequest
from whatsapp.signature import canonical_form, is_signed
from whatsapp.statuses import FAILURES, STATUSES, StatusUpdate

_MESSAGE_SID = re.compile("(SM|MM)[0-9a-f]{32}")
_ACCOUNT_SID = re.compile("AC[0-9a-f]{32}")
# We name some rows ourselves: legacy-…, migrated-…, proof-….
_ANY_SID = re.compile("(?!legacy-|migrated-|proof-)[A-Za-z0-9_-]{1,64}")
_SIGNED_SID = re.compile("Sms(?:Message)?Sid((?:SM|MM)[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form as it was posted: its fields in order, the URL, and the header X-Twilio-Signature.

    `url` has no query; `query` has no question mark.
    """

    pairs: list[tuple[str, str]]
    url: str
    query: str
    signature: str


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """Our Twilio account. Without `auth_tokens` no signature is checked.

    `auth_tokens` are all tokens that are accepted, several while they rotate. `public_url` is the
    address that Twilio calls; None takes each request's own. With `is_local`, a request made by
    hand (curl, Swagger) may leave out the SIDs.
    """

    auth_tokens: tuple[str, ...] = ()
    account_sid: str | None = None
    public_url: str | None = None
    is_local: bool = False

    def parse_message(self, signed: SignedForm) -> Message:
        """Parse a customer's message. Raises InvalidRequest.

        https://www.twilio.com/docs/messaging/guides/webhook-request
        """
        form = self._check(signed, once=("From", "MessageSid", "AccountSid", "Body"))
        contact = parse_contact(form.get("From", ""))
        if not contact:
            raise InvalidRequest(400, "From is missing.")
        sid = self._parse_sid(form, "MessageSid", _MESSAGE_SID) or f"SM{uuid.uuid4().hex}"
        cleaned = (clean(form.get(name, "")) for name in ("Body", "ButtonText", "ListTitle"))
        self._require_account(form)
        return Message(
            sid=sid,
            contact=contact,
            text=next((text for text in cleaned if not is_blank(text)), ""),
            media=tuple(_parse_media(form)),
        )

    def parse_status(self, signed: SignedForm) -> StatusUpdate:
        """Parse a status callback. Raises InvalidRequest.

        https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
        """
        form = self._check(signed, once=("MessageSid", "AccountSid", "MessageStatus"))
        message_sid = self._parse_sid(form, "MessageSid", _MESSAGE_SID)
        by_hand = self._require_account(form) is None
        status = form.get("MessageStatus", "").lower()
        error_code = form.get("ErrorCode", "")
        review = dict(parse_qsl(signed.query)).get("review", "")
        return StatusUpdate(
            message_sid=message_sid,
            status=status if status in STATUSES else None,
            error_code=(
                int(error_code)
                if status in FAILURES and re.fullmatch("[0-9]{1,9}", error_code)
                else None
            ),
            review=clean(review) or None,
            contact=(parse_contact(form.get("To", "")) or None) if by_hand else None,
            by_hand=by_hand,
        )

    def _check(self, form: SignedForm, once: tuple[str, ...]) -> dict[str, str]:
        """Check the signature, and return the fields by name; of repeated ones the last.

        A field in `once` may not be repeated. Raises InvalidRequest.
        """
        signed = canonical_form(form.pairs) if self.auth_tokens else ""
        if self.auth_tokens and not self._is_signed(form, signed):
            logger.warning("rejected, signature url=%s", form.url)
            raise InvalidRequest(403, "The signature is not valid for this URL and form.")
        names = [name for name, _ in form.pairs]
        for name in once:
            if names.count(name) > 1:
                raise InvalidRequest(400, f"{name} is given {names.count(name)} times.")
        fields = dict(form.pairs)
        # The signed string has no delimiters. If a text contains names of fields, the same string
        # can be split into another form. But Twilio also sends the SID as SmsSid (in status
        # callbacks, too) and SmsMessageSid, and these stay somewhere in the signed string.
        if any(sid != fields.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):
            raise InvalidRequest(400, "MessageSid is not the signed one.")
        return fields

    def _is_signed(self, form: SignedForm, signed: str) -> bool:
        url = f"{form.url}?{form.query}" if form.query else form.url
        try:
            return is_signed(form.signature, self.auth_tokens, url, signed)
        except ValueError:  # the Host header has an invalid port
            return False

    def _parse_sid(self, form: dict[str, str], name: str, pattern: re.Pattern[str]) -> str | None:
        """Return a SID; None where a local request leaves it out. Raises InvalidRequest.

        Its form is checked because the signed string has no delimiters: an old request could be
        split differently, with a SID that contains the field after it, and pass as a new message.
        """
        sid = form.get(name, "")
        if not sid and self.is_local:
            return None
        allowed = _ANY_SID if self.is_local else pattern
        if not allowed.fullmatch(sid):
            raise InvalidRequest(400, f"{name} is {'malformed' if sid else 'missing'}.")
        return sid

    def _require_account(self, form: dict[str, str]) -> str | None:
        """Return the AccountSid. Raises InvalidRequest if it is another account's."""
        account_sid = self._parse_sid(form, "AccountSid", _ACCOUNT_SID)
        if account_sid and self.account_sid and account_sid != self.account_sid:
            logger.warning("rejected, another account account=%s", account_sid)
            raise InvalidRequest(403, "The request is from another Twilio account.")
        return account_sid


def _parse_media(form: dict[str, str]) -> list[tuple[str, str]]:
    """Return URL and media type of each attachment."""
    media: list[tuple[str, str]] = []
    while url := clean(form.get(f"MediaUrl{len(media)}", "")):
        media.append((url, clean(form.get(f"MediaContentType{len(media)}", ""))))
    return media
