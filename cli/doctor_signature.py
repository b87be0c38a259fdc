"""`run.py doctor` on Twilio's signature: sent through PUBLIC_URL, as Twilio sends it."""

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import httpx

from cli.findings import Finding, problem
from core.logs import describe
from core.settings import Settings
from simulator.fake_twilio import ACCOUNT_SID, Simulator, new_sid
from whatsapp.paths import NO_REVIEW, STATUS_CALLBACK

TIMEOUT_SECONDS = 15.0

REJECTED = (
    "PUBLIC_URL must be exactly the address that Twilio calls, and TWILIO_AUTH_TOKEN the one the"
    " service was started with; the proxy must pass on path and query unchanged."
)


def examine_signature(settings: Settings, ask_public_url: bool) -> Iterator[Finding]:
    if not settings.twilio_auth_token:
        yield Finding(
            "signature",
            "not checked: anyone who can reach /webhook can send messages",
            "Set TWILIO_AUTH_TOKEN before others can reach it.",
        )
    elif not ask_public_url:
        yield Finding(
            "signature", "checked; to try it through PUBLIC_URL: python3 run.py doctor --signature"
        )
    elif settings.public_url is None:
        yield problem("signature", "PUBLIC_URL is not set", "Set it to the address Twilio calls.")
    else:
        for number, token in enumerate(settings.twilio_auth_token, start=1):
            found = _try_signature(settings, settings.public_url, f"token {number}", token, 204)
            yield found
            if found.is_problem and found.advice != REJECTED:
                return  # another token would get no answer either
        yield _try_signature(settings, settings.public_url, "a forged signature", "forged", 403)


def _try_signature(
    settings: Settings, public_url: str, what: str, token: str, expected: int
) -> Finding:
    """Send what changes nothing, as Twilio would: a delivery status without a review."""
    form = {
        "MessageSid": new_sid(),
        "AccountSid": settings.twilio_account_sid or ACCOUNT_SID,
        "MessageStatus": "sent",
    }
    path = f"{STATUS_CALLBACK}?review={NO_REVIEW}"
    parts = urlsplit(public_url)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with httpx.Client(base_url=public_url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            response = Simulator(client, token, public_url).post(path, form)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return problem(
            "signature",
            f"{place} can't be reached: {describe(error)}",
            "Does its name resolve, is its certificate valid, does the proxy or tunnel run?",
        )
    status = response.status_code
    if status == expected:
        verdict = "accepted" if expected == 204 else "rejected"
        return Finding("signature", f"{what} is {verdict} at {place}")
    if expected == 403:
        advice = "What answers there checks no signatures: it isn't this installation."
    elif status == 403:
        advice = REJECTED
    elif response.has_redirect_location:
        where = urljoin(public_url + path, response.headers["location"]).partition("?")[0]
        advice = (
            "A redirect loses what Twilio sends: set PUBLIC_URL to"
            f" {where.removesuffix(STATUS_CALLBACK)}"
        )
    elif status >= 500:
        advice = "Does the service run behind the proxy, and does its database answer?"
    else:
        advice = "Another program answers there: check host, port and prefix of PUBLIC_URL."
    return problem("signature", f"{what} gets status {status} at {place}", advice)
