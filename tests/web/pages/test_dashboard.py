"""The first page: what it shows of the reviews, in which order, and with whose words as text."""

import html
import re
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from reviews import delivery
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.conftest import MakeClient, database_of
from tests.reviews.test_query import record
from tests.test_api import NOON
from tests.web.pages.hostile_texts import HOSTILE
from web.pages.dashboard import CARDS
from web.security import headers
from whatsapp.statuses import FAILURES, STATUSES

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


def shown(client: TestClient, path: str = "/") -> list[int]:
    """Read the ids of the cards on a page."""
    answer = client.get(path)
    assert answer.status_code == 200
    return [int(number) for number in re.findall(r'data-id="([0-9]+)"', answer.text)]


def link(text: str, words: str) -> str:
    """Read where the link with these words leads."""
    [address] = re.findall(rf'href="([^"]*)"[^>]*>{words}<', text)
    return html.unescape(address)


def test_the_newest_reviews_come_first_and_the_rest_page_by_page(client: TestClient) -> None:
    database = database_of(client)
    ids = [record(database, at=NOON + timedelta(minutes=n // 2)) for n in range(2 * CARDS + 5)]
    seen, path = [], "/"
    while True:
        seen.append(shown(client, path))
        text = client.get(path).text
        if 'rel="next"' not in text:
            break
        path = "/" + link(text, "Older").removeprefix("./")
    assert [len(page) for page in seen] == [CARDS, CARDS, 5]
    assert [number for page in seen for number in page] == ids[::-1]
    assert link(text, "Newest") == "./"


def test_the_filters_are_in_the_address_and_in_the_form(client: TestClient) -> None:
    database = database_of(client)
    lamp = record(database, "Bright & <i>warm</i>", product="Lamp", status="read")
    sofa = record(database, "Soft", product="Sofa", name="Lampert", at=NOON + timedelta(days=2))
    assert shown(client, "/?q=LAMP&product=&status=&since=&until=") == [sofa, lamp]
    for query in ("product=Lamp", "status=read", "until=2026-03-02", "q=%3Ci%3E"):
        found = shown(client, f"/?{query}")
        answer = [item["id"] for item in client.get(f"/api/reviews?{query}").json()]
        assert found == answer, query
    text = client.get("/?q=a%22b&product=Lamp&status=read&since=2026-01-01&until=").text
    assert 'name="q" value="a&#34;b"' in text
    assert 'name="product" value="Lamp"' in text
    assert "<option selected>read</option>" in text
    assert 'type="date" name="since" value="2026-01-01"' in text
    with_time = client.get("/?since=2026-01-01T08:00:00Z").text
    assert 'type="text" name="since" value="2026-01-01T08:00:00Z"' in with_time


def test_older_pages_and_the_export_keep_the_filters(client: TestClient) -> None:
    database = database_of(client)
    for n in range(CARDS + 1):
        record(database, product="A & B", at=NOON + timedelta(minutes=n))
        record(database, product="Other", at=NOON + timedelta(minutes=n))
    text = client.get("/?product=A+%26+B&q=").text
    older = urlsplit(link(text, "Older"))
    assert parse_qs(older.query)["product"] == ["A & B"]
    assert len(shown(client, f"/?{older.query}")) == 1
    export = client.get("/" + link(text, "Export as CSV"))
    assert len(export.text.splitlines()) == 1 + CARDS + 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=yesterday", "look right. Use the date picker."),
        ("cursor=x", "This page link is out of date. Go to the newest reviews."),
        ("q=%00", "q: "),
        ("q=" + "x" * 501, "q: String should have at most 500 characters"),
    ],
)
def test_a_value_that_cannot_be_is_told_on_a_page(
    client: TestClient, query: str, sentence: str
) -> None:
    answer = client.get(f"/?{query}")
    assert answer.status_code == 422
    assert sentence in answer.text
    assert "Back to reviews" in answer.text


def test_the_cursor_of_another_list_is_refused(client: TestClient) -> None:
    record(database_of(client))
    cursor = "20260301T120000.000000-1"
    assert client.get(f"/?cursor={cursor}").status_code == 200
    assert client.get(f"/?cursor={cursor}&q=x").status_code == 422


def test_whatever_customers_write_is_text(local: TestClient) -> None:
    for number, text in enumerate(HOSTILE, 1):
        contact = f"+1555000{number:04}"
        writer = Customer(Simulator(local), contact)
        for said in ("Hi", text[:150], text[:150], text):
            writer.says(said)
        for path in (f"/?contact=%2B{contact[1:]}", f"/reviews/{number}"):
            page = local.get(path).text
            read = Reader(page)
            assert (read.tags.count("script"), read.tags.count("img")) in {(1, 1), (0, 1)}
            assert not [name for name, _ in read.attributes if name.startswith("on")]
            addresses = {
                value for name, value in read.attributes if name in {"href", "src", "action"}
            }
            assert not [address for address in addresses if not OUR_ADDRESS.match(address)]
            assert read.tags.count("h1") == 1
            assert text in "".join(read.texts)


OUR_ADDRESS = re.compile(r"(\.\.?/|docs$|phone$|api/reviews\.csv|static/|#main$|reviews/)[!-~]*")


class Reader(HTMLParser):
    """Reads a page as a browser would: tags, attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_long_review_folds(local: TestClient) -> None:
    record(database_of(local), "Short.")
    assert "<details" not in local.get("/").text
    record(database_of(local), "word " * 200)
    text = local.get("/").text
    assert text.count("<details") == 1
    assert "word word" in text


def test_numbers_are_masked_on_the_first_page(local: TestClient) -> None:
    contacts = ["+15551234590", "US.13491208655302741918", "+1555"]
    for contact in contacts:
        record(database_of(local), contact=contact)
    text = local.get("/").text
    assert not [contact for contact in contacts if contact in text]
    for shown, spoken in (
        ("+1…90", "number ending in 90"),
        ("…18", "number ending in 18"),
        ("…", "number hidden"),
    ):
        assert f">{shown}</span>" in text
        assert f">{spoken}</span>" in text


def test_every_delivery_status_has_a_sign_and_words() -> None:
    told = {status: delivery.describe_delivery(status, None) for status in ("pending", *STATUSES)}
    assert [told[status].sign for status in ("sent", "delivered", "read")] == [
        *("sent", "delivered", "read")
    ]
    assert {told[status].sign for status in FAILURES} == {"failed"}
    assert all(each.words.isprintable() and "confirmation" in each.words for each in told.values())
    assert delivery.describe_delivery("failed", 63015).words == (
        "confirmation failed: the customer's phone has not joined the Twilio sandbox (code 63015)"
    )
    assert "99999" in delivery.describe_delivery("undelivered", 99999).words
    assert (
        delivery.describe_delivery("of an earlier program", None).words == "of an earlier program"
    )


def test_an_empty_page_says_how_to_get_the_first_review(client: TestClient) -> None:
    text = client.get("/").text
    for way in ("python3 run.py chat", "python3 run.py demo", "/webhook", "https://wa.me/"):
        assert way in text
    assert "No reviews match" in client.get("/?q=x").text


def test_a_database_that_is_away_is_told_on_a_page(make_client: MakeClient) -> None:
    away = "postgresql://postgres@127.0.0.1:1/nowhere"
    client = make_client(database_url=away, conversation_store="database")
    for method, path in (("GET", "/"), ("GET", "/reviews/1"), ("POST", "/reviews/1/erase")):
        answer = client.request(method, path)
        assert answer.status_code == 503
        assert "Reviews are not available right now" in answer.text
        assert answer.headers["content-security-policy"] == POLICY


def test_every_page_keeps_to_a_policy_without_inline_scripts_and_styles(
    production: TestClient,
) -> None:
    record(database_of(production), "word " * 200, status="failed")
    key = {"X-API-Key": "k" * 16}
    for path in ("/", "/reviews/1", "/reviews/99", "/?since=x", "/login", "/?q=zzz"):
        answer = production.get(path, headers=key)
        assert answer.headers["content-security-policy"] == POLICY == headers.PAGES
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", answer.text)
        assert not re.search(r'(src|href|action)="(https?:)?//(?!www\.twilio\.com)', answer.text)
        # Below a proxy's prefix an address from the root would lead out of it.
        assert not re.search(r'(src|href|action)="/', answer.text)


def test_what_the_pages_load_is_there(local: TestClient) -> None:
    record(database_of(local))
    for path in ("/", "/reviews/1"):
        for address in re.findall(r'(?:src|href)="([^"]*static[^"]*)"', local.get(path).text):
            found = local.get(f"{path}/../{address}" if path != "/" else f"/{address}")
            assert found.status_code == 200, address
