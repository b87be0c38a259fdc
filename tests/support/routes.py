"""Every route of an app, with an address that it answers."""

import re
from collections.abc import Iterable, Iterator

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route

FILES = ["/static/base.css", "/static/icon.svg"]


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield method and path of each route; the files below /static have two examples."""
    for route in _flat(app.routes):
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"}):
            path = route.path.replace("{contact:path}", "+15551234567")
            yield method, re.sub("{.*?}", "1", path)
    for path in FILES:
        yield "GET", path


def _flat(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            router = getattr(route, "original_router", None)  # FastAPI's, of include_router
            yield from _flat(router.routes if router else [])
