"""Copies of version 1's code for the migrations, so that later changes don't change them."""

import re
import unicodedata
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import DateTime, Integer
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A column that takes an aware time and returns it in UTC. SQLite stores it without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is not stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BigInt = sa.BigInteger().with_variant(Integer, "sqlite")


def contact_of(address: str) -> str:
    """Return the contact of a Twilio address, `whatsapp:+15551234567`."""
    number = address[9:] if address[:9].lower() == "whatsapp:" else address
    contact = clean(number)
    # curl -d does not encode a plus sign, so it arrives as a space.
    return f"+{contact}" if re.match(" [0-9]", number) else contact


# What XML 1.0 forbids: controls, NUL (PostgreSQL refuses it, too) and lone surrogates.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Remove what XML 1.0 or PostgreSQL refuse, make all line ends LF, and trim both ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ILLEGAL.sub("", text).strip()


def search_text(*parts: str) -> str:
    """Return the text that a search looks in: the parts, folded, with U+001F between them."""
    return fold("\x1f".join(parts))


def fold(text: str) -> str:
    """Return a form in which texts are equal that differ only in case or in how they were typed."""
    if text.isascii():
        return text.lower()
    text = _decompose(_break_runs(text))
    text = _decompose(_decompose(text.casefold()).casefold())
    text = _GREEK_ACCENTS.sub(r"\1", text).replace("i\N{COMBINING DOT ABOVE}", "i")
    return unicodedata.normalize("NFKC", text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i"))


_MOST_MARKS = 30


def _break_runs(text: str) -> str:
    """Decompose, and insert a joiner into long runs of marks: sorting a run is quadratic."""
    broken, marks = [], 0
    for part in "".join(map(_decompose, text)):
        marks = marks + 1 if unicodedata.combining(part) else 0
        if marks > _MOST_MARKS:
            broken.append("\N{COMBINING GRAPHEME JOINER}")
            marks = 1
        broken.append(part)
    return "".join(broken)


def _decompose(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


_GREEK_ACCENTS = re.compile("([\u0370-\u03ff])[\u0300-\u036f]+")
