"""Health: does the process serve, and can it record a message?"""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from web.dependencies import ServicesDep, run_in_thread

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    status: str = Field(examples=["alive"])


@router.get("/healthz", summary="Is the process alive?", response_model=Health)
async def healthz() -> dict[str, str]:
    """Answer 200 as long as the process serves requests."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can messages be recorded?",
    response_model=Health,
    responses={503: {"model": Health, "description": "Not now. `/healthz` may still answer 200."}},
)
async def readyz(services: ServicesDep) -> Response:
    """Say whether a message that arrives now would be recorded.

    The answer comes from the last message or probe of this process: while no message arrives, it
    writes a test row every few seconds and removes it. This request itself does not use the
    database.
    """
    try:
        ready = await run_in_thread(services.writer.is_able)
    except TimeoutError:
        ready = False
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)
