"""`/openapi.json`, `/docs` and `/redoc`: FastAPI's pages, served from our own files."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from core.paths import ROOT
from web.security import headers
from web.security.auth import require_owner_when_local

# Relative addresses: the pages must also work below a proxy's prefix.
ICON = "static/icon.svg"

SWAGGER = "static/vendor/swagger-ui-5.35.0"

REDOC = "static/vendor/redoc-2.5.4"


class Files(StaticFiles):
    """Serve files that a browser revalidates each time, by their ETag.

    Otherwise it could mix JavaScript modules of two versions.
    """

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


static_files = Files(directory=ROOT / "web" / "static")

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_owner_when_local)])


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def swagger() -> HTMLResponse:
    page = get_swagger_ui_html(
        title="WhatsApp review collector",
        openapi_url="openapi.json",
        swagger_js_url=f"{SWAGGER}/swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}/swagger-ui.css",
        swagger_favicon_url=ICON,
    )
    page.headers[headers.POLICY] = headers.API_DOCS
    return page


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    page = get_redoc_html(
        title="WhatsApp review collector",
        openapi_url="openapi.json",
        redoc_js_url=f"{REDOC}/redoc.standalone.js",
        redoc_favicon_url=ICON,
        with_google_fonts=False,
    )
    page.headers[headers.POLICY] = headers.API_DOCS
    return page
