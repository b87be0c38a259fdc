"""Connections to PostgreSQL, cut amid anything: each message is a step once."""

from simulator.demo import read_examples
from tests.campaigns.faults.cuts import cut_conversations
from tests.support.databases import Postgres


def test_conversations_that_are_cut_anywhere_are_recorded_once(
    postgres: Postgres, postgres_url: str
) -> None:
    counts = cut_conversations(postgres, postgres_url, read_examples()[0], step=500)
    assert counts["cuts"] > counts["of them between COMMIT and its answer"]
    assert counts["of them between COMMIT and its answer"] >= 4
