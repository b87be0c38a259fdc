"""Published signatures are accepted, and every forgery is rejected, through our own routes."""

import asyncio
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient

from simulator.fake_twilio import message_form
from tests.conftest import PUBLIC_URL, TOKEN, MakeClient
from tests.support.captures import FORM, TEXT, logged, post, post_unsigned, sign
from web.form_body import read_signed_form
from whatsapp.errors import InvalidRequest
from whatsapp.inbound import TwilioAccount

MYAPP = "https://mycompany.com/myapp.php?foo=1&bar=2"
CALL = (
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309"
    "&To=%2B18005551212"
)
DIGITS = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234"
ADDRESSES = "MessagingBinding.Address={}&MessagingBinding.Address={}"
FIRST, SECOND = "%2B1325xxxxxxx", "%2B1415xxxxxxx"

# From the tests of twilio-python and twilio-node and from TwilioDevEd/api-snippets; the last, which
# proves that names are sorted by code point, is our own.
VECTORS = [
    (MYAPP, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    (MYAPP, CALL.replace("309", "310"), "GvWf1cFY/Q7PnoempGyD5oXAezc="),
    (MYAPP, DIGITS, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
    (MYAPP, ADDRESSES.format(FIRST, SECOND), "83O6e2vORAoJHUNzJjDWN1jz+BA="),
    (MYAPP, ADDRESSES.format(SECOND, FIRST), "83O6e2vORAoJHUNzJjDWN1jz+BA="),
    (MYAPP.replace(".com", ".com:443"), CALL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    (MYAPP, CALL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    (MYAPP.replace(".com", ".com:443"), CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ("http://mycompany.com:80/myapp.php?foo=1&bar=2", CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ("http://mycompany.com/myapp.php?foo=1&bar=2", CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", CALL, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    (MYAPP.replace("//", "//user:pass@"), CALL, "CukzLTc1tT5dXEDIHm/tKBanW10="),
    (MYAPP.replace("//", "//user@"), CALL, "2YRLlVAflCqxaNicjMpJcSTgzSs="),
    (
        MYAPP.replace("//", "//user:pass@").replace(".com", ".com:443"),
        CALL,
        "ZQFR1PTIZXF2MXB8ZnKCvnnA+rI=",
    ),
    (MYAPP + "&Body=It%27s+amazing", CALL, "TfZzewPq8wqrGlMfyAud8+/IvJ0="),
    ("https://h/", "b=1&A=2&a=3&B=4", "2JVxCDZ7SqaBned7xwyXhJWy0Bw="),
]
JSON = '{"property": "value", "boolean": true}'
JSON_SHA = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
EMPTY_SHA = "bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
JSON_VECTORS = [
    (f"{MYAPP}&{JSON_SHA}", JSON, "a9nBmqA0ju/hNViExpshrM61xv4="),
    (f"https://mycompany.com/myapp.php?{JSON_SHA}", JSON, "y77kIzt2vzLz71DgmJGsen2scGs="),
    (f"{MYAPP.replace('.com', '.com:443')}&{EMPTY_SHA}", "{}", "Ldidvp12m26NI7eqEvxnEpkd9Hc="),
]


def read(url: str, body: str, signature: str, content_type: str = FORM) -> int:
    """Have our routes read a request to any URL; return the status of the answer."""
    parts = urlsplit(url)
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "server": ("internal", 8000),
        "path": parts.path,
        "query_string": parts.query.encode(),
        "headers": [
            (b"host", b"internal:8000"),
            (b"content-type", content_type.encode()),
            (b"x-twilio-signature", signature.encode()),
        ],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    base = f"{parts.scheme}://{parts.netloc}"
    try:
        form = asyncio.run(read_signed_form(Request(scope, receive), base))
        TwilioAccount(("12345",), is_local=True).parse_status(form)
    except HTTPException as error:
        return error.status_code
    except InvalidRequest as error:
        return error.status
    return 204


@pytest.mark.parametrize(("url", "body", "signature"), VECTORS)
def test_a_published_signature_is_believed(url: str, body: str, signature: str) -> None:
    assert read(url, body, signature) == 204


@pytest.mark.parametrize(("url", "body", "signature"), VECTORS)
def test_a_published_signature_of_another_body_is_refused(
    url: str, body: str, signature: str
) -> None:
    assert read(url, body + "&Extra=1", signature) == 403


@pytest.mark.parametrize(("url", "body", "signature"), JSON_VECTORS)
def test_json_is_refused_even_with_its_published_signature(
    url: str, body: str, signature: str
) -> None:
    assert read(url, body, signature, "application/json") == 415


def test_the_query_is_signed_as_it_was_sent() -> None:
    assert read(MYAPP + "&Body=It's+amazing", CALL, "TfZzewPq8wqrGlMfyAud8+/IvJ0=") == 403


SID = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
MESSAGE = (
    f"SmsMessageSid={SID}&NumMedia=0&ProfileName=Ana+%26+Co&MessageType=text&SmsSid={SID}"
    "&WaId=15551234567&SmsStatus=received"
    "&Body=Great+product%21+%F0%9F%91%8B+%2B5%0Aline+two&To=whatsapp%3A%2B14155238886"
    f"&NumSegments=1&ReferralNumMedia=0&MessageSid={SID}"
    "&AccountSid=ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb&From=whatsapp%3A%2B15551234567"
    "&ApiVersion=2010-04-01"
)
BLANK = MESSAGE.replace("Great+product%21+%F0%9F%91%8B+%2B5%0Aline+two", "")
STATUS = (
    "SmsSid=SMcccccccccccccccccccccccccccccccc&SmsStatus=delivered&MessageStatus=delivered"
    "&ChannelToAddress=%2B1555123XXXX&To=whatsapp%3A%2B15551234567&ChannelPrefix=whatsapp"
    "&MessageSid=SMcccccccccccccccccccccccccccccccc&AccountSid=ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    "&From=whatsapp%3A%2B14155238886&ApiVersion=2010-04-01"
    "&ChannelInstallSid=XEdddddddddddddddddddddddddddddddd&EventType=DELIVERED"
)
STATUS_PATH = "/twilio-status-callback?review=42&k=a%20b"


@pytest.mark.parametrize(
    ("path", "body", "signature", "status"),
    [
        pytest.param("/webhook", MESSAGE, "TReA0WzzUC+bnmUsDiJBxAJ9/EU=", 200, id="text"),
        pytest.param("/webhook", BLANK, "DAkMSAu51JdI0/hPAtYwc6xxCN8=", 200, id="blank"),
        pytest.param("/webhook", BLANK, "juVsDkWTiviw6xmMWaRJKV8RW+w=", 403, id="without-blank"),
        pytest.param(STATUS_PATH, STATUS, "lcI5U0TODfZBCJmai5FRHMbP6Sg=", 204, id="status"),
        pytest.param(STATUS_PATH, STATUS, "uijrcJoIYDo505jhMLKOSLBZAck=", 403, id="without-query"),
    ],
)
def test_a_whatsapp_request_is_believed_by_its_signature(
    make_client: MakeClient, sqlite_url: str, path: str, body: str, signature: str, status: int
) -> None:
    app = make_client(
        environment="production",
        database_url=sqlite_url,
        twilio_auth_token=TOKEN,
        public_url="https://example.com",
        api_key="k" * 16,
    )
    assert post_unsigned(app, path, body, {"X-Twilio-Signature": signature}).status_code == status
    assert len(logged(app)) == (status == 200)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="missing"),
        pytest.param({"X-Twilio-Signature": ""}, id="empty"),
        pytest.param({"X-Twilio-Signature": "x"}, id="short"),
        pytest.param({"X-Twilio-Signature": "A" * 27 + "="}, id="28-wrong-characters"),
        pytest.param({"X-Twilio-Signature": "A" * 10_000}, id="10-kB"),
        pytest.param({"X-Twilio-Signature": "schlüssel=".encode()}, id="utf-8"),
        pytest.param({"X-Twilio-Signature": b"\xff" * 28}, id="no-utf-8"),
        pytest.param(
            {
                "X-Twilio-Signature": "O6a5fr/v3Fj+hZ/Nn62hEQOKpmSj0T7RrKQlZsBTTxM=",
                "X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,"
                "algorithm=HMAC_SHA256",
            },
            id="an-algorithm-of-the-sender's-choice",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/webhook", "/twilio-status-callback"])
def test_a_request_without_a_right_signature_is_refused(
    production: TestClient, path: str, headers: dict[str, str | bytes]
) -> None:
    assert post_unsigned(production, path, MESSAGE, headers).status_code == 403
    assert logged(production) == []


@pytest.mark.parametrize(
    "forged",
    [
        TEXT.replace("Body=test", "Body=Test"),
        TEXT.replace("%2B31612345678", "%2B31612345679"),
        TEXT + "&NewField=1",
        TEXT.replace("&NumSegments=1", ""),
        TEXT.replace("Body=test&", ""),
    ],
)
def test_a_body_changed_after_signing_is_refused(production: TestClient, forged: str) -> None:
    headers = {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", TEXT)}
    assert post_unsigned(production, "/webhook", forged, headers).status_code == 403
    assert logged(production) == []


@pytest.mark.parametrize(
    ("field", "value_before"),
    [
        # What is signed is names and values in a row, sorted: a value may swallow its neighbour.
        ("MessageType=text", f"&MessageSid={SID}"),
        ("ApiVersion=2010-04-01", "&AccountSid=ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
        ("From=whatsapp%3A%2B15551234567", "line+two"),
    ],
)
def test_fields_cut_anew_under_the_same_signature_are_refused(
    production: TestClient, field: str, value_before: str
) -> None:
    signature = sign(f"{PUBLIC_URL}/webhook", MESSAGE)
    forged = MESSAGE.replace(f"&{field}", "")
    forged = forged.replace(value_before, value_before + field.replace("=", ""))
    assert sign(f"{PUBLIC_URL}/webhook", forged) == signature
    answer = post_unsigned(production, "/webhook", forged, {"X-Twilio-Signature": signature})
    assert answer.status_code == 400
    assert logged(production) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEXT + "&NewField=1", id="unknown-field"),
        pytest.param(TEXT + "&X=2&X=1&X=1", id="repeated-field"),
        pytest.param(TEXT.replace("Body=test", "Body="), id="blank"),
        pytest.param(TEXT.replace("Body=test", "Body"), id="no-equals-sign"),
        pytest.param(TEXT.replace("Body=test", "Body=++two+spaces%20%20"), id="outer-spaces"),
        pytest.param(TEXT.replace("Body=test", "Body=a;b%3Bc"), id="semicolons"),
        pytest.param(TEXT.replace("Body=test", "Body=%2B5%0D%0A%26+100%25+%F0%9F%91%8B"), id="all"),
    ],
)
def test_every_field_counts_in_the_signature(production: TestClient, body: str) -> None:
    assert post(production, "/webhook", body).status_code == 200


@pytest.mark.parametrize(
    ("tokens", "signing", "status"),
    [("old,new", "old", 200), ("old,new", "new", 200), ("new", "new", 200), ("new", "old", 403)],
)
def test_while_tokens_rotate_each_of_them_is_believed(
    make_client: MakeClient, sqlite_url: str, tokens: str, signing: str, status: int
) -> None:
    app = make_client(database_url=sqlite_url, twilio_auth_token=tokens, public_url=PUBLIC_URL)
    headers = {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", TEXT, signing)}
    assert post_unsigned(app, "/webhook", TEXT, headers).status_code == status


def test_a_message_replayed_as_a_status_callback_is_refused(production: TestClient) -> None:
    headers = {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", TEXT)}
    assert post_unsigned(production, "/webhook", TEXT, headers).status_code == 200
    answer = post_unsigned(production, "/twilio-status-callback", TEXT, headers)
    assert answer.status_code == 403


def test_bytes_that_are_no_utf_8_fail_the_signature(production: TestClient) -> None:
    body = urlencode(message_form("+15551234567", "é"), encoding="latin-1")
    signature = sign(f"{PUBLIC_URL}/webhook", urlencode(message_form("+15551234567", "é")))
    answer = post_unsigned(production, "/webhook", body, {"X-Twilio-Signature": signature})
    assert answer.status_code == 403
