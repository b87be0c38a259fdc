"""The query parameters of the routes that list reviews: the one list of filters."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core.text import clean
from reviews.query import Cursor, Filter
from whatsapp.address import contact_of


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("no review contains a NUL character")
    return text


def _product(text: str) -> str:
    return text.replace("\r\n", "\n")  # forms send line breaks as CRLF


def _contact(text: str) -> str:
    return _require_rest(text, contact_of(text))


def _words(text: str) -> str:
    return _require_rest(text.strip(), clean(text))


def _require_rest(given: str, rest: str) -> str:
    if given and not rest:
        raise ValueError("contains only characters that are removed from messages")
    return rest


def _time(text: object) -> object:
    """Read an ISO 8601 time or day; one without a zone is UTC."""
    if not isinstance(text, str) or not text:
        return text or None
    if "T" in text:
        text = text.replace(" ", "+")  # a plus sign that was sent unencoded
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must look like 2026-11-23 or 2026-11-23T08:00:00+01:00") from None


Text = Annotated[str, Field(max_length=500), AfterValidator(_without_nul)]
"""An empty text is the same as none: a form sends every field."""

Time = Annotated[datetime | None, BeforeValidator(_time)]


class NoQuery(BaseModel):
    """The query of a route that has no parameters. An unknown parameter is rejected with 422."""

    model_config = ConfigDict(extra="forbid")


class FilterQuery(BaseModel):
    """The filters. An unknown parameter is rejected: without it, the answer would be everything."""

    model_config = ConfigDict(extra="forbid")

    product: Annotated[Text, AfterValidator(_product)] = Field(
        "", description="This product, exactly."
    )
    status: Text = Field("", description="This delivery status.")
    contact: Annotated[Text, AfterValidator(_contact)] = Field(
        "", description="This customer, e.g. `+15551234567` (write `+` as `%2B`)."
    )
    q: Annotated[Text, AfterValidator(_words)] = Field(
        "",
        description="Part of the product, name or review, in any case and any script."
        " `%` and `_` have no special meaning.",
    )
    since: Time = Field(
        None,
        description="Finished at this time or later: `2026-11-23` or `2026-11-23T08:00:00+01:00`"
        " (ISO 8601). UTC if no zone is given.",
    )
    until: Time = Field(None, description="Finished before this time.")

    def filter(self) -> Filter:
        """Return what these parameters mean."""
        return Filter(
            product=self.product or None,
            status=self.status or None,
            contact=self.contact or None,
            words=self.q or None,
            since=self.since,
            until=self.until,
        )


FILTERS = tuple(FilterQuery.model_fields)


class PageQuery(FilterQuery):
    """The filters, and a page of the list."""

    cursor: str = Field(
        "", description="The end of the previous page, from its `Link` header. Same filters."
    )

    def after(self) -> Cursor | None:
        """Return where the page begins; None: with the newest review. Raises 422."""
        if not self.cursor:
            return None
        try:
            cursor = Cursor.parse(self.cursor)
        except ValueError as error:
            raise _unfit("cursor", self.cursor, str(error)) from None
        if cursor.filter != str(self.filter()):
            raise _unfit(
                "cursor", self.cursor, "belongs to a list with other filters: start without cursor"
            )
        return cursor


def _unfit(name: str, value: object, why: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("query", name), "msg": why, "input": value}]
    )


async def reject_repeated(request: Request) -> None:
    """Reject a parameter that comes twice: FastAPI would take the last one. Raises 422."""
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if len(values) > 1:
            raise _unfit(name, values, "must not be repeated")


def _digits(text: Any) -> Any:
    if not re.fullmatch("[1-9][0-9]*", text):  # pydantic takes "1.0" and "+1": both erase review 1
        raise ValueError("must be a whole number")
    return text


# No example: Swagger would fill it in, and one click would erase that review.
ReviewId = Annotated[
    int,
    Field(ge=1, le=2**63 - 1),
    BeforeValidator(_digits),
    Path(description="The review's `id`."),
]

Filters = Annotated[FilterQuery, Query()]

Nothing = Annotated[NoQuery, Query()]
