"""A few of the bodies that `python -m tests.campaigns.hostile` sends by the thousand."""

from urllib.parse import urlencode

from simulator.fake_twilio import ACCOUNT_SID, message_form, new_sid
from tests.campaigns.hostile.bodies import STATUS, Siege, send_batch
from tests.conftest import PRODUCTION, MakeClient

CUSTOMER = "+15559999999"
"""Whom none of the drawn bodies comes from."""


def send_plain(siege: Siege) -> None:
    """Send what is certain to be answered as it should, whatever is drawn for the rest."""
    for text in ("Hi", "Lamp", "Ana", "Bright."):
        siege.send("/webhook", urlencode(message_form(CUSTOMER, text)).encode(), "right")
    siege.send("/webhook", urlencode(message_form(CUSTOMER, "Hi")).encode(), "missing")
    siege.send("/webhook", b"Body=Hi", "right")
    status = {"MessageSid": new_sid(), "AccountSid": ACCOUNT_SID, "MessageStatus": "sent"}
    siege.send(STATUS, urlencode(status).encode(), "right")


def test_whatever_the_body_nothing_breaks_and_nothing_unsigned_is_recorded(
    make_client: MakeClient, database_url: str
) -> None:
    siege = Siege(make_client(database_url=database_url, **PRODUCTION))
    send_plain(siege)
    certain = {"answered 200": 4, "answered 204": 1, "answered 400": 1, "answered 403": 1}
    assert certain.items() <= siege.counts.items()
    send_batch(siege, 1, 300)
    assert siege.counts["messages"] >= 4
    assert siege.counts["reviews"] >= 1
