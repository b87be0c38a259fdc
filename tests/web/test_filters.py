"""Filtered lists by pages; and list, pages, export and counts agree on what a filter leaves."""

import csv
import io
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from db.engine import Database
from tests.reviews.test_query import MICROSECOND, found, record
from tests.test_api import NOON, follow, ids
from web.filters import FILTERS


def test_links_keep_the_filters_and_lead_to_every_match_once(
    client: TestClient, database: Database
) -> None:
    matching = []
    for number in range(12):
        matching.append(record(database, "50% & más + más", at=NOON + number // 3 * MICROSECOND))
        record(database, "other", at=NOON + number // 3 * MICROSECOND)
        record(database, "50% & más + más", contact="+1", at=NOON)
    query = "q=50%25%20%26%20M%C3%81S%20%2B&contact=whatsapp:+15551234567"
    query += "&since=2026-03-01T13:00:00+01:00&status="
    for limit in (2, 5, 50):
        pages = [ids(page) for page in follow(client, f"/api/reviews?{query}&limit={limit}")]
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert [number for page in pages for number in page] == matching[::-1]


def cursor_of(client: TestClient, query: str) -> str:
    link: str = client.get(f"/api/reviews?{query}&limit=1").links["next"]["url"]
    return link.rpartition("cursor=")[2]


def test_a_cursor_of_another_filter_is_refused(client: TestClient, database: Database) -> None:
    for status in ("sent", "read") * 2:
        record(database, status=status)
    cursor = cursor_of(client, "status=read&since=2026-03-01T12:00Z&contact=%2B15551234567")
    unfiltered = cursor_of(client, "")
    for query in (
        *(f"cursor={cursor}", f"status=sent&cursor={cursor}", f"status=read&cursor={cursor}"),
        f"status=read&since=2026-03-01T12:01Z&contact=%2B15551234567&cursor={cursor}",
        f"status=read&until=2026-03-01T12:00Z&contact=%2B15551234567&cursor={cursor}",
        f"status=read&cursor={unfiltered}",
        f"cursor={unfiltered}-00000000",
    ):
        for limit in ("", "&limit=1"):
            response = client.get(f"/api/reviews?{query}{limit}")
            assert response.status_code == 422
            assert "belongs to a list with other filters" in response.text
    # The same filter, in another order and other words.
    same = "contact=whatsapp:+15551234567&since=2026-03-01T13:00+01:00&q=%20&status=read"
    assert found(client, f"limit=5&cursor={cursor}&{same}") == [2]
    assert found(client, f"{same}&cursor={cursor}") == [2]
    assert found(client, f"cursor={unfiltered}") == [3, 2, 1]


FACTS = list(
    product(("Lamp", "lamp", "Cup"), (None, "sent", "read"), ("+1", "+15"), ("Good", "bad"))
)
"""What a few dozen reviews are of: product, status, contact, text; an hour lies between them."""


def test_list_pages_export_and_counts_agree_whatever_is_asked(
    client: TestClient, database: Database
) -> None:
    for number, (what, status, contact, text) in enumerate(FACTS):
        at = NOON + timedelta(hours=number)
        record(database, text, product=what, status=status, contact=contact, at=at)
    everything = client.get("/api/reviews").json()
    assert len(everything) == len(FACTS)
    choices = product(("", "Lamp"), ("", "pending"), ("", "+15"), ("", "GOOD"), (0, 1), (0, 1))
    # Every third choice has every pair of filters, with and without the others.
    for what, status, contact, q, since, until in [*choices][::3]:
        asked = {"product": what, "status": status, "contact": contact, "q": q}
        if since:
            asked["since"] = "2026-03-02"
        if until:
            asked["until"] = "2026-03-02T15:00"
        expected = [
            review
            for review in everything
            if (not what or review["product_name"] == what)
            and (not status or review["status"] == status)
            and (not contact or review["contact_number"] == contact)
            and (not q or "good" in review["product_review"].lower())
            and (not since or review["created_at"] >= "2026-03-02")
            and (not until or review["created_at"] < "2026-03-02T15:00")
        ]
        query = urlencode(asked)
        assert client.get(f"/api/reviews?{query}").json() == expected
        pages = follow(client, f"/api/reviews?limit=4&{query}")
        assert [review for page in pages for review in page] == expected
        table = csv.DictReader(io.StringIO(client.get(f"/api/reviews.csv?{query}").text))
        assert [int(row["id"]) for row in table] == ids(expected)
        stats = client.get(f"/api/stats?{query}").json()
        assert stats["total"] == len(expected)
        assert stats["by_status"] == Counter(review["status"] for review in expected)
        assert {entry["product_name"]: entry["count"] for entry in stats["by_product"]} == Counter(
            review["product_name"] for review in expected
        )
        assert {entry["day"]: entry["count"] for entry in stats["by_day"]} == Counter(
            datetime.fromisoformat(review["created_at"]).astimezone(UTC).date().isoformat()
            for review in expected
        )


def test_every_filter_is_in_the_form_of_the_page(local: TestClient) -> None:
    values = dict.fromkeys(FILTERS, "2026-01-01")
    page = local.get(f"/?{urlencode(values)}").text
    for name in FILTERS:
        assert re.search(rf'<(input|select)[^>]* name="{name}"', page), name


def test_a_page_passes_over_parameters_that_others_add_to_its_address(local: TestClient) -> None:
    assert local.get("/?fbclid=x&q=lamp").status_code == 200


@pytest.mark.parametrize("path", ["/api/reviews/1", "/api/contacts/%2B15551234567"])
def test_a_route_without_parameters_takes_none(local: TestClient, path: str) -> None:
    response = local.delete(f"{path}?force=1")
    assert response.status_code == 422
    assert response.json()["detail"][0]["msg"] == "unknown parameter; this address takes none"
