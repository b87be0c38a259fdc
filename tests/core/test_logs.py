"""What the log holds, and what it never does: a customer's words, a whole number, a token."""

import io
import logging
import re
import socket
import traceback
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from conversation.wording import APOLOGY
from core import logs
from core.clock import utc_now
from core.logs import logger
from core.settings import Settings
from db.engine import Database
from models import LoggedMessage, Review
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from tests.conftest import PUBLIC_URL, TOKEN
from tests.support.servers import Uvicorn, serve

CONTACT = "+15559876543"
KEY = "k" * 16
PRODUCT, NAME, WORDS = "Zanzibar lamp", "Wilhelmina", "Xylophones\nfor everybody"
PRIVATE = ("Zanzibar", "Wilhelmina", "Xylophones", "everybody", CONTACT, CONTACT[1:], TOKEN, KEY)
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S")


class Log(io.StringIO):
    """What was logged."""

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    def keeps_private(self) -> bool:
        return not [secret for secret in PRIVATE if secret in self.getvalue()]


@pytest.fixture
def log() -> Iterator[Log]:
    """All that goes to standard error, by the formatter that goes there."""
    logs.configure("DEBUG")
    [handler] = [h for h in logger.handlers if type(h) is logging.StreamHandler]
    log = Log()
    before = handler.setStream(log)
    yield log
    handler.setStream(before)


def test_a_conversation_is_logged_by_its_sids_and_two_digits(log: Log, twilio: Simulator) -> None:
    customer = Customer(twilio, CONTACT)
    sids = [f"SM{number:032x}" for number in range(4)]
    for sid, text in zip(sids, ["Hi", PRODUCT, NAME, WORDS], strict=True):
        customer.sends(message_form(CONTACT, text, MessageSid=sid))
    assert log.keeps_private()
    assert all(sum(f"sid={sid} " in line for line in log.lines) == 1 for sid in sids)
    assert "contact=+1…43 " in log.getvalue()
    assert "review recorded" in log.getvalue()
    assert all(LINE.match(line) for line in log.lines)


def test_what_is_refused_is_logged_without_its_words(log: Log, twilio: Simulator) -> None:
    form = message_form(CONTACT, PRODUCT)
    forged = Simulator(twilio.client, auth_token="another", public_url=PUBLIC_URL)
    assert forged.post("/webhook", form).status_code == 403
    assert twilio.post("/webhook", form).status_code == 200
    assert twilio.post("/webhook", {**form, "Body": WORDS}).status_code == 200
    assert twilio.post("/webhook", {**form, "From": "whatsapp:+15551111111"}).status_code == 400
    assert "rejected, signature" in log.getvalue()
    assert "duplicate with another text" in log.getvalue()
    assert "another contact's SID" in log.getvalue()
    assert log.keeps_private()


def test_a_message_that_cannot_be_recorded_is_logged_without_its_words(
    log: Log, client: TestClient, customer: Customer, database: Database
) -> None:
    customer.contact = CONTACT
    for text in ("Hi", PRODUCT, NAME):
        customer.says(text)
    with database.write() as connection:
        row = review(conversation_id=connection.scalar(sa.select(LoggedMessage.conversation_id)))
        connection.execute(sa.insert(Review).values(row))
    assert customer.says(WORDS) == APOLOGY
    assert "not recorded sid=" in log.getvalue()
    assert "IntegrityError" in log.getvalue()
    assert client.get("/healthz").status_code == 200
    assert log.keeps_private()


def review(**changes: str | None) -> dict[str, object]:
    return {
        "contact_number": CONTACT,
        "user_name": NAME,
        "product_name": PRODUCT,
        "product_review": WORDS,
        "created_at": utc_now(),
        "updated_at": utc_now(),
        "conversation_id": "SM1",
        **changes,
    }


def test_the_row_that_a_driver_quotes_is_not_logged(log: Log, database: Database) -> None:
    with pytest.raises(IntegrityError) as caught, database.write() as connection:
        connection.execute(sa.insert(Review).values(review(conversation_id=None)))
    if not database.is_sqlite:
        assert all(words in str(caught.value) for words in (CONTACT, NAME, PRODUCT))
    logger.error("not recorded: %s", logs.describe(caught.value), exc_info=caught.value)
    assert "IntegrityError" in log.getvalue()
    assert "conversation_id" in log.getvalue()
    assert log.keeps_private()


def test_parameters_are_hidden_in_a_database_error(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError) as caught, database.read() as connection:
        connection.execute(sa.text("SELECT :words FROM nowhere"), {"words": WORDS})
    shown = "".join(traceback.format_exception(caught.value))
    assert "parameters hidden" in shown
    assert "Xylophones" not in shown


def fail(error: Exception) -> None:
    raise error


def test_a_traceback_holds_places_and_the_first_line_and_no_causes(log: Log) -> None:
    try:
        try:
            fail(KeyError(PRODUCT))
        except KeyError as cause:
            raise RuntimeError(f"it broke\nwith {WORDS}") from cause
    except RuntimeError:
        logger.exception("unexpected")
    assert log.lines[0].endswith(" ERROR unexpected")
    assert any(line.lstrip().startswith(f'File "{__file__}"') for line in log.lines)
    assert log.lines[-1] == "RuntimeError: it broke"
    assert log.keeps_private()


def test_a_rendering_by_another_formatter_is_not_taken_over(log: Log) -> None:
    record = logger.makeRecord(
        "reviews", logging.ERROR, __file__, 1, "unexpected", (), (ValueError, ValueError("x"), None)
    )
    record.exc_text = f"ValueError: {WORDS}"
    logger.handle(record)
    assert log.lines[-1] == "ValueError: x"
    assert log.keeps_private()


FORGED = "x{}2026-01-01 00:00:00,000 INFO review recorded"


@pytest.mark.parametrize(
    "control", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\u2029", "\u202e"]
)
class TestControlCharacters:
    def test_are_escaped_in_an_event(self, log: Log, control: str) -> None:
        logger.info("callback status=%s", FORGED.format(control))
        [line] = log.lines
        assert control not in line
        assert control.encode("unicode_escape").decode() in line

    def test_are_escaped_in_the_text_of_an_exception(self, log: Log, control: str) -> None:
        logger.error("unexpected", exc_info=ValueError(FORGED.format(control)))
        assert len(log.lines) == 2
        assert control not in log.getvalue().replace("\n", "")


def test_a_contact_with_a_line_break_makes_one_line(log: Log, client: TestClient) -> None:
    contact = "+1555123\n7"
    form = message_form(contact, "Hi", From=f"whatsapp:{contact}")
    assert client.post("/webhook", data=form).status_code == 200
    assert [line for line in log.lines if "message taken" in line] == log.lines[-1:]
    assert "contact=+1… " in log.lines[-1]


def test_what_is_readable_in_any_script_stays_readable(log: Log) -> None:
    logger.info("file=%s", "отзывы 日本.env 👍")
    assert log.lines[0].endswith("INFO file=отзывы 日本.env 👍")


def test_logging_is_configured_once_however_often_it_is_asked_for() -> None:
    before = [*logger.handlers]
    logs.configure("INFO")
    logs.configure("INFO")
    assert logger.handlers == before
    filters = logging.getLogger("uvicorn.access").filters
    assert len([known for known in filters if type(known).__module__ == "core.logs"]) == 1


@pytest.fixture(scope="module")
def server(
    processes: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Uvicorn]:
    """A local server that was asked for one customer's reviews and told one thing."""
    folder = tmp_path_factory.mktemp("server")
    database = f"sqlite:///{folder / 'test.db'}"
    with serve(folder / "log", DATABASE_URL=database, LOG_LEVEL="DEBUG") as running:
        url = f"{running.base_url}/api/reviews"
        with httpx.Client(trust_env=False) as client:
            client.get(f"{url}?contact=%2B15559876543&q=Zanzibar")
            client.get(f"{url}?contact=15559876543?q=Zanzibar")
            for number in ("+1 (555) 987-6543", "555/987/6543", "1_555,987+6543", "987\u20116543"):
                client.get(f"{running.base_url}/api/contact/{number}")
            for number in ("٩٨٧٦٥٤٣", "９８７６５４３", "%39%38%37%36%35%34%33"):
                client.get(f"{running.base_url}/api/contact/{number}")
            client.get(f"{running.base_url}/API//contacts/John.Doe")
            with socket.create_connection(("127.0.0.1", running.port)) as raw:
                raw.sendall(b"GET *+15559876543 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                raw.recv(1000)
            client.post(f"{running.base_url}/webhook?x=Zanzibar", data={"From": CONTACT})
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
            key = {"Sec-WebSocket-Key": "x" * 22 + "==", "Sec-WebSocket-Version": "13"}
            client.get(f"{running.base_url}/live?q=Zanzibar", headers={**upgrade, **key})
        yield running


def test_uvicorns_lines_have_our_form_and_no_query(server: Uvicorn) -> None:
    log = server.log.read_text()
    assert log.count('"GET /api/reviews HTTP/1.1" 200') == 2
    assert '"POST /webhook HTTP/1.1" 200' in log
    assert '"WebSocket /live" 403' in log
    assert not [secret for secret in PRIVATE if secret in log]
    assert len(re.findall('"GET /api/contact/(?:%2B)?… HTTP/1.1" 404', log)) == 7
    assert '"GET /API//contacts/… HTTP/1.1" 404' in log
    assert '"GET %2A%2B… HTTP/1.1" 404' in log
    configured = log[log.index("starting environment=") :].splitlines()[1:]
    assert [line for line in configured if not LINE.match(line)] == []


def test_the_start_is_logged_with_the_file_that_was_read(server: Uvicorn) -> None:
    read = Settings.load({"ENVIRONMENT": "local"}).file
    assert read is not None
    assert f"starting environment=local file={read.name} " in server.log.read_text()


def test_a_start_without_a_token_is_warned_about(server: Uvicorn) -> None:
    assert "WARNING TWILIO_AUTH_TOKEN is not set" in server.log.read_text()


def test_a_safe_start_is_logged_without_a_warning(log: Log, production: TestClient) -> None:
    assert production.get("/healthz").status_code == 200
    assert "starting environment=production file=none store=database" in log.getvalue()
    assert "WARNING" not in log.getvalue()


def test_a_time_is_written_as_logging_writes_it() -> None:
    ours, theirs = logs._Formatter(), logging.Formatter()
    for created in (1.7e9, 1.7e9 + 0.0015, 1.7e9 + 0.9996, 1.7e9 + 1.25, 1.7e9 + 0.5):
        record = logging.makeLogRecord({"created": created, "msecs": created % 1 * 1000})
        assert ours.formatTime(record) == theirs.formatTime(record)
