"""Everything that differs between installations: one frozen object, checked at start."""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from core.paths import ROOT
from core.setting_types import (
    ApiKey,
    CommaSeparated,
    DatabaseUrl,
    Days,
    Hours,
    Origins,
    PublicUrl,
    RedisUrl,
    SecretKeys,
    comma_separated,
)


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


MAKE_A_KEY = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'

STAND_IN = "SECRET_KEY is not set: API_KEY stands in for it, in this version only"


class Settings(BaseModel):
    """The settings of one installation. Raises SettingsError where they are wrong or unsafe.

    `twilio_auth_token` and `secret_key` hold every one that is recognised, several while rotating;
    `public_url` is what Twilio calls, without the path of the webhook.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Literal["local", "production"] = "production"
    database_url: Annotated[DatabaseUrl, Field(repr=False)]
    conversation_store: Literal["memory", "redis", "database"]
    """Left out, it is memory in a local environment and the database in production."""
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    twilio_auth_token: Annotated[CommaSeparated, Field(repr=False)] = ()
    twilio_account_sid: str | None = None
    public_url: PublicUrl | None = None
    api_key: ApiKey | None = Field(default=None, repr=False)
    secret_key: Annotated[SecretKeys, Field(repr=False)] = ()
    """The first seals cookies and makes pseudonyms; those of the others are recognised."""
    cors_origins: Origins = ()
    conversation_ttl_hours: Hours = 24.0
    retention_days: Days | None = None
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
        """The first makes the pseudonym of an erased contact, all are recognised.

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
        """Read the settings; the process environment wins over the file.

        The file is the one that ENV_FILE names, else `.env`, else `.env.local`, each in `folder`.
        Production never falls back on `.env.local`, which would give it an empty database; and
        ENVIRONMENT=local doesn't open the data of a file for production without its checks.
        """
        file = _choose_file(environ, folder)
        in_file = _read(file) if file else {}
        values = {**in_file, **environ}
        named = {name: values[name.upper()] for name in _NAMES if values.get(name.upper())}
        default = "local" if file is not None and file.name == SHIPPED else "production"
        named.setdefault("environment", default)
        if named["environment"] == "local" and file is not None:
            meant = in_file.get("ENVIRONMENT", default)
            if meant != "local":
                problem = f"ENVIRONMENT is local, but {file.name} is for {meant}; see ENV_FILE"
                raise SettingsError([problem], file)
        return cls.model_validate({**named, "file": file})


_NAMES = tuple(name for name in Settings.model_fields if name != "file")

_OWN, SHIPPED = ".env", ".env.local"


def local_environ(environ: Mapping[str, str], folder: Path = ROOT) -> dict[str, str]:
    """Change a process environment so that the settings are local.

    A `.env` that isn't for a local installation is passed over. Raises SettingsError where it
    can't be read.
    """
    local = {**environ, "ENVIRONMENT": "local"}
    file = _choose_file(local, folder)
    own = folder / _OWN
    if not environ.get("ENV_FILE") and file == own and _read(own).get("ENVIRONMENT") != "local":
        local["ENV_FILE"] = SHIPPED
    return local


def _choose_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    if named := environ.get("ENV_FILE"):
        return folder / named
    names = [_OWN] if environ.get("ENVIRONMENT") == "production" else [_OWN, SHIPPED]
    return next((folder / name for name in names if os.path.lexists(folder / name)), None)


def _read(file: Path) -> dict[str, str]:
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
    if not comma_separated(values.get("twilio_auth_token") or ""):
        yield "TWILIO_AUTH_TOKEN is not set: without it anyone could write reviews"
    public_url = values.get("public_url")
    if not public_url:
        yield "PUBLIC_URL is not set: signatures are checked against the address Twilio calls"
    elif not public_url.lower().startswith("https://"):
        yield "PUBLIC_URL must begin with https:// in production"
    api_key = values.get("api_key") or ""
    if len(api_key) < 16:
        yield "API_KEY must have 16 characters or more: it guards the reviews and the numbers"
    secret_keys = comma_separated(values.get("secret_key"))
    if isinstance(secret_keys, tuple) and secret_keys:
        yield from _unsafe_secret_keys(secret_keys, api_key)


def _unsafe_secret_keys(secret_keys: tuple[str, ...], api_key: str) -> Iterator[str]:
    first, *older = secret_keys
    if len(first) < 32:
        yield f"SECRET_KEY must have 32 characters or more; this makes one: {MAKE_A_KEY}"
    if first == api_key:
        yield "SECRET_KEY must not begin with API_KEY, which programs know"
    if any(len(key) < 16 for key in older):  # an older key may be the API_KEY that stood in
        yield "SECRET_KEY lists an older key of fewer than 16 characters"
