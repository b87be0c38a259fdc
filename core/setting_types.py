"""The values that settings take: how each is read, and what is wrong with one that is rejected."""

import math
import re
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def _database_url(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is not a database URL such as postgresql://user:password@host/name"
        ) from None
    if "\0" in unquote(url):
        raise ValueError("contains a NUL (%00)")
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise ValueError(
            "must begin with postgresql:// (or postgres://) or sqlite:///path/to/file.db"
        )
    if backend == "sqlite" and parsed.query:
        raise ValueError("has options after a question mark, which SQLite doesn't take here")
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


def _api_key(key: str) -> str:
    if not re.fullmatch("[!-~]([ -~]*[!-~])?", key):  # what a header can carry
        raise ValueError("must be printable ASCII characters, without a space at either end")
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
        raise ValueError(
            "has unknown options after its question mark: only ssl_… is known, with rediss://"
        )
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


def comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(comma_separated)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
ApiKey = Annotated[str, AfterValidator(_api_key)]
SecretKeys = Annotated[CommaSeparated, AfterValidator(_secret_keys)]
Origins = Annotated[CommaSeparated, AfterValidator(_origins)]
Hours = Annotated[float, AfterValidator(_hours)]
Days = Annotated[float, AfterValidator(_days)]
