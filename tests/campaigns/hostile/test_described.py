"""Whatever a request that the description allows, or does not, the answer is one it names."""

from collections import Counter

import pytest
from schemathesis import GenerationMode

from audit.check import check
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from tests.campaigns.hostile.described import MODES, ask, operations
from tests.conftest import MakeClient, database_of


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_answer_is_described(
    make_client: MakeClient, database_url: str, mode: GenerationMode
) -> None:
    client = make_client(database_url=database_url)
    customer = Customer(Simulator(client))
    for text in ("Hi", "Lamp", "Ana", "Bright."):
        customer.says(text)
    counts: Counter[str] = Counter()
    for operation in operations(client):
        counts += ask(operation, mode, 10, {})
    assert counts["answered 200"] > 0
    assert check(database_of(client)).problems == []
