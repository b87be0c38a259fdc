"""A database that is removed, full, read-only, not ours or not a database."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.paths import ROOT
from db.engine import Database, open_database
from db.errors import TRANSIENT_ERRORS, DatabaseUnavailable, StartupError
from models import Review
from tests.db.test_schema import insert, review
from tests.support.databases import RunningPostgres


def test_a_file_that_is_removed_while_serving_is_an_outage_until_it_is_back(
    sqlite_url: str, tmp_path: Path
) -> None:
    database = open_database(sqlite_url)
    insert(database)
    assert database.file is not None
    for name in ("test.db", "test.db-wal", "test.db-shm"):
        tmp_path.joinpath(name).rename(tmp_path / f"moved-{name}")
    for _ in range(2):
        with pytest.raises(TRANSIENT_ERRORS):
            insert(database)
    assert not database.file.exists()
    for name in ("test.db", "test.db-wal", "test.db-shm"):
        tmp_path.joinpath(f"moved-{name}").rename(tmp_path / name)
    assert insert(database) == 2
    database.close()


def test_a_file_removed_during_a_transaction_fails_the_transaction(
    sqlite_url: str, tmp_path: Path
) -> None:
    database = open_database(sqlite_url)

    def write_to_the_removed_file() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(Review).values(review()))
            tmp_path.joinpath("test.db").rename(tmp_path / "moved.db")

    with pytest.raises(DatabaseUnavailable, match=r"test\.db was removed or replaced"):
        write_to_the_removed_file()
    database.close()


def test_a_full_disk_is_known_to_have_recorded_nothing(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def write_too_much() -> None:
        with database.write() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.execute(
                sa.insert(Review), [review(product_review="x" * 8000) for _ in range(99)]
            )

    with pytest.raises(DatabaseUnavailable, match="full"):
        write_too_much()
    assert count_reviews(database) == 0
    database.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    database.migrate()
    assert (tmp_path / "new.db").stat().st_mode & 0o077 == 0
    database.close()


def test_what_is_no_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StartupError, match="file is not a database"):
        open_database(f"sqlite:///{file}").migrate()


def test_a_user_who_may_not_make_tables_is_refused_in_a_sentence(postgres: RunningPostgres) -> None:
    guest = f"guest_{uuid.uuid4().hex}"
    postgres.run_sql(f"CREATE ROLE {guest} LOGIN")
    with postgres.new_database() as url:
        database = open_database(url.replace("postgres@", f"{guest}@"))
        with pytest.raises(StartupError, match="permission denied"):
            database.migrate()
        database.close()


def test_a_database_that_cannot_keep_every_text_is_refused_in_a_sentence(latin_url: str) -> None:
    database = open_database(latin_url)
    with pytest.raises(StartupError, match="encoding is LATIN1, which has not all"):
        database.migrate()
    database.close()


@pytest.mark.usefixtures("processes")
def test_opening_a_file_twice_in_one_process_keeps_the_first_ones_locks(sqlite_url: str) -> None:
    """Closing any handle of the file would drop SQLite's locks, so others could remove its log."""
    first, second = open_database(sqlite_url), open_database(sqlite_url)
    insert(first)
    second.migrate()
    for number in (1, 2):
        assert count_by_another_process(sqlite_url) == number
        insert(first)
    assert count_by_another_process(sqlite_url) == 3
    first.close()
    second.close()


def test_options_of_the_url_are_kept(postgres_url: str) -> None:
    database = open_database(f"{postgres_url}?options=-csearch_path%3Dpg_catalog,public")
    with database.read() as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "pg_catalog,public"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "5s"
    database.close()


def count_reviews(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count(Review.id))) or 0


def count_by_another_process(url: str) -> int:
    code = (
        "import sys; from db.engine import open_database\n"
        "with open_database(sys.argv[1]).read() as connection:\n"
        "    print(connection.exec_driver_sql('SELECT count(*) FROM reviews').scalar())"
    )
    command = [sys.executable, "-c", code, url]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def test_a_server_that_is_read_only_is_an_outage(
    postgres: RunningPostgres, postgres_url: str
) -> None:
    """As after a failover to a standby."""
    name = postgres_url.rpartition("/")[2]
    postgres.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = open_database(postgres_url)
    with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
        insert(database)
    database.close()


def test_a_link_to_where_the_file_will_be_is_followed(tmp_path: Path) -> None:
    tmp_path.joinpath("link.db").symlink_to(tmp_path / "real.db")
    database = open_database(f"sqlite:///{tmp_path / 'link.db'}")
    assert insert(database) == 1
    assert tmp_path.joinpath("real.db").is_file()
    database.close()


@pytest.mark.parametrize("name", ["a b", "100%", "é#;x"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database = open_database(f"sqlite:///{folder / 'x.db'}")
    assert insert(database) == 1
    assert folder.joinpath("x.db").is_file()
    database.close()
