"""How pages for people are written: templates, what a browser may do with them, their errors."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from core.paths import ROOT
from core.text import mask
from reviews import delivery
from web.security.access import access_of
from web.security.auth import has_logged_in
from web.security.local_only import is_at_the_machine

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with less, a browser would not name its Origin in a form
    "Cache-Control": "no-store",  # or the back button shows reviews after the logout
}

_templates = Environment(
    loader=FileSystemLoader(ROOT / "web" / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def duration(seconds: float) -> str:
    """Write how long something took, in its largest unit or two."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_templates.filters.update(mask=mask, delivery=delivery.describe_delivery, duration=duration)


def write(name: str, **values: Any) -> str:
    """Fill in a template."""
    return _templates.get_template(name).render(**values)


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a template; it also gets `home`, the way to the first page, and who asks."""
    access = access_of(request)
    logged_in = has_logged_in(access, request)
    sits_here = is_at_the_machine(access, request)
    html = write(name, home=home_from(request), logged_in=logged_in, sits_here=sits_here, **values)
    return HTMLResponse(html, status)


def home_from(request: Request) -> str:
    """Tell the relative address of `/`: pages also work below a proxy's prefix."""
    return "../" * (request.scope["route"].path.count("/") - 1) or "./"


class PageRoute(APIRoute):
    """A route whose refusals are pages as well; who has to log in first is led there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_as_page(request: Request) -> Response:
            try:
                response = await answer(request)
            except RequestValidationError as error:
                response = _error(request, 422, "; ".join(map(_sentence, error.errors())))
            except HTTPException as error:
                response = _refusal(request, error)
            response.headers.update(HEADERS)
            return response

        return answer_as_page


def _refusal(request: Request, error: HTTPException) -> Response:
    if error.status_code != 401:
        response = _error(request, error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response
    if access_of(request).api_key is None:
        why = "It is shown on the machine it runs on. To read it from elsewhere, set API_KEY."
        return _error(request, 401, why)
    address = f"{home_from(request)}login"
    if request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        onward = f"{request.scope['path'].removeprefix(request.scope.get('root_path', ''))}{query}"
        address += "?" + urlencode({"next": f".{onward}"})
    return RedirectResponse(address, 303)


def _error(request: Request, status: int, why: str) -> Response:
    title = _TITLES.get(status, "That was refused")
    return page(request, "error.html", status, title=title, why=why)


_TITLES = {
    401: "This page is private",
    404: "There is nothing here",
    422: "That cannot be looked for",
    503: "The reviews cannot be read just now",
}


def _sentence(problem: Any) -> str:
    return f"{problem['loc'][-1]}: {problem['msg'].removeprefix('Value error, ')}"
