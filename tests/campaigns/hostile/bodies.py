"""Bodies of forms, made byte by byte, and what must hold of each.

Two thirds are rightly signed and get past the signature, as from somebody who has the token.
"""

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote_from_bytes

import sqlalchemy as sa
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from audit.check import check
from models import LoggedMessage, Review
from simulator.fake_twilio import ACCOUNT_SID
from simulator.twiml_reader import read_twiml
from tests.conftest import KEY, PUBLIC_URL, database_of
from tests.support.captures import post_unsigned, sign

REFUSALS = {400, 403, 413, 415}

NASTY = st.sampled_from(
    [
        *(b"", b" ", b"\0", b"\r\n", b"\x1b[2J", b"\x7f", b"\xff\xfe", b"\xc0\xaf", b"\xf5\x90"),
        *(b"\xed\xa0\xbd", b"\xed\xb2\xa9", b"\xef\xbf\xbe", b"\xe2\x80\xae", b"\xef\xbb\xbf"),
        *(b"'; DROP TABLE reviews; --", b"' OR '1'='1", b"%(x)s {x} :x ?", b"\\", b"%25", b"&#0;"),
        *(b"</Message><Message>", b"]]><!DOCTYPE x [", b"<b>x", b"&", b"&amp;", b"<!--", b"]]>"),
        *(b"=cmd|' /C calc'!A0", b"a\n=1", b"a;@SUM(1)", b"\xc2\xa0=1", b'"=1'),
        *(b"2026-01-01 00:00:00,000 INFO forged", b"x" * 151, "👋".encode() * 150, b"y" * 8001),
        *(b"whatsapp:", b"+", b"SM" + b"0" * 32, b"AC" + b"0" * 32, b"MessageSid", b"From"),
    ]
)
BYTES = NASTY | st.binary(max_size=12) | st.text(max_size=12).map(lambda text: text.encode())
PIECES = BYTES | st.sampled_from([b"=", b"&", b"+", b"%", b"%2", b"%00", b"%u0041", b";", b"Body"])


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """Draw a value of a form, as it is or percent-encoded."""
    value = draw(BYTES)
    return value if draw(st.integers(0, 3)) == 0 else quote_from_bytes(value, safe="").encode()


SID, CONTACT = b"SM" + b"f" * 32, b"5551234567"
SOME = st.sampled_from(["To", "From", "Body", "ButtonText", "ListTitle", "MediaUrl0", "ErrorCode"])


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Draw a form that is nearly Twilio's."""
    fields = {
        "MessageSid": SID,
        "SmsMessageSid": SID,
        "AccountSid": ACCOUNT_SID.encode(),
        "From": b"whatsapp%3A%2B1" + CONTACT,
        "Body": draw(values()),
        **draw(st.dictionaries(SOME, values(), max_size=2)),
        "MessageStatus": draw(st.sampled_from([b"sent", b"delivered", b"failed"]) | values()),
    }
    return b"&".join(name.encode() + b"=" + value for name, value in fields.items())


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a body: a form, a form with some bytes changed, or anything."""
    kind = draw(st.integers(0, 5))
    if kind == 5:
        return b"".join(draw(st.lists(PIECES, max_size=8)))
    body = draw(forms())
    if kind == 4:
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(body)))
            body = body[:at] + draw(PIECES) + body[at + draw(st.integers(0, 4)) :]
    return body


STATUS = "/twilio-status-callback"
PATHS = st.sampled_from(
    [
        *["/webhook"] * 6,
        *(STATUS, f"{STATUS}?review=%ED%A0%BD&review=SM1%00"),
        *(f"{STATUS}?review=SM{number:032x}" for number in (1, 2, 3)),
    ]
)
SIGNATURES = st.sampled_from(["right"] * 3 + ["missing", "another body's", "another token's"])


@dataclass(slots=True)
class Siege:
    """An app that is sent body after body, and what came of them."""

    app: TestClient
    counts: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)

    def send(self, path: str, body: bytes, signature: str) -> None:
        """Send one body; AssertionError where the answer is none that may come."""
        self.counts["bodies"] += 1
        self.counts["rightly signed"] += signature == "right"
        number = self.counts["bodies"]
        if number % 5:  # a message of its own, of one of twenty customers
            body = body.replace(SID, b"SM%032x" % number)
            body = body.replace(CONTACT, b"555%07d" % (number % 20))
        headers = {}
        if signature != "missing":
            text = body.decode("utf-8", "replace")
            signed = text + "&x=1" if signature == "another body's" else text
            token = {"token": "another"} if signature == "another token's" else {}
            headers["X-Twilio-Signature"] = sign(PUBLIC_URL + path, signed, **token)
        answer = post_unsigned(self.app, path, body, headers)
        self.counts[f"answered {answer.status_code}"] += 1
        assert "Traceback" not in answer.text
        if answer.status_code in REFUSALS:
            assert answer.headers["content-type"] == "application/json"
            return
        assert signature == "right", f"{answer.status_code} for what is not rightly signed"
        if path != "/webhook":
            assert (answer.status_code, answer.content) == (204, b"")
            return
        assert read_twiml(answer).text
        pairs = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        self.taken.add(pairs["MessageSid"])

    def insist(self) -> None:
        """Compare the database with what was answered; AssertionError where they differ."""
        database = database_of(self.app)
        assert check(database).problems == []
        with database.read() as connection:
            logged = set(connection.scalars(sa.select(LoggedMessage.message_sid)))
            self.counts["reviews"] = connection.scalar(sa.select(sa.func.count(Review.id))) or 0
        assert logged == self.taken
        listed = self.app.get("/api/reviews", headers=KEY).json()
        exported = self.app.get("/api/reviews.csv", headers=KEY).text
        lines = [*csv.reader(io.StringIO(exported, newline=""))]
        assert len(listed) == len(lines) - 1 == self.counts["reviews"]
        assert self.app.get("/api/stats", headers=KEY).json()["total"] == self.counts["reviews"]
        self.counts["messages"] = len(logged)


def send_batch(siege: Siege, number: int, count: int) -> None:
    """Send so many bodies, always the same ones under one number."""

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(PATHS, bodies(), SIGNATURES)
    def send(path: str, body: bytes, signature: str) -> None:
        siege.send(path, body, signature)

    send_one_after_another: Any = send
    send_one_after_another()
    siege.insist()
