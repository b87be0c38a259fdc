"""Forgetting amid what others commit, who don't see it, and amid what the clock says."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from conversation import GREETING
from database import Database, open_database, utc_now
from forgetting import forget_contact
from models import LoggedMessage
from simulator import message_form
from stores import DatabaseStore
from tests.conftest import MakeClient, database_of, listed
from tests.traces import (
    ANA,
    TTL,
    WORDS,
    finish,
    insist_on_order,
    say,
    tell,
    traces,
)


def before_statement(database: Database, number: int, action: Callable[[], object]) -> None:
    """Do something once, just before the change of that number made through this door."""
    changes = iter(range(1, 100))

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")) and next(changes) == number:
            action()

    sa.event.listen(database.engine, "before_cursor_execute", count)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("words", [["Hi"], ["Hi", *WORDS]])
def test_what_a_server_records_amid_it_is_forgotten_whole_or_kept_whole(
    make_client: MakeClient, postgres_url: str, number: int, words: list[str]
) -> None:
    """The memory store's process heeds no lock: its commits fall between the statements."""
    server = make_client(database_url=postgres_url)
    finish(server, ANA, "Sofa", "Ana", "Soft.")
    elsewhere = open_database(postgres_url)
    sent = [message_form(ANA, text) for text in words]
    before_statement(elsewhere, number, lambda: say(server, *sent))
    assert forget_contact(DatabaseStore(elsewhere, TTL), ANA, "") is not None
    elsewhere.close()
    insist_on_order(server)

    form = message_form(ANA, "Zanzibar lamp")
    reply = say(server, form)
    assert say(server, form) == reply
    kept = [word for word in WORDS if word in str(listed(server))]
    assert kept in ([], [*WORDS])
    if reply != GREETING:  # then the server may know what the log knows
        assert len(sent) == 1
        assert say(server, sent[0]) == GREETING
    assert tell(server, ANA, "Ana", "Bright.")
    insist_on_order(server)


def test_what_is_under_way_is_ended_also_where_the_clock_has_gone_back(
    make_client: MakeClient, sqlite_url: str
) -> None:
    server = make_client(database_url=sqlite_url)
    finish(server, ANA, "Sofa", "Ana", "Soft.")
    with database_of(server).write() as connection:
        ahead = utc_now() + timedelta(hours=1)
        connection.execute(sa.update(LoggedMessage).values(received_at=ahead))
    tell(server, ANA, "Hi", "Zanzibar lamp", "Wilhelmina")
    elsewhere = DatabaseStore(database_of(server), TTL)
    assert forget_contact(elsewhere, ANA, "") is not None
    assert tell(server, ANA, "Hello again") == GREETING
    assert traces(database_of(server), *WORDS) == []


def test_erasing_a_review_and_forgetting_its_customer_do_not_block_each_other(
    make_client: MakeClient, postgres_url: str
) -> None:
    """A deadlock, where one had taken the review and the other its messages."""
    client = make_client(database_url=postgres_url, conversation_store="database")
    finish(client, ANA)
    both_have_begun, begun = threading.Barrier(2), set[int]()

    def meet(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(("UPDATE", "DELETE")) and threading.get_ident() not in begun:
            begun.add(threading.get_ident())
            with suppress(threading.BrokenBarrierError):  # one waits for the other's rows: good
                both_have_begun.wait(0.3)

    sa.event.listen(database_of(client).engine, "after_cursor_execute", meet)
    paths = (f"/api/contacts/{ANA}", "/api/reviews/1")
    with ThreadPoolExecutor(2) as owners:
        forgotten, erased = owners.map(lambda path: client.delete(path).status_code, paths)
    assert (forgotten, erased) in {(204, 204), (204, 404)}
    assert traces(database_of(client), ANA, *WORDS) == []
