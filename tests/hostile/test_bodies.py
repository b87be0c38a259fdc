"""A few of the bodies that `python -m tests.hostile` sends by the thousand."""

from tests.conftest import MakeClient
from tests.hostile.bodies import Siege, production, send_batch


def test_whatever_the_body_nothing_breaks_and_nothing_unsigned_is_recorded(
    make_client: MakeClient, database_url: str
) -> None:
    siege = Siege(make_client(database_url=database_url, **production()))
    send_batch(siege, 1, 300)
    for what in ("messages", "reviews", *(f"answered {status}" for status in (200, 204, 400, 403))):
        assert siege.counts[what] > 0, what
