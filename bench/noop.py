"""FastAPI doing nothing: it takes two form fields and answers a constant, and keeps nothing."""

from typing import Annotated

from fastapi import FastAPI, Form, Response
from twilio.twiml.messaging_response import MessagingResponse

app = FastAPI()


@app.post("/webhook")
async def webhook(
    From: Annotated[str, Form()],  # noqa: ARG001 - Twilio's names
    Body: Annotated[str, Form()],  # noqa: ARG001
) -> Response:
    response = MessagingResponse()
    response.message("Hi! Which product is this review for?")
    return Response(str(response), media_type="application/xml")
