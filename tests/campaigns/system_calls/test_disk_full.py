"""A disk without room: nobody is told that anything was saved, and it goes on by itself after."""

import sys
from pathlib import Path

import httpx
import pytest

from conversation.wording import GOT_PRODUCT, GREETING
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from simulator.twiml_reader import NotAnswered
from tests.campaigns.faults.aftermath import require_exactly
from tests.support.sentences import is_thanks
from tests.support.servers import serve, wait_until

if sys.platform != "linux":
    pytest.skip("only Linux limits another process", allow_module_level=True)

import resource


def test_nothing_is_lost_while_the_database_may_not_grow(tmp_path: Path, sqlite_url: str) -> None:
    with serve(tmp_path / "log", DATABASE_URL=sqlite_url, CONVERSATION_STORE="database") as server:
        with httpx.Client(base_url=server.base_url, timeout=15, trust_env=False) as client:
            twilio = Simulator(client)
            customer = Customer(twilio)
            assert customer.says("Hi") == GREETING
            process, nothing_more = server.process.pid, 8_192
            before = resource.prlimit(process, resource.RLIMIT_FSIZE, (nothing_more, -1))
            product = message_form(customer.contact, "A lamp")
            # SQLite says of this that the disk failed, not that it is full: so what became of the
            # COMMIT is unknown, and Twilio is to ask again.
            with pytest.raises(NotAnswered, match="503"):
                customer.sends(product)
            assert client.get("/readyz").status_code == 503
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert customer.sends(product) == GOT_PRODUCT
            customer.says("Ana")
            assert is_thanks(customer.says("Bright."))
    written = {"product": "A lamp", "name": "Ana", "review": "Bright."}
    require_exactly([(customer.contact, written)], sqlite_url, twilio.client_history)
    log = (tmp_path / "log").read_text()
    assert log.count("database away, trying again") == 1
    assert log.count("database back after") == 1
