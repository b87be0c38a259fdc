"""The owner's pages: the list of reviews, and one review with its conversation."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from core.clock import utc_now
from privacy import erasure
from reviews import funnel, query
from reviews.query import EVERYTHING, Cursor
from reviews.repository import PENDING
from storage import message_log
from web.dependencies import ServicesDep, run_with_timeout
from web.filters import FILTERS, PageQuery, ReviewId
from web.pages.rendering import home_from, page
from web.security.auth import require_owner
from whatsapp.statuses import STATUSES

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_owner)])

CARDS = 30
"""Reviews per page."""


class DashboardQuery(PageQuery, extra="ignore"):
    """The query of `/`. Links from elsewhere may add parameters of their own."""

    erased: bool = False
    """A review has just been erased."""


@router.get("/")
async def show_reviews(
    request: Request, services: ServicesDep, asking: Annotated[DashboardQuery, Query()]
) -> Response:
    """Show a page of the reviews that match the filters, newest first."""
    chosen, after = asking.filter(), asking.after()
    now = utc_now()
    rows = await run_with_timeout(query.page, services.database, after, CARDS + 1, chosen)
    figures = None
    if chosen == EVERYTHING and after is None:
        figures = await run_with_timeout(funnel.read, services.database)
    asked = {name: value for name in FILTERS if (value := request.query_params.get(name))}
    older = {}
    if len(rows) > CARDS:
        rows = rows[:CARDS]
        older = {**asked, "cursor": str(Cursor.after(rows[-1], chosen))}
    return page(
        request,
        "dashboard.html",
        now=now,
        figures=figures,
        reviews=rows,
        asked=dict.fromkeys(FILTERS, "") | asked,
        is_day={name: _is_day(asked.get(name, "")) for name in ("since", "until")},
        statuses=(PENDING, *STATUSES),
        filtered=chosen != EVERYTHING,
        query=urlencode(asked),
        older=urlencode(older),
        is_first=after is None,
        erased=asking.erased,
    )


def _is_day(text: str) -> bool:
    """Say whether a date field can hold `text`: it would drop a time."""
    return not text or (len(text) == 10 and text[4] == text[7] == "-")


@router.get("/reviews/{review_id}")
async def show_review(request: Request, services: ServicesDep, review_id: ReviewId) -> Response:
    """Show one review, its delivery status and its conversation."""
    row = await run_with_timeout(query.find, services.database, review_id)
    if row is None:
        raise HTTPException(404, "Review not found. It may have been deleted.")
    said = await run_with_timeout(
        message_log.read_transcript, services.database, row.conversation_id
    )
    return page(request, "review.html", review=row, messages=said)


@router.post("/reviews/{review_id}/erase")
async def erase_review(request: Request, services: ServicesDep, review_id: ReviewId) -> Response:
    """Erase a review as `DELETE /api/reviews/{review_id}` does, and go to the list."""
    if not await run_with_timeout(erasure.erase_review, services.database, review_id):
        raise HTTPException(404, "Review not found. It may have been deleted.")
    return RedirectResponse(f"{home_from(request)}?erased=1", 303)
