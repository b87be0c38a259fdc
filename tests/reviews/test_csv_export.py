"""The export: the seven columns, every text as it was said, and nothing a spreadsheet would run."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.paths import ROOT
from db.engine import Database
from reviews import csv_export
from simulator.customer import Customer
from tests.reviews.test_query import record
from tests.test_api import NOON, save

SEVEN = [
    *("id", "contact_number", "user_name", "product_name", "product_review"),
    *("status", "created_at"),
]


def read(text: str) -> list[dict[str, str]]:
    """Read CSV as any program would, every line end as it is."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_export_is_a_csv_file_of_the_seven_columns(
    client: TestClient, customer: Customer
) -> None:
    for text in ("Hi", 'Lamp "B", small', "Ana", "Fine\nand; cheap,\nthat's all"):
        customer.says(text)
    response = client.get("/api/reviews.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="reviews.csv"'
    assert response.headers["cache-control"] == "private, no-cache"
    [listed] = client.get("/api/reviews").json()
    [header, line] = csv.reader(io.StringIO(response.text, newline=""))
    assert header == SEVEN
    assert line[:-1] == [str(listed[column]) for column in SEVEN[:-1]]
    assert datetime.fromisoformat(line[-1]) == datetime.fromisoformat(listed["created_at"])
    assert line[-1].endswith("+00:00")
    # Lines end in CRLF, a customer's own in LF.
    assert re.findall(r"\r?\n", response.text) == ["\r\n", "\n", "\n", "\r\n"]
    assert response.content.endswith(b"\r\n")


def test_real_reviews_come_out_as_they_were_said(client: TestClient, database: Database) -> None:
    for line in (ROOT / "examples" / "reviews.jsonl").read_text(encoding="utf-8").splitlines():
        review = json.loads(line)
        record(database, review["review"], product=review["product"], name=review["name"])
    exported = read(client.get("/api/reviews.csv").text)
    listed = client.get("/api/reviews").json()
    assert len(exported) == 60
    for row, review in zip(exported, listed, strict=True):
        assert [*row] == SEVEN
        assert row.pop("id") == str(review["id"])
        assert datetime.fromisoformat(row.pop("created_at")) == NOON
        assert row == {column: review[column] for column in row}


def test_a_long_list_is_streamed_whole_and_an_empty_one_has_its_header(
    client: TestClient, database: Database
) -> None:
    header = ",".join(SEVEN) + "\r\n"
    assert client.get("/api/reviews.csv").text == header
    save(database, *(NOON + timedelta(microseconds=number) for number in range(1001)))
    response = client.get("/api/reviews.csv")
    assert "content-length" not in response.headers
    assert response.text.count(header) == 1
    assert [int(row["id"]) for row in read(response.text)] == [*range(1001, 0, -1)]
    assert read(response.text)[1]["created_at"] == "2026-03-01T12:00:00.000999+00:00"


def test_the_export_needs_the_key(production: TestClient) -> None:
    refused = production.get("/api/reviews.csv")
    assert refused.status_code == 401
    assert "contact_number" not in refused.text
    headers = {"Authorization": "Bearer " + "k" * 16}
    assert production.get("/api/reviews.csv", headers=headers).text == ",".join(SEVEN) + "\r\n"


def export(**changes: str) -> str:
    """Export one review with these texts."""
    texts = dict.fromkeys(("user_name", "product_name", "product_review", "status"), "x")
    row: Any = SimpleNamespace(
        **{"contact_number": "+1", **texts, **changes}, id=7, created_at=NOON
    )
    return csv_export.lines([row]).decode()


def cell(name: str, text: str) -> str:
    [line] = csv.reader(io.StringIO(export(**{name: text}), newline=""))
    return line[SEVEN.index(name)]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "'",
            '"',
            ",",
            "a,b",
            'say "hi"',
            "'quoted'",
            "a;b",
            "a\tb",
            "a\nb",
            "a\r\nb",
            "a\rb",
        ),
        *(
            "1-2",
            "1+1=2",
            "me@home",
            "a=1",
            "a -b",
            "a\n b=1",
            "x; y-z",
            "(=1)",
            "*",
            "/",
            "%",
            "#",
        ),
        *("“-”", "–", "—", "−1", "÷", "•", "1.5", "2026-03-01", "👍 = good", "\u200b"),
        *(
            "Ünïcode",
            "شكرا",
            "ありがとう",
            "\u200fשלום",
            "  x  ",
            "a\n\nb",
            "\\",
            "\\=1",
            "a,=1",
            "a =1",
        ),
    ],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    for name in ("user_name", "product_name", "product_review", "status", "contact_number"):
        assert cell(name, text) == text


SIGNS = "=+-@＝＋－＠"
FORMULAS = [
    *(f"{sign}2" for sign in SIGNS),
    *("=", "-", "--", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","x")', "@SUM(1)"),
    *("- good\n- cheap", "-5", "+15551234567", "=\n", "=,", '="x"', "=;", "@home"),
]
UNSEEN = [
    *("", " ", "   ", "\n", "\t", "\r\n", "\xa0", "\u3000", "\u2003", "\u200b", "\u200e", "\u2060"),
    *("\ufeff", "\v", "\f", "\u2028", "\u202e", " \u200b\xa0", '"', '""', ' "', '" '),
]
BORDERS = ["a\n", "a\n\n", "a\r\n", "a\r", "a\t", "a;", "a;;", "a\n\t", "a;b;", "=a\n;"]


def formulas_in(line: str) -> list[str]:
    """List what a spreadsheet would run that takes comma, semicolon or tab for the border."""
    unseen = "".join(UNSEEN)
    return [
        part
        for delimiter in ",;\t"
        for row in csv.reader(io.StringIO(line, newline=""), delimiter=delimiter)
        for whole in row
        for part in re.split("[\r\n]", whole)
        if part.lstrip(unseen).startswith(tuple(SIGNS)) and part != "+1"  # the contact
    ]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_has_an_apostrophe_before_it_wherever_it_begins(formula: str) -> None:
    assert formulas_in(f"x,{formula}") != []
    for name in ("user_name", "product_name", "product_review", "status", "contact_number"):
        if not (name == "contact_number" and re.fullmatch(r"\+[0-9]+", formula)):
            assert cell(name, formula).startswith(f"'{formula[0]}")
            assert cell(name, f"'{formula}").startswith("''")
    for border in ["", *BORDERS]:
        for unseen in UNSEEN:
            line = export(product_review=f"{border}{unseen}{formula}")
            assert (border, unseen, formulas_in(line)) == (border, unseen, [])


def test_no_text_of_a_few_characters_becomes_a_formula() -> None:
    for length in range(5):
        for characters in product('=x;\t\n\r" ,', repeat=length):
            text = "".join(characters)
            line = export(product_review=text)
            assert (text, formulas_in(line)) == (text, [])
            if "=" not in text:
                assert cell("product_review", text).removeprefix("'") == text


def test_a_number_with_its_plus_is_no_formula_as_a_contact_alone() -> None:
    for contact in ("+15551234567", "+1", "US.13491208655302741918", "15551234567", ""):
        assert cell("contact_number", contact) == contact
    for contact in ("=1+1", "+", "+1+1", "+1 555", "+15551234567\n", "-1", "@me", "+١", " +1"):
        assert cell("contact_number", contact) == f"'{contact}"
    assert cell("user_name", "+15551234567") == "'+15551234567"
