"""Answers of the routes that read reviews: JSON with an ETag, or a stream."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from reviews import csv_export, query
from reviews.query import Cursor, Filter, ReviewRow
from reviews.schemas import write_reviews
from web.dependencies import Services, run_with_timeout

Pages = Iterator[Sequence[ReviewRow]]


async def stream(
    services: Services,
    chosen: Filter,
    after: Cursor | None,
    media_type: str,
    written: Callable[[Sequence[ReviewRow], Pages], Iterator[bytes]],
) -> StreamingResponse:
    """Stream the whole list page by page, as `as_array` or `as_csv` write it. Raises 503."""
    pages = query.pages(services.database, after, chosen=chosen)
    # Read the first page before the status is sent: an outage must be a 503.
    first = await run_with_timeout(next, pages, ())
    return StreamingResponse(written(first, pages), media_type=media_type, headers=_PRIVATE)


def as_array(first: Sequence[ReviewRow], rest: Pages) -> Iterator[bytes]:
    yield b"[" + write_reviews(first)[1:-1]
    for rows in rest:
        yield b"," + write_reviews(rows)[1:-1]
    yield b"]"


def as_csv(first: Sequence[ReviewRow], rest: Pages) -> Iterator[bytes]:
    yield csv_export.header() + csv_export.lines(first)
    for rows in rest:
        yield csv_export.lines(rows)


_PRIVATE = {"Cache-Control": "private, no-cache"}
"""Shared caches must not keep customers' words; the reader's own cache revalidates its copy."""


def answer(request: Request, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON, or with 304 if the reader already has it (RFC 9110, 13.1.2)."""
    headers = {**_PRIVATE, **(headers or {})}
    seen = body + headers.get("Link", "").encode()
    headers["ETag"] = f'"{hashlib.sha256(seen).hexdigest()[:32]}"'
    known = request.headers.get("if-none-match", "")
    if known == "*" or headers["ETag"] in re.findall('"[^"]*"', known):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
