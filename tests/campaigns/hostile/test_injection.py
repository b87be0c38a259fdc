"""SQL, odd bytes and addresses in every place that takes text: they stay text."""

import itertools
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from audit.check import check
from ingest.writer import MessageWriter
from reviews import counts
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form, photo_form
from simulator.twiml_reader import read_twiml
from tests.conftest import MakeClient, database_of, listed
from tests.support.captures import post_unsigned
from tests.test_architecture import FILES, imports_of, package_of

SQL = [
    *(
        "'; DROP TABLE reviews; --",
        "' OR '1'='1",
        "x' UNION SELECT * FROM messages --",
        "1; DELETE",
    ),
    *(
        "\\'; DELETE FROM reviews; --",
        "%' OR 1=1 --",
        "$$; DROP TABLE messages; $$",
        "' || pg_sleep",
    ),
    *("%(contact)s", ":contact", "?", "{0}", "%s%s%s", "'", '"', "\\", "/*", "`", "%", "_", "L_mp"),
]
FIELDS = ["Body", "From", "MessageSid", "AccountSid", "ButtonText", "MediaUrl0", "ProfileName", "X"]
FILTERS = ["product", "status", "contact", "q", "since", "until", "limit", "cursor", "x"]
BYTES = [
    *(b"\0", b"%00", b"a%00b", b"%ED%A0%BD", b"%ED%B2%A9%ED%A0%BD", b"%C0%AF", b"%FF%FE", b"\xff"),
    *(b"%E2%80%AE", b"\xe2\x80\xae", b"%F4%90%80%80", b"%EF%BF%BE", b"%u0000", b"%", b"%2", b"%zz"),
    *(b"%0D%0AX-Injected:1", b"%1B%5B2J", b"%7F", b"..%2F..%2Fetc%2Fpasswd", b"%25%30%30", b"\x85"),
]


@pytest.fixture
def app(make_client: MakeClient, database_url: str) -> TestClient:
    """A local app without a token, with one finished review."""
    client = make_client(database_url=database_url, conversation_store="database")
    for text in ("Hi", "Lamp", "Ana", "Bright."):
        Customer(Simulator(client), "+15551234567").says(text)
    return client


def rows(client: TestClient) -> dict[str, list[Any]]:
    """Read all there is in the tables."""
    database = database_of(client)
    with database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        return {table: [*connection.execute(sa.text(f"SELECT * FROM {table}"))] for table in tables}


def test_sql_in_any_field_of_a_message_is_text(app: TestClient) -> None:
    for number, (sql, name) in enumerate(itertools.product(SQL, FIELDS)):
        app.post("/webhook", data=message_form(f"+1555{number:07}", "Hi", **{name: sql}))
    writer = Customer(Simulator(app), "+15559999999")
    for sql in SQL:
        for _ in range(4):
            writer.says(sql)
    reviews = listed(app)
    assert [review["product_review"] for review in reversed(reviews)] == ["Bright.", *SQL]
    assert {review["user_name"] for review in reviews} == {"Ana", *SQL}
    assert check(database_of(app)).problems == []


def test_sql_in_any_field_of_a_status_callback_changes_nothing(app: TestClient) -> None:
    before = rows(app)
    for sql in SQL:
        for name in ("MessageSid", "MessageStatus", "ErrorCode", "To"):
            form = {"MessageSid": "SM1", "MessageStatus": "x", "To": "+1", name: sql}
            app.post("/twilio-status-callback", params={"review": sql}, data=form)
    assert rows(app) == before


def test_sql_in_any_filter_finds_what_is_so_to_the_letter(app: TestClient) -> None:
    before = rows(app)
    for path in ("/api/reviews", "/api/stats"):
        for name in FILTERS:
            for sql in SQL:
                answer = app.get(path, params={name: sql})
                assert answer.status_code in (200, 422), (path, name, sql)
                if answer.status_code == 200 and path == "/api/reviews":
                    assert answer.json() == [], (name, sql)
    assert rows(app) == before


def test_sql_in_an_address_erases_nothing(app: TestClient) -> None:
    before = rows(app)
    for sql in SQL:
        for path in ("/api/reviews/", "/api/contacts/"):
            answer = app.delete(path + quote(sql, safe=""))
            assert answer.status_code in (404, 422), (path, sql)
    assert rows(app) == before


def requests(odd: bytes) -> Iterator[tuple[str, str, bytes, dict[bytes, bytes]]]:
    """Put some bytes into every place of a request that takes any: method, path, body, headers."""
    text = odd.decode("latin-1")
    if b"\0" not in odd and b"\xff" not in odd and b"\x85" not in odd:
        for name in FILTERS:
            yield "GET", f"/api/reviews?{name}={text}", b"", {}
        yield "GET", f"/api/reviews?{text}=x", b"", {}
        for place in ("/api/reviews/", "/api/contacts/", "/static/", "/"):
            yield "GET", place + text, b"", {}
            yield "DELETE", place + text, b"", {}
        yield (
            "POST",
            f"/twilio-status-callback?review={text}",
            b"MessageSid=1&MessageStatus=sent",
            {},
        )
    for field in (b"Body", b"From", b"MessageSid", b"To", b"MessageStatus", b"ErrorCode", odd):
        for path in ("/webhook", "/twilio-status-callback"):
            yield "POST", path, b"From=%2B1555&Body=x&" + field + b"=" + odd, {}
    raw = odd.replace(b"\0", b"")
    for header in (b"If-None-Match", b"Origin", b"X-API-Key", b"Authorization", b"Cookie", b"Host"):
        yield "GET", "/api/reviews?limit=1", b"", {header: raw}
        yield "POST", "/webhook", b"From=%2B1555&Body=x", {header: raw}
    for header in (b"Content-Type", b"Content-Length", b"X-Forwarded-Host", b"X-Twilio-Signature"):
        yield "POST", "/webhook", b"From=%2B1555&Body=x", {header: raw}


def test_odd_bytes_break_nothing_wherever_they_are(
    make_client: MakeClient, database_url: str
) -> None:
    client = make_client(database_url=database_url, api_key="k" * 16)
    for odd in BYTES:
        for method, path, body, headers in requests(odd):
            given: Any = {b"Content-Type": b"application/x-www-form-urlencoded", **headers}
            answer = client.request(method, path, content=body, headers=given)
            assert answer.status_code < 500, (method, path, body, headers)
            assert "x-injected" not in answer.headers
    assert check(database_of(client)).problems == []


def test_files_beside_the_pages_are_not_served(app: TestClient) -> None:
    for path in (
        *("../main.py", "..%2Fmain.py", "%2e%2e/main.py", "vendor/../../main.py", "..%5Cmain.py"),
        *("/etc/passwd", "%2Fetc%2Fpasswd", "....//main.py", "%00../main.py", "vendor", ""),
    ):
        assert app.get(f"/static/{path}").status_code == 404, path


def test_a_bidi_override_is_kept_where_it_was_typed(app: TestClient) -> None:
    for override in ("a\u202eb", "\u2066x\u2069", "\u200f", "\ufeff"):
        customer = Customer(Simulator(app), f"+1555{override}")
        for said in ("Hi", "Lamp", "Ana", f"x{override}x"):
            customer.says(said)
        newest = listed(app)[0]
        assert newest["contact_number"] == customer.contact
        assert newest["product_review"] == f"x{override}x"


def test_the_address_of_a_photo_is_kept_and_never_fetched(app: TestClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/photo"
        for caption in ("Hi", "Lamp", "", "Ana", "Bright."):
            form = {**photo_form("+15550000001", caption), "MediaUrl0": url, "MediaUrl1": url}
            assert read_twiml(app.post("/webhook", data=form)).text
        assert listed(app)[0]["contact_number"] == "+15550000001"
        for path in ("/api/reviews.csv", "/api/stats", "/readyz", "/docs"):
            assert app.get(path).status_code == 200
        with pytest.raises(BlockingIOError):
            listener.accept()
    with database_of(app).read() as connection:
        assert url in str(connection.scalars(sa.text("SELECT media FROM messages")).all())


def test_no_module_that_serves_can_ask_another_server_over_http() -> None:
    # The phone is local alone, and its line leads to this app itself: pages/test_phone_safety.py.
    clients = {"httpx", "httpx2", "requests", "urllib3", "aiohttp", "http"}
    for file in FILES:
        if package_of(file) not in {"simulator", "cli"}:
            assert not {name.partition(".")[0] for name in imports_of(file)} & clients, file


@pytest.fixture
def fragile(make_client: MakeClient, sqlite_url: str) -> TestClient:
    """An app whose faults are answered, as a server's are, and not raised."""
    app = make_client(database_url=sqlite_url).app
    return TestClient(app, raise_server_exceptions=False)


def test_a_fault_of_ours_is_answered_without_a_word_of_it(
    fragile: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(counts, "count", fail)
    monkeypatch.setattr(MessageWriter, "submit", fail)
    form = b"From=%2B1555&Body=Hi"
    for answer in (fragile.get("/api/stats"), post_unsigned(fragile, "/webhook", form)):
        assert answer.status_code == 500
        assert answer.json() == {"detail": "Internal error."}
