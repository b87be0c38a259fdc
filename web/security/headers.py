"""Security headers on every answer, and the policies of what a browser may load and run."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""For data, files and errors: nothing runs, and nobody shows it in a frame."""

PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
"""For our pages: our own files, and no inline script."""

API_DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; font-src 'self'; worker-src blob:;"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""For Swagger and ReDoc: both start with an inline script."""

POLICY = "Content-Security-Policy"

_POLICY_NAME = POLICY.lower().encode()

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    # Not less: without a referrer browsers send no usable Origin with our forms.
    (b"referrer-policy", b"same-origin"),
]

_DEFAULT = (_POLICY_NAME, NOTHING.encode())


class SecurityHeaders:
    """Middleware around the whole app, so that errors get the headers too.

    A page that sets its own Content-Security-Policy keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    # Plain functions: a coroutine of our own around each of the app's costs each message more.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                for name, _ in message["headers"]:
                    if name == _POLICY_NAME:
                        message["headers"] = [*message["headers"], *_ALWAYS]
                        break
                else:
                    message["headers"] = [*message["headers"], *_ALWAYS, _DEFAULT]
            return send(message)

        return self._app(scope, receive, send_with_headers)
