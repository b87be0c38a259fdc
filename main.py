"""Compose the app from its settings: `uvicorn main:app`."""

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import api
from core import logs
from core.logs import logger
from core.settings import MAKE_A_KEY, STAND_IN, Settings, SettingsError
from core.shutdown import Shutdown
from db.engine import Database, open_database
from ingest.writer import MessageWriter
from privacy.retention import Retention
from storage.end_cache import open_cache
from web import api_docs, errors, health, webhooks
from web.dependencies import Services
from web.head import HeadAsGet
from web.pages import dashboard, live_feed, login
from web.security.access import Access
from web.security.csrf import origin_of, reject_cross_origin
from web.security.headers import SecurityHeaders
from whatsapp.inbound import TwilioAccount


class App(FastAPI):
    """FastAPI with two middlewares around everything: the answer to an unexpected error too."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(HeadAsGet(super().build_middleware_stack()))


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the app from `settings`, or from the settings file and the environment.

    Nothing is opened before the app starts or, without a lifespan, before its first request.
    """
    settings = settings or _load_settings()
    logs.configure(settings.log_level)
    database = open_database(settings.database_url)
    writer = MessageWriter(
        database,
        open_cache(settings.conversation_store, settings.redis_url),
        settings.conversation_ttl,
        pseudonym_keys=settings.pseudonym_keys,
    )
    retention = Retention(database, settings.retention, settings.conversation_ttl)
    shutdown = Shutdown()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        _log_start(settings)
        # Its own thread: abandoned requests may hold all the others.
        own_thread = CapacityLimiter(1)
        await to_thread.run_sync(writer.start, _end_process, limiter=own_thread)
        retention.start()
        with shutdown.notice():
            yield
        await to_thread.run_sync(writer.close, limiter=own_thread)
        await to_thread.run_sync(retention.close, limiter=own_thread)
        database.close()

    app = App(
        title="WhatsApp review collector",
        description="Every review a customer finishes on WhatsApp is recorded exactly once.",
        lifespan=lifespan,
        redirect_slashes=False,  # Twilio would follow a redirect by GET, without its form
        openapi_url=None,  # web.api_docs serves it, with pages that need no internet
        dependencies=[Depends(reject_cross_origin)],
        routes=webhooks.router.routes,  # first, and without a router in between
    )
    _add_parts(app, settings, database, writer, shutdown)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "X-API-Key", "If-None-Match"],
            expose_headers=["Link", "ETag"],
        )
    errors.install(app)
    _include_routes(app, settings)
    return app


def _add_parts(
    app: FastAPI,
    settings: Settings,
    database: Database,
    writer: MessageWriter,
    shutdown: Shutdown,
) -> None:
    """Put what routes need into `app.state`."""
    app.state.services = Services(
        database,
        writer,
        TwilioAccount(
            auth_tokens=settings.twilio_auth_token,
            account_sid=settings.twilio_account_sid,
            public_url=settings.public_url,
            is_local=settings.is_local,
        ),
        settings.pseudonym_keys[0],
        shutdown,
    )
    app.state.access = Access(
        api_key=settings.api_key,
        cookie_keys=settings.cookie_keys,
        is_local=settings.is_local,
        own_origin=origin_of(settings.public_url) if settings.public_url else None,
    )
    app.state.callback_hint = webhooks.CallbackHint()


def _include_routes(app: FastAPI, settings: Settings) -> None:
    app.include_router(api.router)
    app.include_router(health.router)
    app.include_router(api_docs.router)
    app.include_router(login.router)
    app.include_router(dashboard.router)
    app.include_router(live_feed.router)
    if settings.is_local:
        # Imported here: production has neither an HTTP client nor the simulator.
        from simulator import phone

        app.state.settings = settings
        app.include_router(phone.router)
    app.mount("/static", api_docs.static_files)


def _log_start(settings: Settings) -> None:
    logger.info(
        "starting environment=%s file=%s store=%s",
        settings.environment,
        settings.file.name if settings.file else "none",
        settings.conversation_store,
    )
    if not settings.twilio_auth_token:
        logger.warning("TWILIO_AUTH_TOKEN is not set: signatures are not checked")
    if settings.lacks_secret_key:
        logger.warning("%s; set it to what this prints: %s", STAND_IN, MAKE_A_KEY)


def _end_process() -> None:
    # Without its writer the process records nothing: end it, so that the supervisor restarts it.
    os.kill(os.getpid(), signal.SIGTERM)


def _load_settings() -> Settings:
    try:
        return Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)  # uvicorn's own code for "failed to start": it ends the other workers too


# Imported objects stay for good. Without this, the garbage collector scans them again and again,
# which costs up to a tenth of the throughput (docs/performance.md).
gc.collect()
gc.freeze()

app = create_app()
