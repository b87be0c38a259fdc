"""Text as customers type it: cleaned, blank or not, folded for the search."""

import re
import unicodedata
from itertools import groupby

# Braille blank and the Hangul fillers: letters by category, empty to the eye.
_EMPTY_LETTERS = frozenset("\u2800\u3164\u115f\u1160\uffa0")

_EMPTY_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def is_blank(text: str) -> bool:
    """Say whether nothing in `text` can be seen: separators, controls, format marks, fillers."""
    return all(
        character in _EMPTY_LETTERS or unicodedata.category(character) in _EMPTY_CATEGORIES
        for character in text
    )


# What XML 1.0 forbids, NUL, which PostgreSQL refuses as well, and lone surrogates.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Drop what XML 1.0 or PostgreSQL refuse, make every line end LF, trim both ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ILLEGAL.sub("", text).strip()


def search_text(*parts: str) -> str:
    """Fold what can be searched into one text; the parts stay apart, as no message has U+001F."""
    return fold("\x1f".join(parts))


def fold(text: str) -> str:
    """Make texts equal that differ in case only, or in how they were typed, in any script.

    Unicode's compatibility caseless matching (The Unicode Standard, 3.13, D146): ß is ss, final
    sigma is sigma, half-width kana are kana. Beyond it, what capitals don't tell: Greek letters
    lose their accents, and i is one letter with a dot or, as in Turkish, without.
    """
    if text.isascii():
        return text.lower()  # all that the rest would do, in no time
    text = _decompose(_break_runs(text))
    text = _decompose(_decompose(text.casefold()).casefold())
    text = _GREEK_ACCENTS.sub(r"\1", text).replace("i\N{COMBINING DOT ABOVE}", "i")
    return unicodedata.normalize("NFKC", text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i"))


MAX_MARKS = 30


def _break_runs(text: str) -> str:
    """Decompose and put a joiner into long runs of marks, as UAX #15 has it: Stream-Safe Text.

    To put a run in order takes the square of its length: seconds for one that fills a message.
    """
    marks_of_it = {each for each in set(text) if unicodedata.combining(_decompose(each)[0])}
    runs = groupby(text, marks_of_it.__contains__) if marks_of_it else ()
    longest = max((len([*run]) for is_mark, run in runs if is_mark), default=0)
    # Nearly every text ends here: a mark decomposes to two at most, its base brings up to three.
    if 2 * longest + 3 <= MAX_MARKS:
        return text
    broken, marks = [], 0
    for part in "".join(map(_decompose, text)):  # each by itself, so nothing is put in order yet
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
