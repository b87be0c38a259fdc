"""The filters of the reviews' routes: what a query may ask for, and what it means."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from core.text import clean
from reviews.query import Cursor, Filter
from whatsapp.address import contact_of


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character is in no review")
    return text


def _read_time(text: object) -> object:
    """Read an ISO 8601 time or day; one without a zone is UTC."""
    if not isinstance(text, str) or not text:
        return text or None
    if "T" in text:
        text = text.replace(" ", "+")  # a plus sign that was left unencoded
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be as 2026-11-23 or 2026-11-23T08:00:00+01:00") from None


def unfit(name: str, value: object, why: str) -> RequestValidationError:
    """Refuse a parameter in the form in which FastAPI does: 422."""
    return RequestValidationError(
        [{"type": "value_error", "loc": ("query", name), "msg": why, "input": value}]
    )


def read_cursor(text: str, chosen: Filter) -> Cursor:
    """Read where a page of this list ended. Raises 422."""
    try:
        cursor = Cursor.parse(text)
    except ValueError as error:
        raise unfit("cursor", text, str(error)) from None
    if cursor.filter != str(chosen):
        raise unfit(
            "cursor", text, "belongs to a list with other filters: begin this one without a cursor"
        )
    return cursor


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_without_nul)] | None

Time = Annotated[datetime | None, BeforeValidator(_read_time)]


async def reject_unknown(request: Request) -> None:
    """Refuse a parameter that the route does not have, or that comes twice. Raises 422.

    Without the filter that was meant, the answer would be everything.
    """
    known = _KNOWN.get(request.scope["route"].path, frozenset())
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name not in known:
            raise unfit(name, values[0], f"not among {', '.join(sorted(known)) or 'none'}")
        if len(values) > 1:
            raise unfit(name, values, "may come once only")


async def _filter(
    product: Annotated[Text, Query(description="This product, to the letter.")] = None,
    status: Annotated[Text, Query(description="This delivery status.")] = None,
    contact: Annotated[
        Text, Query(description="This customer, such as `+15551234567` (`+` as `%2B`).")
    ] = None,
    q: Annotated[
        Text,
        Query(
            description="Part of product, name or review, in any case and any script;"
            " `%` and `_` mean themselves.",
        ),
    ] = None,
    since: Annotated[
        Time,
        Query(
            description="Finished at this time or later: `2026-11-23` or"
            " `2026-11-23T08:00:00+01:00` (ISO 8601), UTC where no zone is given.",
        ),
    ] = None,
    until: Annotated[Time, Query(description="Finished before this time.")] = None,
) -> Filter:
    # An empty value is that of a form's field left empty; forms send line breaks as CRLF.
    product = (product or "").replace("\r\n", "\n")
    number, words = contact_of(contact or ""), clean(q or "")
    for name, given, meant in (("contact", contact, number), ("q", (q or "").strip(), words)):
        if given and not meant:
            raise unfit(name, given, "nothing is left of it without what no review has")
    return Filter(product or None, status or None, number or None, words or None, since, until)


Chosen = Annotated[Filter, Depends(_filter)]

_FILTERS = frozenset({"product", "status", "contact", "q", "since", "until"})

_KNOWN = {
    "/api/reviews": _FILTERS | {"limit", "cursor"},
    "/api/reviews.csv": _FILTERS,
    "/api/stats": _FILTERS,
}


def _digits(text: str) -> str:
    if not re.fullmatch("[1-9][0-9]*", text):  # or "1.0" and "+1" would do to erase review 1
        raise ValueError("must be a whole number")
    return text


# No example: Swagger would fill it in, and erase that one at a press.
ReviewId = Annotated[
    int,
    Field(ge=1, le=2**63 - 1),
    BeforeValidator(_digits),
    Path(description="The review's `id`."),
]
