"""Text as customers type it: clean it, fold it for the search, mask a number."""

import re
import unicodedata
from itertools import groupby

# Braille blank and the Hangul fillers: Unicode counts them as letters, and they are invisible.
_EMPTY_LETTERS = frozenset("\u2800\u3164\u115f\u1160\uffa0")

_EMPTY_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def is_blank(text: str) -> bool:
    """Say whether `text` has no visible character: only spaces, controls, format marks, fillers."""
    return all(
        character in _EMPTY_LETTERS or unicodedata.category(character) in _EMPTY_CATEGORIES
        for character in text
    )


# What XML 1.0 forbids: controls, NUL (PostgreSQL refuses it, too) and lone surrogates.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Remove what XML 1.0 or PostgreSQL refuse, make all line ends LF, and trim both ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ILLEGAL.sub("", text).strip()


def search_text(*parts: str) -> str:
    """Return the text that a search looks in: the parts, folded, with U+001F between them.

    `clean` removes U+001F, so no search term matches across two parts.
    """
    return fold("\x1f".join(parts))


def fold(text: str) -> str:
    """Return a form in which texts are equal that differ only in case or in how they were typed.

    It is Unicode's compatibility caseless matching (The Unicode Standard, 3.13, D146): ß is ss,
    final sigma is sigma, half-width kana are kana. Beyond it, Greek letters lose their accents and
    the Turkish ı becomes i, as capitals don't show these differences.
    """
    if text.isascii():
        return text.lower()  # the same result, much faster
    text = _decompose(_break_runs(text))
    text = _decompose(_decompose(text.casefold()).casefold())
    text = _GREEK_ACCENTS.sub(r"\1", text).replace("i\N{COMBINING DOT ABOVE}", "i")
    return unicodedata.normalize("NFKC", text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i"))


MAX_MARKS = 30
"""Combining marks in a row; UAX #15 (Stream-Safe Text Format) has the same limit."""


def _break_runs(text: str) -> str:
    """Insert a joiner into long runs of combining marks (UAX #15, Stream-Safe Text Process).

    Normalising sorts each run in quadratic time: seconds for one that fills a message. A text
    without long runs is returned as it is, any other decomposed.
    """
    marks_used = {each for each in set(text) if unicodedata.combining(_decompose(each)[0])}
    runs = groupby(text, marks_used.__contains__) if marks_used else ()
    longest = max((len([*run]) for is_mark, run in runs if is_mark), default=0)
    # True of nearly every text: a mark decomposes to at most two, and its base adds up to three.
    if 2 * longest + 3 <= MAX_MARKS:
        return text
    broken, marks = [], 0
    for part in "".join(map(_decompose, text)):  # one by one, so nothing is sorted yet
        marks = marks + 1 if unicodedata.combining(part) else 0
        if marks > MAX_MARKS:
            broken.append("\N{COMBINING GRAPHEME JOINER}")
            marks = 1
        broken.append(part)
    return "".join(broken)


def _decompose(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


_GREEK_ACCENTS = re.compile("([\u0370-\u03ff])[\u0300-\u036f]+")


def mask(contact: str) -> str:
    """Shorten a contact for a log line or a page: `+1…67`, without spaces or line breaks.

    What remains tells two customers apart and identifies nobody: the first digit of a number, and
    the last two characters if they are letters or digits. Below 8 characters nothing remains: `…`.
    """
    if len(contact) < 8:
        return "…"
    first = contact[:2] if re.match(r"\+[0-9]", contact) else ""
    last = contact[-2:] if contact[-2:].isalnum() else ""
    return f"{first}…{last}"
