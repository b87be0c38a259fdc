"""The HTTP surface for programs: the reviews, and health. Twilio's side is in webhooks.py."""

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
from web.filters import Chosen, ReviewId, read_cursor, reject_unknown
from web.responses import answer, as_array, as_csv, stream
from web.security.auth import require_owner
from whatsapp.address import contact_of

_REJECTIONS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No key, or a wrong one."},
    429: {"description": "Too many wrong keys from there: ask again when `Retry-After` says."},
    503: {"description": "The database is away: ask again."},
}


router = APIRouter(
    dependencies=[Depends(require_owner), Depends(reject_unknown)], responses=_REJECTIONS
)
"""The routes that need the key."""

_ETAG = {
    "description": "Send it as `If-None-Match`, and get 304 while nothing has changed (RFC 9110)."
    " The whole list, streamed, has none.",
    "schema": {"type": "string"},
}

_LINK = {
    "description": 'With `limit`: the next page, `<…>; rel="next"` (RFC 8288).',
    "schema": {"type": "string"},
}

_WITH_ETAG: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": _ETAG}},
    304: {"description": "Nothing has changed since the `ETag` that `If-None-Match` names."},
}


@router.get(
    "/api/reviews",
    tags=["Reviews"],
    summary="List reviews, newest first",
    response_model=list[ReviewItem],
    responses={**_WITH_ETAG, 200: {"headers": {"ETag": _ETAG, "Link": _LINK}}},
)
async def list_reviews(
    request: Request,
    services: ServicesDep,
    chosen: Chosen,
    limit: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None,
        BeforeValidator(lambda text: text or None),
        Query(description="Left out: all, in one streamed array."),
    ] = None,
    cursor: Annotated[
        str | None,
        Query(description="Where the page before ended, from its Link header; same filters."),
    ] = None,
) -> Response:
    """Read all reviews that the filters leave as one JSON array, however many, or a page."""
    after = read_cursor(cursor, chosen) if cursor else None
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
            "description": "RFC 4180 in UTF-8, the first line names the columns: "
            + ", ".join(csv_export.COLUMNS)
            + ".",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    },
)
async def export_reviews(services: ServicesDep, chosen: Chosen) -> Response:
    """Read the reviews that the filters leave, for a spreadsheet.

    What a spreadsheet would run as a formula has an apostrophe before it.
    """
    response = await stream(services, chosen, None, "text/csv", as_csv)
    response.headers["Content-Disposition"] = 'attachment; filename="reviews.csv"'
    return response


@router.get(
    "/api/stats",
    tags=["Reviews"],
    summary="Count reviews by product, day and delivery status",
    response_model=Stats,
    responses=_WITH_ETAG,
)
async def count_reviews(request: Request, services: ServicesDep, chosen: Chosen) -> Response:
    """Count the reviews that the filters leave, at one moment."""
    counted = await run_with_timeout(counts.count, services.database, chosen)
    return answer(request, write_stats(counted))


_NO_REVIEW: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such review (any more)."}
}

_FOREIGN: dict[int | str, dict[str, Any]] = {
    403: {"description": "A foreign Origin: another site's page asked for it."}
}


@router.get(
    "/api/reviews/{review_id}",
    tags=["Reviews"],
    summary="Read one review",
    response_model=ReviewItem,
    responses={**_NO_REVIEW, **_WITH_ETAG},
)
async def read_review(request: Request, services: ServicesDep, review_id: ReviewId) -> Response:
    """Read one review."""
    row = await run_with_timeout(find, services.database, review_id)
    if row is None:
        raise HTTPException(404, "There is no such review.")
    return answer(request, write_review(row))


@router.delete(
    "/api/reviews/{review_id}",
    tags=["Erasing"],
    summary="Erase one review",
    status_code=204,
    responses={**_NO_REVIEW, **_FOREIGN},
)
async def erase_review(services: ServicesDep, review_id: ReviewId) -> Response:
    """Erase a review for good, and what was said in its conversation.

    The customer's other reviews stay, and so does what they may be writing just now.
    """
    if not await run_with_timeout(erasure.erase_review, services.database, review_id):
        raise HTTPException(404, "There is no such review.")
    return Response(status_code=204)


@router.delete(
    "/api/contacts/{contact:path}",
    tags=["Erasing"],
    summary="Forget a customer",
    status_code=204,
    responses={
        404: {"description": "Nothing is known of this contact (any more)."},
        422: {"description": "No contact is like this."},
        **_FOREIGN,
    },
)
async def erase_contact(
    services: ServicesDep,
    contact: Annotated[str, Path(description="As in `contact_number`: `+15551234567`.")],
) -> Response:
    """Erase a customer whole: reviews, words and the number itself."""
    if not clean(contact) or clean(contact) != contact.strip():
        raise HTTPException(422, "No contact is like this.")
    contact = contact_of(contact)
    if not contact:
        raise HTTPException(422, "The contact is missing.")
    forgotten = await run_with_timeout(
        erasure.erase_contact, services.database, contact, services.pseudonym_key
    )
    if forgotten is None:
        raise HTTPException(404, "Nothing is known of this contact.")
    return Response(status_code=204)
