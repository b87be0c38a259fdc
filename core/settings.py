"""Everything that differs between installations: one frozen object, checked at start."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from core.paths import ROOT


class SettingsError(Exception):
    """An installation that must not start; the text names every problem at once."""

    def __init__(self, problems: list[str], file: Path | None = None) -> None:
        self.problems, self.file = problems, file
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(
            f"These settings are not safe to start with (read from {_place(file)}):\n{listed}\n"
            "To try it on this machine instead: python3 run.py (see .env.example and README.md)"
        )


def _place(file: Path | None) -> str:
    return f"{file.name} and the process environment" if file else "the process environment"


def _database_url(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is not a database URL such as postgresql://user:password@host/name"
        ) from None
    if "\0" in unquote(url):
        raise ValueError("has a NUL in it (%00), which no name can have")
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise ValueError(
            "must begin with postgresql:// (or postgres://) or sqlite:///path/to/file.db"
        )
    if backend == "sqlite" and parsed.query:
        raise ValueError("has options behind a question mark; for SQLite there are none here")
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ValueError("names no file: reviews in memory would be lost at every restart")
    return url


def _public_url(url: str) -> str:
    scheme, separator, rest = url.partition("#")[0].partition("://")
    url = f"{scheme.lower()}{separator}{rest.rstrip('/')}"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError where the port is no port
    except ValueError:
        raise ValueError("is not a URL such as https://reviews.example.com") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "?" in url:
        raise ValueError("must be scheme, host and optional prefix: https://reviews.example.com")
    if parts.path.endswith(("/webhook", "/twilio-status-callback")):
        raise ValueError("is the address of the whole service, without /webhook at its end")
    if "_" in parts.hostname:
        raise ValueError("has an underscore in its host name, which Twilio does not call back")
    return url


MAKE_A_KEY = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'

STAND_IN = "SECRET_KEY is not set: API_KEY stands in for it, in this version only"


def _api_key(key: str) -> str:
    if not re.fullmatch("[!-~]([ -~]*[!-~])?", key):  # what a header can carry
        raise ValueError("must be letters, digits and signs of ASCII, without spaces at its ends")
    return key


def _secret_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_api_key, keys))


def _redis_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError where the port is no port
    except ValueError:
        raise ValueError("is not a URL such as redis://localhost:6379/0") from None
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
        raise ValueError("must begin with redis:// or rediss://, as in redis://localhost:6379/0")
    allowed = {"unix": "db=[0-9]+", "rediss": "ssl_[a-z_]+=.+"}.get(parts.scheme, "$")
    if not all(re.match(allowed, option) for option in parts.query.split("&") if option):
        raise ValueError("has options behind its question mark other than ssl_… with rediss://")
    return url


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin == "*":
            raise ValueError("* would show the reviews to every web page")
        if not re.fullmatch(r"https?://[^/?#@*\s]+", origin):
            raise ValueError("must be origins: https://shop.example.com, without a path")
    return origins


def _hours(hours: float) -> float:
    if not (math.isfinite(hours) and 0 < hours <= 24 * 365):
        raise ValueError("must be a number of hours above 0, fractions allowed, at most 8760")
    return hours


def _days(days: float) -> float:
    if not (math.isfinite(days) and 0 < days <= 36_500):
        raise ValueError("must be a number of days above 0, fractions allowed, at most 36500")
    return days


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]


class Settings(BaseModel):
    """The settings of one installation. Raises SettingsError where they are wrong or unsafe.

    `twilio_auth_token` and `secret_key` hold every one that is recognised, several while rotating;
    `public_url` is what Twilio calls, without the path of the webhook.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Literal["local", "production"] = "production"
    database_url: Annotated[str, AfterValidator(_database_url), Field(repr=False)]
    conversation_store: Literal["memory", "redis", "database"]
    """Left out, it is memory in a local environment and the database in production."""
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(default=None, repr=False)
    twilio_auth_token: Annotated[CommaSeparated, Field(repr=False)] = ()
    twilio_account_sid: str | None = None
    public_url: Annotated[str, AfterValidator(_public_url)] | None = None
    api_key: Annotated[str, AfterValidator(_api_key)] | None = Field(default=None, repr=False)
    secret_key: Annotated[CommaSeparated, AfterValidator(_secret_keys), Field(repr=False)] = ()
    """The first seals cookies and makes pseudonyms; those of the others are recognised."""
    cors_origins: Annotated[CommaSeparated, AfterValidator(_origins)] = ()
    conversation_ttl_hours: Annotated[float, AfterValidator(_hours)] = 24.0
    retention_days: Annotated[float, AfterValidator(_days)] | None = None
    """After so many days the log's words are erased, never the reviews; None keeps them."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = "INFO"
    file: Path | None = None
    """The file that was read: not a setting, kept for the log."""

    @property
    def is_local(self) -> bool:
        return self.environment == "local"

    @property
    def conversation_ttl(self) -> timedelta:
        return timedelta(hours=self.conversation_ttl_hours)

    @property
    def retention(self) -> timedelta | None:
        return timedelta(days=self.retention_days) if self.retention_days else None

    @property
    def lacks_secret_key(self) -> bool:
        """Say whether API_KEY stands in for SECRET_KEY."""
        return self.api_key is not None and not self.secret_key

    @property
    def cookie_keys(self) -> tuple[str, ...]:
        """The first seals the cookie of a login, all are recognised. None: there is no login."""
        return self.secret_key or ((self.api_key,) if self.api_key else ())

    @property
    def pseudonym_keys(self) -> tuple[str, ...]:
        """The first makes the pseudonym of a forgotten contact, all are recognised.

        Before SECRET_KEY there was API_KEY, or no key at all.
        """
        return tuple(dict.fromkeys((*self.cookie_keys, self.api_key or "", "")))

    @model_validator(mode="wrap")
    @classmethod
    def _name_every_problem(
        cls, values: dict[str, Any], handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        local = values.get("environment") == "local"
        problems: list[str] = []
        settings = None
        try:
            settings = handler({"conversation_store": "memory" if local else "database", **values})
        except ValidationError as error:
            problems += [_sentence(problem) for problem in error.errors()]
        if values.get("conversation_store") == "redis" and not values.get("redis_url"):
            problems.append("REDIS_URL is not set, and CONVERSATION_STORE=redis needs it")
        if values.get("environment", "production") == "production":
            problems += _unsafe_in_production(values)
        if problems or settings is None:
            raise SettingsError(problems, values.get("file"))
        return settings

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, folder: Path = ROOT) -> Self:
        """Read the process environment and the one file that belongs to it, which it overrides."""
        file = _choose_file(environ.get("ENVIRONMENT", ""), folder)
        values = {**_read(file), **environ}
        named = {name: values[name.upper()] for name in _NAMES if values.get(name.upper())}
        if "environment" not in named and file is not None and file.name == ".env.local":
            named["environment"] = "local"
        return cls.model_validate({**named, "file": file})


_NAMES = tuple(name for name in Settings.model_fields if name != "file")


def _choose_file(environment: str, folder: Path) -> Path | None:
    own, shipped = folder / ".env", folder / ".env.local"
    if environment == "local":
        candidates = [own] if _read(own).get("ENVIRONMENT") == "local" else [shipped]
    elif environment == "production":
        candidates = [own]
    else:
        candidates = [own, shipped]
    return next((file for file in candidates if os.path.lexists(file)), None)


def _read(file: Path | None) -> dict[str, str]:
    if file is None or not os.path.lexists(file):
        return {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError([f"{file.name} is not a text file in UTF-8"], file) from None
    except OSError as error:  # a link that leads nowhere, too: the secret is not there yet
        raise SettingsError([f"{file.name} can't be read: {error.strerror}"], file) from None
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value}


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0]).upper() if problem["loc"] else "A setting"
    if problem["type"] == "missing":
        return f"{name} is not set"
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']}"
    if problem["type"] == "literal_error":
        return f"{name} must be {problem['ctx']['expected']}"
    return f"{name}: {problem['msg']}"


def _unsafe_in_production(values: Mapping[str, Any]) -> Iterator[str]:
    if not _comma_separated(values.get("twilio_auth_token") or ""):
        yield "TWILIO_AUTH_TOKEN is not set: without it anyone could write reviews"
    public_url = values.get("public_url")
    if not public_url:
        yield "PUBLIC_URL is not set: signatures are checked against the address Twilio calls"
    elif not public_url.lower().startswith("https://"):
        yield "PUBLIC_URL must begin with https:// in production"
    api_key = values.get("api_key") or ""
    if len(api_key) < 16:
        yield "API_KEY must have 16 characters or more: it guards the reviews and the numbers"
    secret_keys = _comma_separated(values.get("secret_key"))
    if isinstance(secret_keys, tuple) and secret_keys:
        yield from _unsafe_secret_keys(secret_keys, api_key)


def _unsafe_secret_keys(secret_keys: tuple[str, ...], api_key: str) -> Iterator[str]:
    first, *older = secret_keys
    if len(first) < 32:
        yield f"SECRET_KEY must have 32 characters or more; this makes one: {MAKE_A_KEY}"
    if first == api_key:
        yield "SECRET_KEY must begin with another key than API_KEY, which programs are given"
    if any(len(key) < 16 for key in older):  # an older key may be the API_KEY that stood in
        yield "SECRET_KEY lists an older key of fewer than 16 characters"
