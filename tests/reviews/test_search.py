"""Searching with `q`: any script in any case, part of any text; and old rows made searchable."""

import json
import sys
import unicodedata
import uuid

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient

from core.clock import utc_now
from core.paths import ROOT
from core.text import fold, search_text
from db.engine import Database, normalise_url, open_database
from db.schema import MIGRATIONS, SCHEMA_VERSION, schema_version
from models import Review
from reviews import query
from simulator.customer import Customer
from tests.db.test_schema import new_url
from tests.reviews.test_query import found, record

__all__ = ["new_url"]

SCRIPTS = str(MIGRATIONS)

SAME = [
    # Greek: the final sigma, capitals with their accents and without, a diaeresis, old accents
    *(("οδυσσεύς", "ΟΔΥΣΣΕΎΣ"), ("οδυσσεύς", "ΟΔΥΣΣΕΥΣ"), ("προϊόν", "ΠΡΟΙΟΝ")),
    *(("προϊόν", "ΠΡΟΪΌΝ"), ("ἄνθρωπος", "ΑΝΘΡΩΠΟΣ"), ("ᾠδή", "ΩΙΔΗ")),
    # Turkish: i with a dot and without, and the capitals of both
    *(("İstanbul", "istanbul"), ("İstanbul", "ISTANBUL"), ("ısparta", "ISPARTA")),
    *(("dış", "DIŞ"), ("diş", "DİŞ"), ("ışık", "IŞIK"), ("şişli", "ŞİŞLİ")),
    # German
    *(("Straße", "STRASSE"), ("Straße", "STRAẞE"), ("Maß", "mass"), ("Übung", "üBUNG")),
    # Japanese, Korean: half and full width, syllables typed letter by letter
    *(("ガギ", "ｶﾞｷﾞ"), ("ABC 12", "ａｂｃ　１２"), ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8")),
    # Cyrillic, Armenian, Georgian, Cherokee, Deseret
    *(("Москва", "МОСКВА"), ("ёлка", "ЁЛКА"), ("и\u0306од", "ЙОД"), ("և", "ԵՒ")),
    *(("საქართველო", "ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ"), ("ꮳꮃꭹ", "ᏣᎳᎩ"), ("𐐨𐐩", "𐐀𐐁")),
    # Accents, typed as one letter or as two
    *(
        ("café", "cafe\u0301"),
        ("CAFÉ", "cafe\u0301"),
        ("Đặng Thị Hồng", "đa\u0323\u0306NG THỊ HỒNG"),
    ),
    # Signs that are letters too
    *(("Ångström", "\u212bNGSTRÖM"), ("300 K", "300 \u212a"), ("ﬁne", "FINE"), ("№ 5", "no 5")),
    *(("👍🏽 Super", "👍🏽 sUPER"), ("½", "1⁄2")),
]

DIFFERENT = [
    # An accent is a letter's own where capitals keep it.
    *(("é", "e"), ("ü", "u"), ("ø", "o"), ("й", "и"), ("が", "か"), ("ş", "s"), ("각", "가")),
    # Letters that only look alike
    *(("а", "a"), ("Lump", "Lamp"), ("か", "カ"), ("👎", "👍")),
]


@pytest.mark.parametrize(("text", "asked"), SAME)
def test_case_and_the_way_of_typing_make_no_difference(text: str, asked: str) -> None:
    assert fold(text) == fold(asked)
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(("text", "asked"), DIFFERENT)
def test_other_letters_do(text: str, asked: str) -> None:
    assert fold(text) != fold(asked)


@pytest.mark.parametrize("marks", ["\u0344", "\u0f73", "\uff9e"])
def test_a_long_run_of_marks_is_broken_before_it_is_put_in_order(marks: str) -> None:
    """To order one that fills a message took seconds, in which nobody was answered."""
    folded = fold(f"x{(marks + chr(0x334)) * 4000}")
    runs = "".join("m" if unicodedata.combining(part) else " " for part in folded).split()
    assert max(map(len, runs)) == 30
    assert fold(folded) == folded


@pytest.mark.parametrize("mark", ["\u0344", "\u0307", "\u0f73", "\uff9e"])
@pytest.mark.parametrize("base", ["x", "\u01d6"])
def test_a_run_is_broken_where_it_is_too_long_and_nowhere_else(base: str, mark: str) -> None:
    for count in range(1, 40):
        whole = unicodedata.normalize("NFKD", f"{base}{mark * count}")[1:]
        joiners = fold(f"{base}{mark * count}").count("\N{COMBINING GRAPHEME JOINER}")
        assert joiners == (len(whole) - 1) // 30, count


def test_no_character_decomposes_to_more_marks_than_the_quick_look_at_a_text_assumes() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        if not unicodedata.decomposition(character):
            continue
        kinds = [
            unicodedata.combining(each) > 0 for each in unicodedata.normalize("NFKD", character)
        ]
        assert (all(kinds) and len(kinds) <= 2) or (not kinds[0] and not all(kinds[-4:])), character


def test_every_letter_that_has_a_case_is_found_in_either() -> None:
    letters = [letter for letter in map(chr, range(0x20000)) if letter.swapcase() != letter]
    assert len(letters) > 2000
    for letter in letters:
        forms = {letter, letter.upper(), letter.lower(), letter.title(), letter.swapcase()}
        forms |= {unicodedata.normalize("NFD", form) for form in forms}
        assert len({fold(form) for form in forms}) == 1, forms


def test_a_review_is_found_in_any_case_and_script(client: TestClient, database: Database) -> None:
    for number, (text, _) in enumerate(SAME, 1):
        record(database, f"#{number}<{text}>")
    for number, (text, asked) in enumerate(SAME, 1):
        assert (text, found(client, q=f"#{number}<{asked}>")) == (text, [number])
    for text, asked in DIFFERENT:
        number = record(database, f"[{text}]")
        assert (text, found(client, q=f"[{asked}")) == (text, [])
        assert found(client, q=f"[{text}") == [number]


TEXTS = [
    *("100% wool", "100 wool", "snake_case", "snakeXcase", "and/or", "and-or", "/%", "back\\slash"),
    *("backslash", "it's", "'; DROP TABLE reviews; --", 'say "hi"', ":x %(x)s {x} $1", "really?"),
    *("two\nlines", "two lines", "[a-z]", "a*b", "ab", "tab\there"),
]
ASKED = [
    *(
        "%",
        "0%",
        "%%",
        "%wool",
        "100%wool",
        "_",
        "__",
        "e_C",
        "e_c%",
        "/",
        "/%",
        "//",
        "D/O",
        "d_o",
    ),
    *(
        "\\",
        "K\\S",
        "\\\\",
        "\\%",
        "'",
        "''",
        "' OR '1'='1",
        "'; drop table",
        '"',
        ":X",
        ":x %(X)s {x} $1",
    ),
    *(
        "?",
        "Y?",
        "two\nLINES",
        "two LINES",
        "two_lines",
        "[A-Z]",
        "[",
        "*",
        "a*B",
        "TAB\tH",
        "--",
        "$1",
    ),
]


def test_signs_of_patterns_and_quotes_mean_themselves(
    client: TestClient, database: Database
) -> None:
    for text in TEXTS:
        record(database, text)
    for asked in ASKED:
        # Of these letters Python says as well what is part of what.
        has = [number for number, text in enumerate(TEXTS, 1) if asked.lower() in text.lower()]
        assert (asked, found(client, q=asked)[::-1]) == (asked, has)
    assert found(client, q="two\r\nlines") == found(client, q="two\nlines")


def test_what_a_customer_said_is_found_in_part_and_not_across_its_borders(
    client: TestClient, customer: Customer, database: Database
) -> None:
    for text in ("Hi", "Lamp B", "Ana I", "\u0301\u0307Fine"):
        customer.says(text)
    for part in ("Lamp B", "AMP", " b", "Ana I", "na", "FINE", "e", "  lamp  ", "a", "\x01fine"):
        assert (part, found(client, q=part)) == (part, [1])
    for none in ("Lamp BAna", "Lamp B Ana I", "Lamp B\nAna I", "b\x1fa", "b%a", "Ana ILamp", "B_A"):
        assert (none, found(client, q=none)) == (none, [])
    # Whoever asks without the API need not fold.
    asked = query.Filter(words="LAMP b")
    assert [row.id for row in query.page(database, None, 9, asked)] == [1]
    for none in ("pending", "555", customer.contact, "SM", "Hi", "2026"):
        assert (none, found(client, q=none)) == (none, [])


def test_nothing_but_spaces_asks_for_everything(client: TestClient, database: Database) -> None:
    assert [record(database), record(database)] == [1, 2]
    for blank in ("q=", "q=%20%20", "q=+", "q=%C2%A0", "q=%E3%80%80", "q=%0A%09", "q=%0D%0A"):
        assert found(client, blank) == [2, 1]


def test_real_reviews_are_found_by_a_piece_of_each_of_their_texts(
    client: TestClient, database: Database
) -> None:
    lines = (ROOT / "examples" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        review = json.loads(line)
        texts = [review[key] for key in ("review", "product", "name")]
        number = record(database, texts[0], product=texts[1], name=texts[2])
        for text in texts:
            quarter = len(text) // 4
            piece = text[quarter : max(3 * quarter, quarter + 2)][-300:].swapcase()
            piece = unicodedata.normalize("NFD", piece)
            assert (piece, found(client, q=piece, limit="1")) == (piece, [number])  # the newest
    assert len(found(client)) == len(lines) == 60


def migrate_to(database: Database, revision: str) -> None:
    """Bring a new database to an older schema, as schema.migrate does to the newest."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_reviews_of_the_first_schema_are_made_searchable(new_url: str) -> None:
    if new_url.startswith("sqlite"):
        open(normalise_url(new_url).database or "", "x").close()
    database = open_database(new_url)
    migrate_to(database, "0001")
    # More than are filled in at once, with gaps, as after erasing.
    at_once = ScriptDirectory(SCRIPTS).get_revision("0002").module.REVIEWS_AT_ONCE
    numbers = range(5, 5 + 3 * (2 * at_once + 1), 3)
    now = utc_now()
    columns = [column for column in Review.__table__.columns if column.name != "search_text"]
    with database.engine.begin() as connection:
        connection.execute(
            sa.insert(
                sa.table("reviews", *(sa.column(column.name, column.type) for column in columns))
            ),
            [
                {
                    "id": number,
                    "contact_number": "+15551234567",
                    "user_name": f"Ana {number}",
                    "product_name": "ΛΆΜΠΑ",
                    "product_review": f"Straße\n{number}",
                    "status": "pending",
                    "created_at": now,
                    "updated_at": now,
                    "conversation_id": uuid.uuid4().hex,
                }
                for number in numbers
            ],
        )
    assert schema_version(database.engine) == "0001"
    database.migrate()
    assert schema_version(database.engine) == SCHEMA_VERSION
    with database.read() as connection:
        kept = connection.execute(sa.select(Review.id, Review.search_text)).all()
    database.close()
    assert {row.id: row.search_text for row in kept} == {
        number: search_text("ΛΆΜΠΑ", f"Ana {number}", f"Straße\n{number}") for number in numbers
    }
