"""Write reviews and counts as JSON, as the API documents it."""

from collections.abc import Sequence

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from reviews import counts, repository
from reviews.counts import Statistics
from reviews.query import ReviewRow
from whatsapp.statuses import STATUSES


class ReviewItem(BaseModel):
    """A finished review."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(examples=[62])
    contact_number: str = Field(
        description="The customer, without the prefix `whatsapp:`.", examples=["+15551234567"]
    )
    user_name: str = Field(examples=["Sarah"])
    product_name: str = Field(examples=["iPhone 15"])
    product_review: str = Field(examples=["Amazing battery life."])
    status: str = Field(
        description="Delivery status of the confirmation: "
        + ", ".join([repository.PENDING, *STATUSES])
        + ".",
        examples=["delivered"],
    )
    created_at: AwareDatetime = Field(description="When the review was finished, UTC.")
    conversation_id: str = Field(
        description="SID of the message that opened the conversation; `legacy-…` for a review of"
        " an earlier program.",
        examples=["SM00000000000000000000000000000001"],
    )
    message_sid: str | None = Field(
        description="SID of the confirmation, once Twilio has reported it."
    )
    error_code: int | None = Field(
        description="Twilio's error code, if the delivery failed:"
        " https://www.twilio.com/docs/api/errors."
    )
    updated_at: AwareDatetime = Field(description="When the status last changed, UTC.")


class ProductCount(BaseModel):
    product_name: str = Field(examples=["iPhone 15"])
    count: int = Field(examples=[12])


class DayCount(BaseModel):
    day: str = Field(description="In UTC.", examples=["2026-11-23"])
    count: int = Field(examples=[7])


class Stats(BaseModel):
    """Numbers of reviews."""

    total: int = Field(examples=[62])
    by_product: list[ProductCount] = Field(
        description=f"The most reviewed first, at most {counts.MAX_PRODUCTS}."
    )
    by_day: list[DayCount] = Field(description="Days with reviews, the oldest first.")
    by_status: dict[str, int] = Field(examples=[{"delivered": 40, "read": 22}])


_item = TypeAdapter(ReviewItem)

_items = TypeAdapter(list[ReviewItem])


def write_review(row: ReviewRow) -> bytes:
    """Return a review as a JSON object."""
    return _item.dump_json(_item.validate_python(row, from_attributes=True))


def write_reviews(rows: Sequence[ReviewRow]) -> bytes:
    """Return reviews as a JSON array."""
    return _items.dump_json(_items.validate_python(rows, from_attributes=True))


def write_stats(counted: Statistics) -> bytes:
    """Return counts as a JSON object."""
    stats = Stats(
        total=counted.total,
        by_product=[ProductCount(product_name=name, count=n) for name, n in counted.by_product],
        by_day=[DayCount(day=day, count=n) for day, n in counted.by_day],
        by_status=counted.by_status,
    )
    return stats.model_dump_json().encode()
