"""What must never be seen: tokens, keys, whole numbers and customers' words, in logs or errors."""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from fastapi.testclient import TestClient

from conversation.wording import GOT_REVIEW
from simulator.customer import Customer
from simulator.fake_twilio import ACCOUNT_SID, Simulator, message_form, new_sid
from tests.conftest import PUBLIC_URL, TOKEN
from tests.support.captures import post_unsigned, sign
from tests.support.servers import serve, wait_until

CONTACT = "+15557654321"
WORDS = ["Secret-greeting", "Secret-product", "Secret-name", "Secret-review\nof two lines"]
SECRETS = [TOKEN, "k" * 16, "5557654321", "54321", "Secret"]
STATUS = {"MessageStatus": "sent", "AccountSid": ACCOUNT_SID, "To": f"whatsapp:{CONTACT}"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, our own events too, which don't reach the root logger."""
    ours = logging.getLogger("reviews")
    ours.addHandler(caplog.handler)
    yield caplog
    ours.removeHandler(caplog.handler)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelname == "WARNING"]


def assert_nothing_secret(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_conversation_is_logged_without_words_numbers_or_tokens(
    twilio: Simulator, log: pytest.LogCaptureFixture
) -> None:
    log.set_level("DEBUG", "reviews")
    customer = Customer(twilio, CONTACT)
    for words in [*WORDS, "", "Secret" * 2000]:
        customer.says(words)
    customer.sends_photo("Secret caption")
    wait_until(lambda: log.text.count("position=") == 7)  # a reply does not wait for the log
    assert "review recorded" in log.text
    assert "…21 " in log.text
    assert_nothing_secret(log.text)


def test_a_contact_without_a_number_is_masked_too(
    twilio: Simulator, log: pytest.LogCaptureFixture
) -> None:
    Customer(twilio, "US.13491208655302741918").says("hi")
    wait_until(lambda: "…18 " in log.text)  # a reply does not wait for the log
    assert "2741918" not in log.text


def refused() -> Iterator[tuple[str, dict[str, str | bytes]]]:
    """Yield a request for every way to be refused."""
    form = {**message_form(CONTACT, WORDS[0])}
    good = urlencode(form)
    yield good, {"Content-Type": "application/json"}
    yield good + "x" * 200_000, {}
    yield good + "&a=b" * 200, {}
    yield good, {}
    yield good, {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", good, "another")}
    for name, value in [("From", form["From"]), ("MessageSid", "SM1"), ("Body", "Secret")]:
        body = good + "&" + urlencode({name: value})
        yield body, {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", body)}
    for name in ("From", "MessageSid", "AccountSid"):
        body = urlencode({**form, name: "Secret" * 30})
        yield body, {"X-Twilio-Signature": sign(f"{PUBLIC_URL}/webhook", body)}


def test_refusals_tell_and_log_nothing_secret(
    production: TestClient, log: pytest.LogCaptureFixture
) -> None:
    log.set_level("DEBUG", "reviews")
    right = sign(f"{PUBLIC_URL}/webhook", urlencode(message_form(CONTACT, WORDS[0])))
    seen = []
    for body, headers in refused():
        answer = post_unsigned(production, "/webhook", body, headers)
        assert answer.status_code in {400, 403, 413, 415}
        assert not answer.headers["content-type"].startswith(("text/plain", "text/xml"))
        seen.append(answer.text + str(answer.headers))
    assert_nothing_secret("".join(seen) + log.text)
    assert right not in "".join(seen) + log.text


def test_a_refused_signature_is_logged_in_one_line(
    production: TestClient, log: pytest.LogCaptureFixture
) -> None:
    post_unsigned(production, "/webhook", "From=1")
    assert warnings(log) == [f"rejected, signature url={PUBLIC_URL}/webhook"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/healthz", "/readyz", "/x"])
def test_no_page_shows_a_token_or_the_key(production: TestClient, path: str) -> None:
    assert_nothing_secret(production.get(path).text)


def test_reviews_are_not_shown_without_the_key(production: TestClient, twilio: Simulator) -> None:
    for words in WORDS:
        Customer(twilio, CONTACT).says(words)
    answer = production.get("/api/reviews")
    assert answer.status_code == 401
    assert_nothing_secret(answer.text)


@pytest.mark.usefixtures("processes")
def test_a_real_servers_output_holds_nothing_secret(tmp_path: Path) -> None:
    with serve(
        tmp_path / "log",
        DATABASE_URL=f"sqlite:///{tmp_path / 'test.db'}",
        TWILIO_AUTH_TOKEN=TOKEN,
        API_KEY="k" * 16,
        LOG_LEVEL="DEBUG",
    ) as server:
        with httpx.Client(base_url=server.base_url, trust_env=False, timeout=15) as line:
            customer = Customer(Simulator(line, auth_token=TOKEN), CONTACT)
            for words in WORDS:
                reply = customer.says(words)
            line.get("/api/reviews", params={"contact": CONTACT, "q": "Secret"})
            line.post("/webhook", params={"To": CONTACT}, data={"From": CONTACT})
    assert reply == GOT_REVIEW.format(name="Secret-name", product="Secret-product")
    output = (tmp_path / "log").read_text()
    assert "POST /webhook" in output
    assert "review recorded" in output
    assert_nothing_secret(output)


@pytest.mark.parametrize(("before", "warned"), [("", True), ("?review=SM1", False)])
def test_twenty_callbacks_without_a_review_are_told_of_once(
    twilio: Simulator, log: pytest.LogCaptureFixture, before: str, warned: bool
) -> None:
    callback = "/twilio-status-callback"
    twilio.post(callback + before, {**STATUS, "MessageSid": new_sid()})
    for _ in range(18):
        twilio.post(callback, {**STATUS, "MessageSid": new_sid()})
    assert warnings(log) == []
    for _ in range(30):
        twilio.post(callback, {**STATUS, "MessageSid": new_sid()})
    told = [warning for warning in warnings(log) if "none with review=" in warning]
    assert len(told) == warned
