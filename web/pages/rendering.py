"""Render pages for people: templates, and the headers that pages need."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.paths import ROOT
from core.text import mask
from reviews import delivery
from web.security import headers
from web.security.access import access_of
from web.security.auth import has_logged_in
from web.security.local_only import is_at_the_machine

_HEADERS = {
    headers.POLICY: headers.PAGES,
    "Cache-Control": "no-store",  # otherwise the back button shows reviews after the logout
}

_templates = Environment(
    loader=FileSystemLoader(ROOT / "web" / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def duration(seconds: float) -> str:
    """Write a duration in its largest unit or two, such as `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_templates.filters.update(mask=mask, delivery=delivery.describe_delivery, duration=duration)


def write(name: str, **values: Any) -> str:
    """Render a template."""
    return _templates.get_template(name).render(**values)


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Answer with a template. It also gets `home`, `logged_in` and `sits_here`."""
    access = access_of(request)
    html = write(
        name,
        home=home_from(request),
        logged_in=has_logged_in(access, request),
        sits_here=is_at_the_machine(access, request),
        **values,
    )
    return HTMLResponse(html, status, _HEADERS)


def path_of(request: Request) -> str:
    """Return the decoded path, without the prefix that a proxy adds."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


MAX_DEPTH = 50
"""Nothing of ours is as deep; links on an error page stay short."""


def home_from(request: Request) -> str:
    """Return the relative address of `/`: pages also work below a proxy's prefix."""
    # A browser counts the slashes that it sees: %2F is none of them.
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    depth = path.count(b"/") - request.scope.get("root_path", "").count("/") - 1
    return "../" * min(depth, MAX_DEPTH) or "./"
