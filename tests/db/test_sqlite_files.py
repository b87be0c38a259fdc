"""SQLite's `-wal` and `-shm` may be removed while in use: no commit is lost."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.engine import Database, open_database
from db.errors import TRANSIENT_ERRORS, DatabaseUnavailable
from db.integrity import problems
from ingest.timing import Timing
from ingest.writer import MessageWriter
from models import Review
from storage.end_cache import NoCache
from tests.db.test_schema import insert, python, review
from tests.ingest.conftest import TTL
from tests.support.servers import wait_until

SIDE_FILES = ["test.db-wal", "test.db-shm"]

OBEY = """
import sys
from db.engine import open_database
from db.errors import TRANSIENT_ERRORS
from tests.db.test_schema import insert
database = open_database(sys.argv[1])
print("ready", flush=True)
for order in sys.stdin:
    try:
        print(insert(database) if order == "insert\\n" else database.close(), flush=True)
    except TRANSIENT_ERRORS as error:
        print(type(error).__name__, flush=True)
"""


class Process:
    """Another process that has the database open."""

    def __init__(self, url: str) -> None:
        self._process = python(OBEY, url)
        assert self._read() == "ready"

    def insert(self) -> str:
        """Insert a review; return its id, or the name of the error."""
        return self._order("insert")

    def close(self) -> str:
        return self._order("close")

    def _order(self, order: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def another(
    processes: None,  # noqa: ARG001
    sqlite_url: str,
) -> Iterator[Process]:
    process = Process(sqlite_url)
    yield process
    process.kill()


def ids(sqlite_url: str) -> list[int]:
    """Read the ids of the reviews as the next start does; the file must be undamaged."""
    database = open_database(sqlite_url)
    assert [*problems(database)] == []
    with database.read() as connection:
        found = [*connection.scalars(sa.select(Review.id).order_by(Review.id))]
    database.close()
    return found


def remove(folder: Path, *names: str) -> None:
    for name in names:
        folder.joinpath(name).unlink()


@pytest.mark.parametrize("names", [["test.db-wal"], ["test.db-shm"], SIDE_FILES])
def test_commits_survive_a_removed_file_and_a_kill(
    another: Process, sqlite_url: str, tmp_path: Path, names: list[str]
) -> None:
    assert another.insert() == "1"
    remove(tmp_path, *names)
    assert [another.insert(), another.insert()] == ["2", "3"]
    another.kill()
    assert ids(sqlite_url) == [1, 2, 3]


@pytest.mark.parametrize("name", SIDE_FILES)
def test_a_file_removed_during_a_transaction_loses_no_commit(
    database: Database, sqlite_url: str, tmp_path: Path, name: str
) -> None:
    assert insert(database) == 1

    def write_meanwhile() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(Review).values(review()))
            remove(tmp_path, name)

    with pytest.raises(DatabaseUnavailable, match=rf"{name} was removed or replaced"):
        write_meanwhile()
    assert insert(database) == 2
    database.close()
    assert ids(sqlite_url) == [1, 2]


@pytest.mark.parametrize("name", SIDE_FILES)
def test_a_replaced_file_is_an_outage_or_loses_nothing(
    database: Database, sqlite_url: str, tmp_path: Path, name: str
) -> None:
    assert insert(database) == 1
    content = tmp_path.joinpath(name).read_bytes()
    remove(tmp_path, name)
    tmp_path.joinpath(name).write_bytes(content)
    inserted = [1]
    for _ in range(3):
        with suppress(*TRANSIENT_ERRORS):
            inserted.append(insert(database))
    database.close()
    assert ids(sqlite_url) == inserted
    assert len(inserted) > 1


def test_a_process_that_starts_after_the_index_was_removed_loses_no_commit(
    database: Database, another: Process, sqlite_url: str, tmp_path: Path
) -> None:
    assert insert(database) == 1
    remove(tmp_path, "test.db-shm")
    assert another.insert() == "2"
    assert insert(database) == 3
    assert another.insert() == "4"
    another.close()
    assert insert(database) == 5
    database.close()
    assert ids(sqlite_url) == [1, 2, 3, 4, 5]


def test_an_idle_process_that_closes_last_removes_no_other_log(
    database: Database, another: Process, sqlite_url: str, tmp_path: Path
) -> None:
    assert insert(database) == 1
    remove(tmp_path, "test.db-shm")
    assert another.insert() == "2"
    another.close()
    database.close()
    assert ids(sqlite_url) == [1, 2]


def test_an_idle_process_with_a_lost_log_overwrites_nothing(
    database: Database, another: Process, sqlite_url: str, tmp_path: Path
) -> None:
    assert insert(database) == 1
    assert another.insert() == "2"
    remove(tmp_path, "test.db-wal")
    assert [insert(database), insert(database)] == [3, 4]
    database.close()
    another.close()
    assert ids(sqlite_url) == [1, 2, 3, 4]


def test_a_process_that_starts_without_the_lost_log_waits_until_it_is_saved(
    database: Database, another: Process, sqlite_url: str, tmp_path: Path
) -> None:
    assert insert(database) == 1
    remove(tmp_path, "test.db-wal")
    assert another.insert() == "OperationalError"
    assert insert(database) == 2
    assert another.insert() == "3"
    database.close()
    another.close()
    assert ids(sqlite_url) == [1, 2, 3]


def test_all_connections_to_a_lost_file_close_before_another_opens(
    database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    assert insert(database) == 1
    with ExitStack() as reading:
        for _ in range(3):
            reading.enter_context(database.read())
        remove(tmp_path, *SIDE_FILES)
        for _ in range(4):
            with pytest.raises(TRANSIENT_ERRORS):
                insert(database)
    inserted = [1]
    while len(inserted) < 3:
        with suppress(*TRANSIENT_ERRORS):
            inserted.append(insert(database))
    database.close()
    assert ids(sqlite_url) == inserted


def test_an_idle_process_saves_a_lost_log_by_itself(sqlite_url: str, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    writer = MessageWriter(database, NoCache(), TTL, timing=Timing(remember_seconds=0.05))
    writer.start()
    assert insert(database) == 1
    remove(tmp_path, "test.db-wal")
    wait_until(tmp_path.joinpath("test.db-wal").exists)
    database_alone = tmp_path / "copy.db"
    database_alone.write_bytes(tmp_path.joinpath("test.db").read_bytes())
    assert ids(f"sqlite:///{database_alone}") == [1]
    writer.close()
    database.close()


def test_the_last_to_close_leaves_one_file(database: Database, tmp_path: Path) -> None:
    insert(database)
    database.close()
    assert [file.name for file in tmp_path.iterdir()] == ["test.db"]
