"""The floor: an ASGI app without a framework that answers every request with one TwiML document."""

from typing import Any

TWIML = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Response><Message>Hi! Which product is this review for?</Message></Response>"
)
HEADERS = [(b"content-type", b"text/xml; charset=utf-8"), (b"content-length", b"%d" % len(TWIML))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":  # uvicorn takes the exception for "no lifespan"
        raise NotImplementedError(scope["type"])
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": TWIML})
