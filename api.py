"""The JSON API for the owner: read, count, export and erase reviews."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from pydantic import BeforeValidator, Field

from core.text import clean
from privacy import erasure
from reviews import counts, csv_export
from reviews.query import Cursor, Filter, ReviewRow, find, page
from reviews.schemas import ReviewItem, Stats, write_review, write_reviews, write_stats
from web.dependencies import Services, ServicesDep, run_with_timeout
from web.filters import Filters, Nothing, PageQuery, ReviewId, reject_repeated
from web.responses import answer, as_array, as_csv, stream
from web.security.auth import require_owner
from whatsapp.address import contact_of

Described = Mapping[int | str, dict[str, Any]]

_REJECTIONS: Described = {
    401: {"description": "The API key is missing or wrong."},
    429: {"description": "Too many wrong keys from this address. Wait for `Retry-After` seconds."},
    503: {"description": "The database is not available. Try again."},
}


router = APIRouter(
    dependencies=[Depends(require_owner), Depends(reject_repeated)], responses={**_REJECTIONS}
)
"""The routes that need the API key."""

_ETAG = {
    "description": "Send it as `If-None-Match` to get 304 while nothing has changed (RFC 9110)."
    " A streamed list has none.",
    "schema": {"type": "string"},
}

_LINK = {
    "description": 'With `limit`: the next page, `<…>; rel="next"` (RFC 8288).',
    "schema": {"type": "string"},
}

_WITH_ETAG: Described = {
    200: {"headers": {"ETag": _ETAG}},
    304: {"description": "Nothing has changed since the `ETag` in `If-None-Match`."},
}


class ListQuery(PageQuery):
    """The query of the list: filters, cursor, and the size of a page."""

    limit: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None, BeforeValidator(lambda text: text or None)
    ] = Field(None, description="Page size. Without it, all reviews come in one streamed array.")


@router.get(
    "/api/reviews",
    tags=["Reviews"],
    summary="List reviews, newest first",
    response_model=list[ReviewItem],
    responses={**_WITH_ETAG, 200: {"headers": {"ETag": _ETAG, "Link": _LINK}}},
)
async def list_reviews(
    request: Request, services: ServicesDep, asking: Annotated[ListQuery, Query()]
) -> Response:
    """Return the reviews that match all filters as one JSON array: all of them, or a page."""
    chosen, after, limit = asking.filter(), asking.after(), asking.limit
    if limit is None:
        return await stream(services, chosen, after, "application/json", as_array)
    rows = await run_with_timeout(page, services.database, after, limit + 1, chosen)
    headers = {}
    if len(rows) > limit:
        rows = rows[:limit]
        headers["Link"] = f'<{_address_of_next(request, services, rows[-1], chosen)}>; rel="next"'
    return answer(request, write_reviews(rows), headers)


def _address_of_next(request: Request, services: Services, last: ReviewRow, chosen: Filter) -> str:
    # A developer reads on this machine, whatever address Twilio calls.
    base = None if services.twilio.is_local else services.twilio.public_url
    base = base or str(request.base_url).rstrip("/")
    asked = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    query = urlencode([*asked, ("cursor", str(Cursor.after(last, chosen)))])
    return f"{base}/api/reviews?{query}"


@router.get(
    "/api/reviews.csv",
    tags=["Reviews"],
    summary="Export reviews as CSV, newest first",
    response_class=Response,
    responses={
        200: {
            "description": "RFC 4180 in UTF-8. The first line names the columns: "
            + ", ".join(csv_export.COLUMNS)
            + ".",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    },
)
async def export_reviews(services: ServicesDep, asking: Filters) -> Response:
    """Return the reviews that match all filters, for a spreadsheet.

    A text that a spreadsheet would run as a formula starts with an apostrophe.
    """
    response = await stream(services, asking.filter(), None, "text/csv", as_csv)
    response.headers["Content-Disposition"] = 'attachment; filename="reviews.csv"'
    return response


@router.get(
    "/api/stats",
    tags=["Reviews"],
    summary="Count reviews by product, day and delivery status",
    response_model=Stats,
    responses={**_WITH_ETAG},
)
async def count_reviews(request: Request, services: ServicesDep, asking: Filters) -> Response:
    """Count the reviews that match all filters. All counts are of one moment."""
    counted = await run_with_timeout(counts.count, services.database, asking.filter())
    return answer(request, write_stats(counted))


_NO_REVIEW: Described = {404: {"description": "There is no such review. It may have been erased."}}

_CROSS_ORIGIN: Described = {
    403: {"description": "A page of another origin sent the request (`Origin`)."}
}


@router.get(
    "/api/reviews/{review_id}",
    tags=["Reviews"],
    summary="Get one review",
    response_model=ReviewItem,
    responses={**_NO_REVIEW, **_WITH_ETAG},
)
async def read_review(
    request: Request, services: ServicesDep, review_id: ReviewId, _asking: Nothing
) -> Response:
    """Return one review."""
    row = await run_with_timeout(find, services.database, review_id)
    if row is None:
        raise HTTPException(404, "There is no such review.")
    return answer(request, write_review(row))


@router.delete(
    "/api/reviews/{review_id}",
    tags=["Erasing"],
    summary="Erase one review",
    status_code=204,
    responses={**_NO_REVIEW, **_CROSS_ORIGIN},
)
async def erase_review(services: ServicesDep, review_id: ReviewId, _asking: Nothing) -> Response:
    """Erase a review and the words of its conversation permanently.

    The customer's other reviews stay, and so does a conversation that is under way.
    """
    if not await run_with_timeout(erasure.erase_review, services.database, review_id):
        raise HTTPException(404, "There is no such review.")
    return Response(status_code=204)


@router.delete(
    "/api/contacts/{contact:path}",
    tags=["Erasing"],
    summary="Erase one customer",
    status_code=204,
    responses={
        404: {"description": "Nothing is known of this contact. It may have been erased."},
        422: {"description": "Not a valid contact."},
        **_CROSS_ORIGIN,
    },
)
async def erase_contact(
    services: ServicesDep,
    contact: Annotated[str, Path(description="As in `contact_number`, e.g. `+15551234567`.")],
    _asking: Nothing,
) -> Response:
    """Erase all data of a customer permanently: reviews, messages and the number itself."""
    number = contact_of(contact)
    if not number or clean(contact) != contact.strip():
        raise HTTPException(
            422, "Not a valid contact: send it as in `contact_number`, e.g. +15551234567."
        )
    erased = await run_with_timeout(
        erasure.erase_contact, services.database, number, services.pseudonym_key
    )
    if erased is None:
        raise HTTPException(404, "Nothing is known of this contact.")
    return Response(status_code=204)
