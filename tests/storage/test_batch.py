"""A batch's SQL: few statements, and every value is returned as it was written."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audit.check import check
from conversation.model import Message
from db.engine import Database
from ingest.writer import MessageWriter
from models import LoggedMessage, Review
from storage import batch
from storage.end_cache import NoCache
from tests.ingest.conftest import ANA, BEN, TTL, message, tell, tell_in_turn

ODD = "100 %s {name} \\ ' \" ; -- \N{WHITE SMILING FACE}\u202e\n\t❤️"


def statements_of(database: Database) -> list[str]:
    """Collect the statements that are sent from now on, with BEGIN and COMMIT."""
    sent: list[str] = []
    dialect: Any = database.engine.dialect
    really_commit = dialect.do_commit

    def commit(connection: Any) -> None:
        sent.append("COMMIT")
        really_commit(connection)

    dialect.do_commit = commit
    sa.event.listen(
        database.engine,
        "before_cursor_execute",
        lambda *arguments: sent.append(arguments[2].split()[0]),
    )
    if not database.is_sqlite:  # psycopg2 sends it, with the first statement
        sa.event.listen(database.engine, "begin", lambda _: sent.append("BEGIN"))
    return sent


def test_a_batch_is_five_round_trips_however_many_messages_it_has(database: Database) -> None:
    writer = MessageWriter(database, NoCache(), TTL)
    tell_in_turn(writer, message(1), message(2), message(3))
    sent = statements_of(database)
    crowd = [message(100 + n, "hi", f"+1555{n:07}") for n in range(60)]
    tell(writer, message(1), message(4), *crowd)
    writer.close()
    if database.is_sqlite:
        assert sent == ["BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]
    else:  # the locks, the read, and one write for messages and reviews
        assert sent == ["BEGIN", "SELECT", "SELECT", "INSERT", "COMMIT"]
    assert check(database).problems == []


def test_every_text_comes_back_as_it_was_sent(database: Database) -> None:
    writer = MessageWriter(database, NoCache(), TTL)
    media = (("https://example.com/%s?a=1&b={}", "image/jpeg"),)
    texts = ("hi", ODD, f"{ODD} 2", ODD * 20)
    sent = [Message(f"SM{n}", ANA, text, media) for n, text in enumerate(texts)]
    replies = [tell(writer, each)[0] for each in sent]
    writer.close()
    with database.read() as connection:
        facts = batch.read(connection, [each.sid for each in sent], [ANA, BEN])
        review = connection.execute(sa.select(Review)).one()
        logged = connection.execute(sa.select(LoggedMessage).order_by(LoggedMessage.turn)).all()
    assert [facts.replies[each.sid].text for each in sent] == [*texts]
    assert [facts.replies[each.sid].reply for each in sent] == [reply.text for reply in replies]
    assert facts.ends[ANA].answers == {"product": ODD, "name": texts[2], "review": texts[3]}
    assert facts.ends[ANA].received_at == logged[-1].received_at == review.created_at
    assert BEN not in facts.ends
    assert [row.media for row in logged] == [[{"url": media[0][0], "type": media[0][1]}]] * 4
    assert (review.product_name, review.user_name, review.product_review) == texts[1:]


def test_a_time_is_the_same_for_the_batch_and_for_all_others(database: Database) -> None:
    for number, time in enumerate(
        [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)]
    ):
        writer = MessageWriter(database, NoCache(), TTL, lambda time=time: time)  # type: ignore[misc]
        tell(writer, message(number, contact=f"+{number}"))
        writer.close()
        with database.read() as connection:
            end = batch.read(connection, contacts=[f"+{number}"]).ends[f"+{number}"]
            query = sa.select(LoggedMessage.received_at).where(LoggedMessage.received_at == time)
            assert connection.scalars(query).all() == [end.received_at]
