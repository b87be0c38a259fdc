"""What Twilio sends us: is it signed, is it complete, and what does it say."""

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
_ANY_SID = re.compile("(?!legacy-|migrated-|proof-)[A-Za-z0-9_-]{1,64}")  # what we name ourselves
_SIGNED_SID = re.compile("Sms(?:Message)?Sid((?:SM|MM)[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form as it was posted: its fields in order, the address without query, the signature."""

    pairs: list[tuple[str, str]]
    url: str
    query: str
    signature: str


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """What we know of our side of the line; without `auth_tokens` no signature is checked.

    In a local environment a request made by hand (curl, Swagger) may leave out the SIDs.
    """

    auth_tokens: tuple[str, ...] = ()
    account_sid: str | None = None
    public_url: str | None = None
    is_local: bool = False

    def parse_message(self, signed: SignedForm) -> Message:
        """Read a customer's message. Raises InvalidRequest.

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
        """Read a status callback. Raises InvalidRequest."""
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
        """Check the signature. Fields in `once` may not be repeated; of others the last counts."""
        signed = canonical_form(form.pairs) if self.auth_tokens else ""
        if self.auth_tokens and not self._is_signed(form, signed):
            logger.warning("rejected, signature url=%s", form.url)
            raise InvalidRequest(403, "Not signed by Twilio for this address.")
        names = [name for name, _ in form.pairs]
        for name in once:
            if names.count(name) > 1:
                raise InvalidRequest(400, f"{name} comes {names.count(name)} times.")
        fields = dict(form.pairs)
        # Cut anew, a signed form whose text holds the names of fields could be another message; but
        # Twilio writes its SID under other names too, SmsSid also in a status callback, and these
        # stay somewhere in what is signed.
        if any(sid != fields.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):
            raise InvalidRequest(400, "MessageSid is not the one that was signed.")
        return fields

    def _is_signed(self, form: SignedForm, signed: str) -> bool:
        url = f"{form.url}?{form.query}" if form.query else form.url
        try:
            return is_signed(form.signature, self.auth_tokens, url, signed)
        except ValueError:  # a Host whose port is no port
            return False

    def _parse_sid(self, form: dict[str, str], name: str, twilios: re.Pattern[str]) -> str | None:
        """Read a SID; None where a local environment does without.

        Its form is checked because the signed string has no delimiters: fields could be cut anew,
        and an old message come again under a SID that has swallowed its neighbour.
        """
        sid = form.get(name, "")
        if not sid and self.is_local:
            return None
        good = _ANY_SID if self.is_local else twilios
        if not good.fullmatch(sid):
            raise InvalidRequest(400, f"{name} is {'malformed' if sid else 'missing'}.")
        return sid

    def _require_account(self, form: dict[str, str]) -> str | None:
        account_sid = self._parse_sid(form, "AccountSid", _ACCOUNT_SID)
        if account_sid and self.account_sid and account_sid != self.account_sid:
            logger.warning("rejected, another account account=%s", account_sid)
            raise InvalidRequest(403, "Another Twilio account's message.")
        return account_sid


def _parse_media(form: dict[str, str]) -> list[tuple[str, str]]:
    media: list[tuple[str, str]] = []
    while url := clean(form.get(f"MediaUrl{len(media)}", "")):
        media.append((url, clean(form.get(f"MediaContentType{len(media)}", ""))))
    return media
