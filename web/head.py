"""HEAD wherever GET is: the same status and headers, and no body (RFC 9110, 9.3.2)."""

from collections.abc import Awaitable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _HeadersSent(Exception):
    """Ends the app's answer: nobody reads the rest, and a stream would go on and on."""


class HeadAsGet:
    """Middleware that has the app answer GET, and sends the headers only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        return (self._answer_head if is_head else self._app)(scope, receive, send)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_headers(message: Message) -> None:
            await send(message)
            await send({"type": "http.response.body"})
            raise _HeadersSent

        with suppress(_HeadersSent):
            await self._app({**scope, "method": "GET"}, receive, send_headers)
