"""Health: alive, and able to record."""

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from storage import message_log
from web.dependencies import Services, ServicesDep, run_with_timeout

router = APIRouter()


class Health(BaseModel):
    status: str = Field(examples=["alive"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["Health"], summary="Alive?", response_model=Health)
async def healthz() -> dict[str, str]:
    """Say that the process serves."""
    return {"status": "alive"}


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["Health"],
    summary="Able to record?",
    response_model=Health,
    responses={503: {"model": Health, "description": "Not now; /healthz may be green."}},
)
async def readyz(services: ServicesDep) -> Response:
    """Say whether a message that comes now would be recorded."""
    try:
        ready = await run_with_timeout(_is_ready, services)
    except HTTPException:
        ready = False
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


def _is_ready(services: Services) -> bool:
    if not services.writer.is_able():
        return False
    with services.database.write() as connection:
        message_log.prove_writable(connection)
    return True
