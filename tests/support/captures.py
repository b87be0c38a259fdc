"""Bodies as Twilio really sent them, and how to post a body as it is, signed by Twilio's own SDK.

Accounts, numbers and some SIDs are made up; names, order and encoding of the fields are real.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi.testclient import TestClient
from sqlalchemy import select
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from models import LoggedMessage
from tests.conftest import PUBLIC_URL, TOKEN

FORM = "application/x-www-form-urlencoded"

TEXT = (
    "SmsMessageSid=SM892512e202b34d4109b10a3893fa9640&NumMedia=0"
    "&SmsSid=SM892512e202b34d4109b10a3893fa9640&SmsStatus=received&Body=test"
    "&To=whatsapp%3A%2B14123456789&NumSegments=1&MessageSid=SM892512e202b34d4109b10a3893fa9640"
    "&AccountSid=AC00000000000000000000000000000003&From=whatsapp%3A%2B31612345678"
    "&ApiVersion=2010-04-01"
)
TEXT_WITH_PROFILE = (
    "SmsMessageSid=SM45e9b0d1c2a3f4e5d6c7b8a990817263&NumMedia=0&ProfileName=Asha+Rao"
    "&SmsSid=SM45e9b0d1c2a3f4e5d6c7b8a990817263&WaId=91990000000&SmsStatus=received&Body=hey"
    "&To=whatsapp%3A%2B14155238886&NumSegments=1&ReferralNumMedia=0"
    "&MessageSid=SM45e9b0d1c2a3f4e5d6c7b8a990817263&AccountSid=AC8e90b0d1c2a3f4e5d6c7b8a990817263"
    "&From=whatsapp%3A%2B919900000000&ApiVersion=2010-04-01"
)
PHOTO = (
    "MediaContentType0=image%2Fjpeg&SmsMessageSid=MM21151abfaadc1fb79b782f8460862a52&NumMedia=1"
    "&SmsSid=MM21151abfaadc1fb79b782f8460862a52&SmsStatus=received&Body="
    "&To=whatsapp%3A%2B14123456789&NumSegments=1&MessageSid=MM21151abfaadc1fb79b782f8460862a52"
    "&AccountSid=AC00000000000000000000000000000003&From=whatsapp%3A%2B31612345678"
    "&MediaUrl0=https%3A%2F%2Fapi.twilio.com%2F2010-04-01%2FAccounts"
    "%2FAC00000000000000000000000000000003%2FMessages%2FMM21151abfaadc1fb79b782f8460862a52"
    "%2FMedia%2FME5f0afa2336bd0f73ca553fb5a2e3150b&ApiVersion=2010-04-01"
)
LOCATION = (
    "Latitude=52.303897857666016&Longitude=4.750025749206543"
    "&Address=Evert+van+de+Beekstraat+354%2C+Schiphol%2C+North+Holland+1118+CZ"
    "&SmsMessageSid=SM9c871cd9649aa3829298e153ae6a8123&NumMedia=0"
    "&SmsSid=SM9c871cd9649aa3829298e153ae6a8123&SmsStatus=received&Label=Microsoft&Body="
    "&To=whatsapp%3A%2B14123456789&NumSegments=1&MessageSid=SM9c871cd9649aa3829298e153ae6a8123"
    "&AccountSid=AC1a030000000000000000000000000003&From=whatsapp%3A%2B31612345678"
    "&ApiVersion=2010-04-01"
)
BUTTON = (
    "OriginalRepliedMessageSender=whatsapp%3A%2B14155238886"
    "&ExternalUserId=whatsapp%3AID.4560000000000823"
    "&SmsMessageSid=SM8824d91645395b17594d92659b878468&FrequentlyForwarded=false&NumMedia=0"
    "&ProfileName=asha&MessageType=interactive&SmsSid=SM8824d91645395b17594d92659b878468"
    "&WaId=6281100000035&SmsStatus=received&Body=Konfirmasi&Forwarded=false&ButtonText=Konfirmasi"
    "&To=whatsapp%3A%2B14155238886&ButtonPayload=%7BverifyEmail%3Aa%40example.com%7D&NumSegments=1"
    "&ReferralNumMedia=0&MessageSid=SM8824d91645395b17594d92659b878468"
    "&AccountSid=AC00000000000000000000000000000001"
    "&OriginalRepliedMessageSid=MM5cc44eecf7dab0d48d4529d0fa4af44d"
    "&ChannelMetadata=%7B%22type%22%3A%22whatsapp%22%2C%22data%22%3A%7B%22context%22%3A%7B"
    "%22ButtonText%22%3A%22Konfirmasi%22%2C%22Forwarded%22%3A%22false%22%2C"
    "%22FrequentlyForwarded%22%3A%22false%22%2C%22ProfileName%22%3A%22asha%22%2C"
    "%22WaId%22%3A%226281100000035%22%7D%7D%7D&From=whatsapp%3A%2B6281100000035"
    "&ApiVersion=2010-04-01"
)
SENT = (
    "SmsSid=SM0cec4ed334e74bcbb64eb8b6684e9654&SmsStatus=sent&MessageStatus=sent"
    "&ChannelToAddress=%2B31612345678&To=whatsapp%3A%2B31612345678&ChannelPrefix=whatsapp"
    "&MessageSid=SM0cec4ed334e74bcbb64eb8b6684e9654&AccountSid=AC00000000000000000000000000000003"
    "&StructuredMessage=false&From=whatsapp%3A%2B14123456789&ApiVersion=2010-04-01"
    "&ChannelInstallSid=XEcc20d939f803ee381f2442185d0d5dc5"
)
DELIVERED = (
    "EventType=DELIVERED&SmsSid=SMdf55df64a2ff4920bb0748193cfbb640&SmsStatus=delivered"
    "&MessageStatus=delivered&ChannelToAddress=%2B31612345678&To=whatsapp%3A%2B31612345678"
    "&ChannelPrefix=whatsapp&MessageSid=SMdf55df64a2ff4920bb0748193cfbb640"
    "&AccountSid=AC00000000000000000000000000000003&From=whatsapp%3A%2B14123456789"
    "&ApiVersion=2010-04-01&ChannelInstallSid=XE4e524de4c4d93a42831b334b540bc5ae"
)
READ = (
    "EventType=READ&SmsSid=SMd5cfa9e002d043c18defc777668b08c1&SmsStatus=read&MessageStatus=read"
    "&ChannelToAddress=%2B91990000XXXX&To=whatsapp%3A%2B919900000086&ChannelPrefix=whatsapp"
    "&MessageSid=SMd5cfa9e002d043c18defc777668b08c1&AccountSid=AC00000000000000000000000000000002"
    "&From=whatsapp%3A%2B14155238886&ApiVersion=2010-04-01"
)
UNDELIVERED = (  # composed after the others: no real capture is known
    "ChannelStatusMessage=Outside+the+window&ErrorCode=63016"
    "&SmsSid=SM0cec4ed334e74bcbb64eb8b6684e9654&SmsStatus=undelivered&MessageStatus=undelivered"
    "&ChannelToAddress=%2B31612345678&To=whatsapp%3A%2B31612345678&ChannelPrefix=whatsapp"
    "&MessageSid=SM0cec4ed334e74bcbb64eb8b6684e9654&AccountSid=AC00000000000000000000000000000003"
    "&From=whatsapp%3A%2B14123456789&ApiVersion=2010-04-01"
)


def sign(url: str, body: str, token: str = TOKEN) -> str:
    """Sign a body for the URL that Twilio requests, as Twilio does."""
    form = ImmutableMultiDict(parse_qsl(body, keep_blank_values=True))
    signature: str = RequestValidator(token).compute_signature(url, form)
    return signature


def post(client: TestClient, path: str, body: str, **headers: str) -> Any:
    """Post a body as it is, signed for the production app of the tests."""
    return post_unsigned(
        client, path, body, {"X-Twilio-Signature": sign(PUBLIC_URL + path, body), **headers}
    )


def post_unsigned(
    client: TestClient,
    path: str,
    body: str | bytes,
    headers: Mapping[str, str | bytes] | None = None,
) -> Any:
    """Post a body as it is, with a form's content type where `headers` name no other."""
    given: Any = {"Content-Type": FORM, **(headers or {})}
    return client.post(path, content=body, headers=given)


def logged(client: TestClient) -> list[tuple[str, str]]:
    """Read contact and text of every message in the log, in order of arrival."""
    app: Any = client.app
    with app.state.services.database.read() as connection:
        rows = connection.execute(
            select(LoggedMessage.contact_number, LoggedMessage.body).order_by(
                LoggedMessage.received_at
            )
        )
        return [(contact, text) for contact, text in rows]
