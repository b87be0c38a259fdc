"""Databases as version 1 left them: its schema by our migrations, its rows by plain SQL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Row

import core.settings  # noqa: F401 - migrations/env.py does it: here once for all child processes
from core.paths import ROOT
from db.engine import Database, normalise_url, open_database
from db.errors import TRANSIENT_ERRORS
from db.schema import MIGRATIONS
from models import LoggedMessage

INSERT = (
    "INSERT INTO messages (message_sid, contact_number, conversation_id, position, body, media,"
    " reply, finished, rules, received_at, erased_at) VALUES (:message_sid, :contact_number,"
    " :conversation_id, :position, :body, :media, :reply, :finished, :rules, :received_at,"
    " :erased_at)"
)
"""What version 1 writes for each message."""

REMEMBER = (
    "INSERT INTO conversations (contact_number, conversation_id, state, product_name, user_name,"
    " position, updated_at) VALUES (:contact_number, :conversation_id, :state, :product_name,"
    " :user_name, :position, :updated_at)"
)

MORNING = datetime(2026, 3, 1, 9, tzinfo=UTC)
ANA, BO = "+15551234567", "+15557654321"
REVIEW = ("hi", "Lamp", "Ana", "Fine 👍")
"""What a customer says to finish a review."""

Facts = tuple[str, str, dict[str, str]]

OPENED: Facts = ("opened", "ASK_NAME", {})
UNKNOWN: Facts = ("migrated", "START", {})
ASKED_NAME: Facts = ("answered", "ASK_REVIEW", {"product": "Lamp"})
ASKED_REVIEW: Facts = ("answered", "FINISH", {"product": "Lamp", "name": "Ana"})
SAID = {"product": "Lamp", "name": "Ana", "review": "Fine 👍"}
FINISHED: list[Facts] = [OPENED, ASKED_NAME, ASKED_REVIEW, ("finished", "START", SAID)]
"""What REVIEW did: outcome, state and answers of each message."""


def migrate_to(database: Database, revision: str) -> None:
    """Bring a new database to an older schema, as schema.migrate does to the newest."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def at(minute: float) -> datetime:
    return MORNING + timedelta(minutes=minute)


class Version1:
    """A database of version 1, to be filled and then migrated."""

    def __init__(self, url: str, revision: str = "0002") -> None:
        self.url = url
        if url.startswith("sqlite"):
            open(normalise_url(url).database or "", "x").close()
        self.database = open_database(url)
        migrate_to(self.database, revision)

    def log(self, sid: str, contact: str, **columns: Any) -> None:
        """Log a message, at position 1 of its own conversation unless `columns` say otherwise."""
        row = {"conversation_id": sid, "position": 1, "body": "hi", "reply": "Hi!", "media": "[]"}
        row |= {"finished": False, "rules": 1, "received_at": at(0), "erased_at": None, **columns}
        self.execute(INSERT, {"message_sid": sid, "contact_number": contact, **row})

    def converse(
        self, id_: str, contact: str, *bodies: str, finished: bool = False, minute: float = 0
    ) -> None:
        """Log a conversation, a message a minute, with the SIDs `id_`, `id_`-2, `id_`-3 …"""
        for position, body in enumerate(bodies, 1):
            self.log(
                sid_of(id_, position),
                contact,
                conversation_id=id_,
                position=position,
                body=body,
                finished=finished and position == len(bodies),
                received_at=at(minute + position - 1),
            )

    def remember(self, contact: str, id_: str, position: int, state: str, *answers: str) -> None:
        """Put a row into the table conversations; `answers` are the product and the name."""
        product, name = [*answers, "", ""][:2]
        row = {"contact_number": contact, "conversation_id": id_, "position": position}
        row |= {"state": state, "product_name": product, "user_name": name, "updated_at": at(60)}
        self.execute(REMEMBER, row)

    def execute(self, sql: str, *rows: dict[str, Any]) -> None:
        types = {"received_at": sa.DateTime(timezone=True), "erased_at": sa.DateTime(timezone=True)}
        types["updated_at"] = types["received_at"]
        binds = [
            sa.bindparam(name, type_=type_) for name, type_ in types.items() if f":{name}" in sql
        ]
        with self.database.engine.begin() as connection:
            connection.execute(sa.text(sql).bindparams(*binds), [*rows] or None)

    def fill(self, conversations: int) -> None:
        """Log finished reviews, all at one time, two of each contact."""
        bodies = ", ".join(f"({position}, '{body}')" for position, body in enumerate(REVIEW, 1))
        self.execute(
            "WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers"
            f" WHERE number < {conversations - 1}), bodies (position, body) AS (VALUES {bodies})"
            f" {INSERT.partition('VALUES')[0]} SELECT number || '-' || position,"
            " '+1555' || number / 2, '' || number, position, body, '[]', 'Okay', position = 4, 1,"
            " :received_at, NULL FROM numbers CROSS JOIN bodies",
            {"received_at": at(0)},
        )

    def assert_is_migrated_from_fill(self) -> None:
        """Compare what became of `fill` with what must: nothing is lost, twice or half done."""
        log = self.read().values()
        counts = Counter((row.turn, row.body, facts_as_json(row)) for row in log)
        expected = [(REVIEW[turn % 4], json.dumps(FINISHED[turn % 4])) for turn in range(8)]
        assert counts == {(turn, *each): len(log) / 8 for turn, each in enumerate(expected, 1)}

    def migrated(self) -> dict[str, Row[Any]]:
        """Migrate, and return the log by SID."""
        self.database.migrate()
        return self.read()

    def read(self) -> dict[str, Row[Any]]:
        with self.database.read() as connection:
            return {row.message_sid: row for row in connection.execute(sa.select(LoggedMessage))}


def facts_as_json(row: Row[Any]) -> str:
    return json.dumps(facts(row))


def sid_of(conversation_id: str, position: int) -> str:
    return conversation_id if position == 1 else f"{conversation_id}-{position}"


def facts(row: Row[Any]) -> Facts:
    return row.outcome, row.state, row.answers


IN_CHILDREN = "import sys; from tests.support.migration_support import *; exec(sys.argv[1])"


def run_in_children(call: str) -> list[int]:
    """Let a Python without threads make one of the calls below; return how its children ended."""
    command = [sys.executable, "-c", IN_CHILDREN, call]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    ends: list[int] = json.loads(ended.stdout)
    return ends


def migrate_at_once(url: str, processes: int) -> None:
    """Migrate in child processes at once; print how they ended. For a Python without threads."""
    children = [_start(url) for _ in range(processes)]
    print([os.waitpid(child, 0)[1] for child in children])  # noqa: T201


def migrate_and_die(url: str, statements: range) -> None:
    """Migrate in child processes in turn, each killed before one of these statements."""
    print([os.waitpid(_start(url, number), 0)[1] for number in statements])  # noqa: T201


def _start(url: str, deadly: int = 0) -> int:
    """Start a child process that migrates, and is killed before the statement `deadly`."""
    child = os.fork()
    if not child:
        try:
            _migrate(url, deadly)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    return child


def _migrate(url: str, deadly: int) -> None:
    database = open_database(url)
    count = 0

    def die(*_: object) -> None:
        nonlocal count
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(database.engine, "before_cursor_execute", die)
    while True:
        try:
            return database.migrate()
        except TRANSIENT_ERRORS:  # another child migrates
            time.sleep(0.05)
