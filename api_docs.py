"""`/openapi.json`, `/docs` and `/redoc` as FastAPI has them, from files of our own."""

from fastapi import APIRouter, Depends, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from access import require_owner_when_local
from settings import FOLDER

# Relative addresses: the pages also work below a proxy's prefix.
ICON = "static/icon.svg"
SWAGGER = "static/vendor/swagger-ui-5.35.0"
REDOC = "static/vendor/redoc-2.5.4"

static_files = StaticFiles(directory=FOLDER / "static")
router = APIRouter(include_in_schema=False, dependencies=[Depends(require_owner_when_local)])


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def swagger() -> HTMLResponse:
    return get_swagger_ui_html(
        title="WhatsApp review collector",
        openapi_url="openapi.json",
        swagger_js_url=f"{SWAGGER}/swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}/swagger-ui.css",
        swagger_favicon_url=ICON,
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    return get_redoc_html(
        title="WhatsApp review collector",
        openapi_url="openapi.json",
        redoc_js_url=f"{REDOC}/redoc.standalone.js",
        redoc_favicon_url=ICON,
        with_google_fonts=False,
    )
