"""Workers that are killed, frozen, replaced, or four on one file: nobody's review is concerned."""

from pathlib import Path

from simulator.demo import read_examples
from tests.campaigns.faults.workers import (
    freeze_a_holder,
    kill_workers,
    restart_in_turn,
    share_a_file,
)
from tests.support.databases import Postgres


def test_workers_killed_under_load_lose_and_double_nothing(
    tmp_path: Path, database_url: str
) -> None:
    kill_workers(tmp_path, database_url, read_examples(), kills=10)


def test_four_workers_on_one_file_never_tell_anybody_that_it_is_locked(
    tmp_path: Path, sqlite_url: str
) -> None:
    share_a_file(tmp_path, sqlite_url, read_examples(), 60)


def test_a_rolling_restart_loses_no_request(tmp_path: Path, postgres_url: str) -> None:
    restart_in_turn(tmp_path, postgres_url, read_examples(), restarts=3)


def test_contacts_that_a_frozen_server_holds_are_answered_by_another(
    tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    freeze_a_holder(tmp_path, postgres, postgres_url, read_examples(), times=1)
