"""How every error is answered: a browser gets a page, a program gets JSON."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from web.pages.rendering import home_from, page, path_of
from web.security.access import access_of
from whatsapp.errors import InvalidRequest


def install(app: FastAPI) -> None:
    """Have the app answer its exceptions here, unexpected ones too."""
    for kind in (HTTPException, RequestValidationError, InvalidRequest, Exception):
        app.add_exception_handler(kind, answer_error)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an exception of a route. The server logs unexpected ones."""
    headers: Mapping[str, str] | None = None
    match error:
        case RequestValidationError():
            status, problems = 422, [_explain(request, each) for each in error.errors()]
            detail: Any = problems
            sentence = " ".join(map(_sentence, problems))
        case HTTPException():
            status, detail, headers = error.status_code, error.detail, error.headers
            sentence = _SENTENCES.get(detail, detail)
        case InvalidRequest():
            status, detail = error.status, error.detail
            sentence = detail
        case _:
            status, detail = 500, "Internal error."
            sentence = "Please try again. If this happens again, look at the service's log."
    if not _is_page_address(request):
        return JSONResponse({"detail": detail}, status, headers)
    if _is_browser(request):
        response = _page(request, status, sentence)
        response.headers.update(headers or {})
    else:
        response = JSONResponse({"detail": detail}, status, headers)
    response.headers["Vary"] = "Accept"
    return response


def _is_page_address(request: Request) -> bool:
    return not path_of(request).startswith("/api/")


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "").lower()


def _page(request: Request, status: int, sentence: str) -> Response:
    if status == 401:
        if access_of(request).api_key is not None:
            return RedirectResponse(_login_address(request), 303)
        sentence = (
            "Reviews are shown on the computer that runs this service. To read them from"
            " elsewhere, set API_KEY."
        )
    title = _TITLES.get(status, "Something went wrong")
    return page(request, "error.html", status, title=title, why=sentence)


def _login_address(request: Request) -> str:
    address = f"{home_from(request)}login"
    if request.method != "GET":
        return address
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{address}?{urlencode({'next': f'.{path_of(request)}{query}'})}"


_TITLES = {
    401: "This page is private",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible",
    422: "Please check your search",
    503: "Reviews are not available right now",
}

_SENTENCES = {
    "Not Found": "There is no page at this address.",
    "Method Not Allowed": "This address can't be opened in this way.",
}
"""For a reader, in place of the framework's words."""

_DATE = "That date doesn't look right. Use the date picker."

_FIELDS = {
    "since": _DATE,
    "until": _DATE,
    "cursor": "This page link is out of date. Go to the newest reviews.",
    "review_id": "A review's number is a whole number.",
}


def _sentence(problem: Mapping[str, Any]) -> str:
    name = problem["loc"][-1]
    return _FIELDS.get(name, f"{name}: {problem['msg'].removeprefix('Value error, ')}")


def _explain(request: Request, problem: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the parameters that there are in place of an unknown one, as /docs lists them."""
    place: Sequence[Any] = problem["loc"]
    if problem["type"] != "extra_forbidden" or place[0] != "query":
        return jsonable_encoder(problem)  # type: ignore[no-any-return]
    path = request.scope["route"].path
    described = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    known = [each["name"] for each in described.get("parameters", []) if each["in"] == "query"]
    message = f"unknown parameter; this address takes {', '.join(sorted(known)) or 'none'}"
    return {**problem, "msg": message}
