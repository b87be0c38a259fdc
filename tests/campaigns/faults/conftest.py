"""Campaigns of faults stop servers, so they have servers of their own."""

import pytest

from tests.support.databases import Postgres, Valkey


@pytest.fixture(scope="session")
def postgres(own_postgres: Postgres) -> Postgres:
    return own_postgres


@pytest.fixture
def valkey(own_valkey: Valkey) -> Valkey:
    return own_valkey
