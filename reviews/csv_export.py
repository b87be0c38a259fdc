"""Write reviews as CSV (RFC 4180) in UTF-8 that is safe to open in a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable

from reviews.query import ReviewRow

COLUMNS = (
    "id",
    "contact_number",
    "user_name",
    "product_name",
    "product_review",
    "status",
    "created_at",
)

# What a spreadsheet may run as a formula: at the beginning of a cell, or after a line break, tab or
# semicolon, which it may read as the end of a cell. Invisible characters and quotes before it don't
# prevent that. https://owasp.org/www-community/attacks/CSV_Injection
_SPACES = r" \f\v\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_MARKS = r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_UNSEEN = rf"""[{_SPACES}{_MARKS}"']*"""
_FORMULA = re.compile(rf"{_UNSEEN}[=+\-@＝＋－＠\t\r]")
_FORMULA_INSIDE = re.compile(rf"([\n\r\t;])(?={_UNSEEN}[=+\-@＝＋－＠])")

_NUMBER = re.compile(r"\+[0-9]+")


def header() -> bytes:
    """Return the line with the names of the columns."""
    return _write([COLUMNS])


def lines(rows: Iterable[ReviewRow]) -> bytes:
    """Return one record for each review. Times are in UTC, ISO 8601; lines end with CRLF."""
    return _write(
        (
            row.id,
            row.contact_number
            if _NUMBER.fullmatch(row.contact_number)
            else _cell(row.contact_number),
            _cell(row.user_name),
            _cell(row.product_name),
            _cell(row.product_review),
            _cell(row.status),
            row.created_at.isoformat(),
        )
        for row in rows
    )


def _cell(text: str) -> str:
    """Put an apostrophe before what may be a formula, so that spreadsheets show it as text."""
    text = _FORMULA_INSIDE.sub(r"\1'", text)
    return f"'{text}" if _FORMULA.match(text) else text


def _write(rows: Iterable[Iterable[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
