"""PostgreSQL and Valkey killed, frozen and cut off under load: everything is recorded once."""

from pathlib import Path

from simulator.demo import read_examples
from tests.campaigns.faults.databases import (
    end_sessions,
    freeze_postgres,
    kill_postgres,
    lose_valkey,
)
from tests.support.databases import Postgres, Valkey


def test_postgresql_killed_under_load_loses_and_doubles_nothing(
    tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    kill_postgres(tmp_path, postgres, postgres_url, read_examples(), kills=2)


def test_sessions_ended_under_load_lose_and_double_nothing(
    tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    end_sessions(tmp_path, postgres, postgres_url, read_examples(), times=10)


def test_everybody_is_answered_while_postgresql_is_frozen(
    tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    freeze_postgres(tmp_path, postgres, postgres_url, read_examples(), seconds=[3, 7])


def test_valkey_lost_under_load_loses_and_doubles_nothing(
    tmp_path: Path, postgres_url: str, valkey: Valkey
) -> None:
    lose_valkey(tmp_path, valkey, postgres_url, read_examples(), times=2)
