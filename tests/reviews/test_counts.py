"""The counts: by product, by day in UTC, by delivery status; all of one moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from db.engine import Database, open_database
from reviews import counts
from simulator.customer import Customer
from tests.reviews.test_query import MICROSECOND, record
from tests.test_api import NOON, save

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOTHING = {"total": 0, "by_product": [], "by_day": [], "by_status": {}}


def stats(client: TestClient, query: str = "") -> dict[str, Any]:
    response = client.get(f"/api/stats?{query}")
    assert response.status_code == 200
    counted: dict[str, Any] = response.json()
    return counted


def products(counted: dict[str, Any]) -> list[tuple[str, int]]:
    return [(entry["product_name"], entry["count"]) for entry in counted["by_product"]]


def days(counted: dict[str, Any]) -> list[tuple[str, int]]:
    return [(entry["day"], entry["count"]) for entry in counted["by_day"]]


def test_reviews_are_counted_by_product_day_and_status(
    client: TestClient, database: Database
) -> None:
    assert stats(client) == NOTHING
    for product, status, at in (
        *(("b", "read", NOON), ("b", "sent", NOON + timedelta(days=400)), ("a", None, NOON)),
        *(("C", "read", NOON - timedelta(days=1)), ("c", "read", NOON), ("b", None, NOON)),
    ):
        record(database, product=product, status=status, at=at)
    assert client.get("/api/stats").headers["content-type"] == "application/json"
    counted = stats(client)
    # The most reviewed first; a product is what was typed, to the letter.
    by_product = [{"product_name": name, "count": 1} for name in ("C", "a", "c")]
    assert counted == {
        "total": 6,
        "by_product": [{"product_name": "b", "count": 3}, *by_product],
        "by_day": [
            {"day": "2026-02-28", "count": 1},
            {"day": "2026-03-01", "count": 4},
            {"day": "2027-04-05", "count": 1},
        ],
        "by_status": {"pending": 2, "read": 3, "sent": 1},
    }
    assert [*counted] == ["total", "by_product", "by_day", "by_status"]
    assert [*counted["by_status"]] == ["pending", "read", "sent"]
    assert stats(client, "product=b&status=pending") == {
        "total": 1,
        "by_product": [{"product_name": "b", "count": 1}],
        "by_day": [{"day": "2026-03-01", "count": 1}],
        "by_status": {"pending": 1},
    }
    assert stats(client, "status=failed") == NOTHING


def test_a_finished_conversation_is_counted_at_once(customer: Customer) -> None:
    client: TestClient = customer.twilio.client
    for text in ("Hi", "Lamp", "Ana"):
        customer.says(text)
        assert stats(client) == NOTHING
    customer.says("Fine")
    counted = stats(client)
    assert (counted["total"], counted["by_status"]) == (1, {"read": 1})
    assert products(counted) == [("Lamp", 1)]


def test_a_day_ends_at_midnight_in_utc(client: TestClient, database: Database) -> None:
    for at in (MIDNIGHT - MICROSECOND, MIDNIGHT, MIDNIGHT + timedelta(days=1) - MICROSECOND):
        record(database, at=at)
    assert days(stats(client)) == [("2026-03-01", 1), ("2026-03-02", 2)]
    assert days(stats(client, "since=2026-03-02")) == [("2026-03-02", 2)]
    assert days(stats(client, "until=2026-03-02")) == [("2026-03-01", 1)]


def test_any_word_that_an_adopted_review_has_as_status_is_counted(
    client: TestClient, database: Database
) -> None:
    words = ["Zugestellt ✓", "READ", "read", "", "pending", "total"]
    for word in words:
        save(database, NOON, status=word)
    assert stats(client)["by_status"] == dict.fromkeys(sorted(words), 1)
    assert [*stats(client)["by_status"]] == sorted(words)


def test_the_most_reviewed_products_are_told_and_all_are_counted(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MAX_PRODUCTS", 3)
    for number, product in enumerate("dcbaeaea"):
        record(database, product=product, at=NOON + timedelta(days=number))
    counted = stats(client)
    assert products(counted) == [("a", 3), ("e", 2), ("b", 1)]
    assert counted["total"] == sum(counted["by_status"].values()) == 8
    assert len(days(counted)) == 8


def test_the_numbers_agree_with_each_other_while_reviews_arrive(
    database: Database, database_url: str
) -> None:
    record(database)
    arriving = open_database(database_url)

    def record_another(*_: Any) -> None:
        record(arriving, product="Cup", status="read", at=MIDNIGHT)

    sa.event.listen(database.engine, "after_cursor_execute", record_another)
    counted = counts.count(database)
    sa.event.remove(database.engine, "after_cursor_execute", record_another)
    arriving.close()
    assert counts.count(database).total >= counted.total + 2  # some came between the questions
    for numbers in (counted.by_product, counted.by_day, [*counted.by_status.items()]):
        assert sum(number for _, number in numbers) == counted.total
