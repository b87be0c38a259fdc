"""A signed form cut anew: the signed text has no delimiters, and its words may be the forger's."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conversation.model import Message
from simulator.fake_twilio import message_form
from tests.conftest import PUBLIC_URL, TOKEN
from tests.support.captures import FORM, SENT, logged, post_unsigned, sign
from web.form_body import read_signed_form
from whatsapp.errors import InvalidRequest
from whatsapp.inbound import TwilioAccount
from whatsapp.signature import canonical_form

Pairs = Sequence[tuple[str, str]]

SID, ANOTHER_SID = "SM" + "a" * 32, "SM" + "b" * 32
FORGER, VICTIM = "+15550000001", "+15550000002"
SWALLOWED = f"hiFromwhatsapp:{VICTIM}MessageSid{ANOTHER_SID}Z"
"""What a forger writes on WhatsApp: Z's value will be the rest of the signed text."""


def signed_form(text: str, **changes: str) -> dict[str, str]:
    return message_form(FORGER, text, MessageSid=SID, **changes)


def cut(text: str, places: Sequence[tuple[int, int]]) -> Pairs:
    """Cut a signed text at these places, each where a name begins and where it ends."""
    ends = [*(start for start, _ in places[1:]), len(text)]
    return [
        (text[start:middle], text[middle:end])
        for (start, middle), end in zip(places, ends, strict=True)
    ]


MESSAGE_NAMES = ["AccountSid", "ApiVersion", "Body", "From", "MessageSid", "Z"]


def forged(text: str, names: Sequence[str] = MESSAGE_NAMES) -> Pairs:
    """Cut at these names, each where it first comes: another message, where one said SWALLOWED."""
    places, at = [], 0
    for name in names:
        at = text.index(name, at)
        places.append((at, at + len(name)))
        at += len(name)
    return cut(text, places)


def test_words_that_hold_fields_make_no_other_message_of_a_signed_one(
    production: TestClient,
) -> None:
    honest = signed_form(SWALLOWED)
    pairs = forged(canonical_form([*honest.items()]))
    assert dict(pairs)["From"] == f"whatsapp:{VICTIM}"
    assert dict(pairs)["MessageSid"] == ANOTHER_SID
    signature = sign(f"{PUBLIC_URL}/webhook", urlencode(honest))
    assert sign(f"{PUBLIC_URL}/webhook", urlencode(pairs)) == signature
    headers = {"X-Twilio-Signature": signature}
    answer = post_unsigned(production, "/webhook", urlencode(pairs), headers)
    assert answer.status_code == 400
    assert logged(production) == []


def test_words_that_hold_fields_make_no_other_status_of_a_signed_one(
    production: TestClient,
) -> None:
    """No customer's words are in a status callback today; a channel's are, where it fails."""
    words = f"xMessageSid{ANOTHER_SID}MessageStatusfailedZ"
    honest = {**dict(parse_qsl(SENT)), "ChannelStatusMessage": words}
    names = ["AccountSid", "ApiVersion", "ChannelStatusMessage", "MessageSid", "MessageStatus", "Z"]
    pairs = forged(canonical_form([*honest.items()]), names)
    assert dict(pairs)["MessageSid"] == ANOTHER_SID
    assert dict(pairs)["MessageStatus"] == "failed"
    path = "/twilio-status-callback"
    headers = {"X-Twilio-Signature": sign(f"{PUBLIC_URL}{path}", urlencode(honest))}
    assert post_unsigned(production, path, urlencode(pairs), headers).status_code == 400
    assert post_unsigned(production, path, urlencode(honest), headers).status_code == 204


def test_words_that_name_fields_are_words(production: TestClient) -> None:
    text = "From=me Fromwhatsapp:+1555 MessageSid SmsMessageSid SM1 AccountSidAC1"
    form = signed_form(text)
    signature = sign(f"{PUBLIC_URL}/webhook", urlencode(form))
    headers = {"X-Twilio-Signature": signature}
    assert post_unsigned(production, "/webhook", urlencode(form), headers).status_code == 200
    assert logged(production) == [(FORGER, text)]


def read(pairs: Pairs, signature: str) -> Message | int:
    """Have the edge read a form; return what it makes of it, or the status of its refusal."""
    body = urlencode(pairs).encode()
    headers = {"content-type": FORM, "x-twilio-signature": signature}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/webhook",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = asyncio.run(read_signed_form(Request(scope, receive), PUBLIC_URL))
        return TwilioAccount((TOKEN,)).parse_message(form)
    except HTTPException as error:
        return error.status_code
    except InvalidRequest as error:
        return error.status


NAMES = ["ApiVersion", "Body", "From", "MessageSid", "SmsMessageSid", "SmsSid", "Z"]
WORDS = st.lists(
    st.sampled_from(["hi", f"Fromwhatsapp:{VICTIM}", *(f"{n}{ANOTHER_SID}" for n in NAMES[3:])]),
    unique=True,
).map("".join)


@st.composite
def cut_anew(draw: st.DrawFn) -> tuple[dict[str, str], Pairs]:
    """Draw a message whose words are the forger's, and another cut of its signed text."""
    honest = signed_form(draw(WORDS), ProfileName=draw(WORDS), ReferralBody=draw(WORDS))
    text = canonical_form([*honest.items()])
    places = [(0, len("AccountSid"))]
    for name in NAMES:  # in the order in which they are signed
        at = text.find(name, places[-1][1])
        if draw(st.integers(0, 3)) == 0:
            at = text.find(name, at + 1)
        if at >= 0 and draw(st.integers(0, 3)):
            places.append((at, at + len(name)))
    return honest, cut(text, places)


@settings(deadline=None)
@example((signed_form(SWALLOWED), forged(canonical_form([*signed_form(SWALLOWED).items()]))))
@given(cut_anew())
def test_however_a_signed_form_is_cut_it_is_one_message(
    forgery: tuple[dict[str, str], Pairs],
) -> None:
    honest, pairs = forgery
    signature = sign(f"{PUBLIC_URL}/webhook", urlencode(honest))
    message = read(pairs, signature)
    assert message in (400, 403) or (isinstance(message, Message) and message.sid == SID)


@pytest.mark.parametrize("text", ["hi", SWALLOWED], ids=["plain", "with-fields"])
def test_the_message_itself_is_believed(text: str) -> None:
    honest = signed_form(text)
    message = read([*honest.items()], sign(f"{PUBLIC_URL}/webhook", urlencode(honest)))
    assert isinstance(message, Message)
    assert (message.sid, message.contact, message.text) == (SID, FORGER, text)
