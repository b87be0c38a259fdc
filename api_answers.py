"""What the reviews' routes answer: the items, written at once or streamed, and ETags."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy.engine import Row

import csv_export
import listing
import reviews
import whatsapp
from listing import Cursor, Filter, Statistics
from services import Services, in_time


class ReviewItem(BaseModel):
    """A finished review."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(examples=[62])
    contact_number: str = Field(
        description="Without the `whatsapp:` prefix.", examples=["+15551234567"]
    )
    user_name: str = Field(examples=["Sarah"])
    product_name: str = Field(examples=["iPhone 15"])
    product_review: str = Field(examples=["Amazing battery life."])
    status: str = Field(
        description="Delivery of the confirmation: "
        + ", ".join([reviews.PENDING, *whatsapp.STATUSES])
        + ".",
        examples=["delivered"],
    )
    created_at: AwareDatetime = Field(description="When the review was finished, UTC.")
    conversation_id: str = Field(
        description="SID of the message that opened the conversation; `legacy-…` for a review of"
        " an earlier program's.",
        examples=["SM00000000000000000000000000000001"],
    )
    message_sid: str | None = Field(description="SID of our confirmation, once Twilio told it.")
    error_code: int | None = Field(
        description="https://www.twilio.com/docs/api/errors, where delivery failed."
    )
    updated_at: AwareDatetime = Field(description="When its status last changed, UTC.")


class ProductCount(BaseModel):
    product_name: str = Field(examples=["iPhone 15"])
    count: int = Field(examples=[12])


class DayCount(BaseModel):
    day: str = Field(description="In UTC.", examples=["2026-11-23"])
    count: int = Field(examples=[7])


class Stats(BaseModel):
    """How many reviews there are, in all and by what."""

    total: int = Field(examples=[62])
    by_product: list[ProductCount] = Field(
        description=f"The most reviewed first, {listing.MOST_PRODUCTS} at most."
    )
    by_day: list[DayCount] = Field(description="Days with reviews, the oldest first.")
    by_status: dict[str, int] = Field(examples=[{"delivered": 40, "read": 22}])


_item = TypeAdapter(ReviewItem)
_items = TypeAdapter(list[ReviewItem])


def write_review(row: Row[Any]) -> bytes:
    """Write one review as JSON."""
    return _item.dump_json(_item.validate_python(row, from_attributes=True))


def write_reviews(rows: Sequence[Row[Any]]) -> bytes:
    """Write reviews as a JSON array."""
    return _items.dump_json(_items.validate_python(rows, from_attributes=True))


def write_stats(counted: Statistics) -> bytes:
    """Write counts as JSON."""
    stats = Stats(
        total=counted.total,
        by_product=[ProductCount(product_name=name, count=n) for name, n in counted.by_product],
        by_day=[DayCount(day=day, count=n) for day, n in counted.by_day],
        by_status=counted.by_status,
    )
    return stats.model_dump_json().encode()


Pages = Iterator[Sequence[Row[Any]]]


async def stream(
    here: Services,
    chosen: Filter,
    after: Cursor | None,
    media_type: str,
    written: Callable[[Sequence[Row[Any]], Pages], Iterator[bytes]],
) -> StreamingResponse:
    """Send the whole list, as `as_array` or `as_csv` write it, page by page. Raises 503."""
    pages = listing.pages(here.database, after, chosen=chosen)
    # The first page is read before the status is sent: a database that is away is a 503.
    first = await in_time(next, pages, ())
    return StreamingResponse(written(first, pages), media_type=media_type, headers=_PRIVATE)


def as_array(first: Sequence[Row[Any]], rest: Pages) -> Iterator[bytes]:
    yield b"[" + write_reviews(first)[1:-1]
    for rows in rest:
        yield b"," + write_reviews(rows)[1:-1]
    yield b"]"


def as_csv(first: Sequence[Row[Any]], rest: Pages) -> Iterator[bytes]:
    yield csv_export.header() + csv_export.lines(first)
    for rows in rest:
        yield csv_export.lines(rows)


_PRIVATE = {"Cache-Control": "private, no-cache"}
"""Customers' words are for no cache on the way; the reader's own asks before it uses its copy."""


def answer(request: Request, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Send JSON, or 304 where the reader has it already (RFC 9110, 13.1.2)."""
    headers = {**_PRIVATE, **(headers or {})}
    seen = body + headers.get("Link", "").encode()
    headers["ETag"] = f'"{hashlib.sha256(seen).hexdigest()[:32]}"'
    known = request.headers.get("if-none-match", "")
    if known == "*" or headers["ETag"] in re.findall('"[^"]*"', known):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
