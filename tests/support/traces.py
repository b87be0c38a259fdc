"""What is left of a customer: in any column of any table and, on SQLite, in any byte on disk."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from audit.check import check
from db.engine import Database
from models import LoggedMessage
from simulator.fake_twilio import message_form, photo_form
from simulator.twiml_reader import read_twiml
from tests.conftest import database_of
from tests.support.sentences import is_thanks

ANA, BEN = "+15559876543", "US.13491208655302741918"
WORDS = ("Zanzibar lamp", "Wilhelmina", "Xylophones!")
TTL = timedelta(hours=24)
MEDIA = "api.twilio.com"
SILENCE = b'<?xml version="1.0" encoding="UTF-8"?><Response />'


def say(client: TestClient, *forms: dict[str, str]) -> str:
    """Post messages one after another; return the last answer's words, "" for silence."""
    text: str | None = None
    for form in forms:
        text = read_twiml(client.post("/webhook", data=form)).text
    return text or ""


def tell(client: TestClient, contact: str, *texts: str) -> str:
    """Say texts one after another; return the last answer's words."""
    return say(client, *(message_form(contact, text) for text in texts))


def finish(client: TestClient, contact: str, *words: str) -> list[dict[str, str]]:
    """Have a customer send a photo and finish a review; return the messages that it took."""
    forms = [photo_form(contact), *(message_form(contact, text) for text in words or WORDS)]
    assert is_thanks(say(client, *forms))
    return forms


def erased_sids(database: Database) -> set[str]:
    """Read the SIDs of the messages that are marked as erased."""
    query = sa.select(LoggedMessage.message_sid).where(LoggedMessage.erased_at.is_not(None))
    with database.read() as connection:
        return set(connection.scalars(query))


def everything(database: Database) -> str:
    """Read every column of every table as text."""
    with database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        rows: list[Any] = []
        for table in tables:
            rows += sorted(map(str, connection.execute(sa.text(f'SELECT * FROM "{table}"'))))
    return "\n".join(rows)


def traces(database: Database, *words: str) -> list[str]:
    """Find which of the words are left of a customer."""
    left = everything(database)
    if database.file is not None:
        left += _bytes_on_disk(database.file).decode("latin-1")
    return [word for word in words if word.lower() in left.lower()]


def _bytes_on_disk(file: Path) -> bytes:
    """Read the database file and its neighbours, after what waits in the -wal was moved over."""
    with closing(sqlite3.connect(file)) as connection:
        [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert not busy
    return b"".join(each.read_bytes() for each in file.parent.glob(f"{file.name}*"))


def require_order(client: TestClient) -> None:
    """Check that the data has no problems."""
    assert check(database_of(client)).problems == []
