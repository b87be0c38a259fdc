"""`/login` and `/logout`: the key is exchanged for a cookie."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from web.dependencies import Services, ServicesDep
from web.form_body import read_pairs
from web.pages.rendering import page
from web.security import session_cookie
from web.security.access import access_of
from web.security.auth import verify_key

router = APIRouter(include_in_schema=False)

HOME = "./"

Onward = Annotated[str, Query(alias="next")]
"""Where to go after the login: the list with its filters, or a review. Nowhere else."""


def _fit(onward: str) -> str:
    return onward if re.fullmatch(r"\./(\?[!-~]*|reviews/[0-9]+)?", onward, re.ASCII) else HOME


@router.get("/login")
async def show_login(request: Request, onward: Onward = HOME) -> Response:
    """Show the login form. 404 if no API_KEY is set."""
    if access_of(request).api_key is None:
        raise HTTPException(404, "No API_KEY is set, so there is no login.")
    return page(request, "login.html", onward=_fit(onward), trouble="")


@router.post("/login")
async def log_in(request: Request, services: ServicesDep) -> Response:
    """Check the key and set the cookie."""
    form = dict(await read_pairs(request))
    onward = _fit(form.get("next", HOME))
    access = access_of(request)
    key = form.get("api_key", "").strip()
    try:
        right = verify_key(access, request, [key] if key else [])
    except HTTPException as error:
        wait = (error.headers or {})["Retry-After"]
        trouble = f"Too many wrong keys. Try again in {wait} seconds."
        response: Response = page(request, "login.html", 429, onward=onward, trouble=trouble)
        response.headers["Retry-After"] = wait
        return response
    if not right or access.api_key is None:
        return page(
            request, "login.html", 401, onward=onward, trouble="Wrong key, please try again."
        )
    response = RedirectResponse(onward, 303)
    response.set_cookie(
        session_cookie.NAME,
        session_cookie.make(access.cookie_keys[0], access.api_key),
        max_age=session_cookie.SECONDS,
        path=_cookie_path(services),
        secure=not access.is_local,
        httponly=True,
        samesite="lax",
    )
    return response


@router.post("/logout")
async def log_out(services: ServicesDep) -> Response:
    """Remove the cookie from this browser."""
    response = RedirectResponse("login", 303)
    response.delete_cookie(session_cookie.NAME, path=_cookie_path(services))
    return response


def _cookie_path(services: Services) -> str:
    """Return the path of PUBLIC_URL: other services on the same host must not get the cookie."""
    if services.twilio.is_local:
        return "/"  # the browser uses localhost, whatever address Twilio calls
    return urlsplit(services.twilio.public_url or "").path or "/"
