"""Backing up SQLite: under load, on a full disk, and what is refused."""

import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from audit.check import check
from cli import sqlite_copy
from cli.backup import back_up
from cli.sqlite_copy import Refused
from conversation.wording import GOT_NAME, GOT_PRODUCT, GOT_REVIEW, GREETING
from db.engine import open_database
from models import LoggedMessage
from simulator.customer import Customer
from simulator.fake_twilio import Simulator, message_form
from tests.conftest import MakeClient
from tests.support.servers import wait_until

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="modes and limits are POSIX's")
REPLIES = {
    GREETING,
    GOT_PRODUCT,
    GOT_NAME.format(product="Lamp"),
    GOT_REVIEW.format(name="Ana", product="Lamp"),
}


def fill(file: Path, product: str, rows: int) -> None:
    """Add reviews of 1 kB each, as if they were older than the log of messages."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < ?)"
            " INSERT INTO reviews (id, contact_number, user_name, product_name, product_review,"
            " conversation_id, created_at, updated_at) SELECT last + n, '+1', 'Ana', ?,"
            " hex(zeroblob(500)), 'legacy-' || (last + n), t, t"
            " FROM k, (SELECT '2026-01-01 00:00:00.000000' AS t),"
            " (SELECT coalesce(max(id), 0) AS last FROM reviews)",
            (rows, product),
        )


def reviews_in(file: Path) -> dict[str, int]:
    """Count the reviews of each product in a file that is sound from end to end."""
    query = "SELECT product_name, count(*) FROM reviews GROUP BY product_name"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(connection.execute(query).fetchall())


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.fixture(scope="module")
def large(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of 4 MB: more than SQLite holds in memory before it writes to a file."""
    file = Path(shutil.copy(migrated_sqlite, tmp_path_factory.mktemp("large") / "large"))
    fill(file, "new", 3000)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "UPDATE reviews SET search_text ="
            " lower(product_name || x'1f' || user_name || x'1f' || product_review)"
        )
    assert back_up(file, file.with_name("copy")) == 3000
    return file.with_name("copy")


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """A database with three reviews, alone in its folder."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    fill(file, "old", 3)
    return file


@contextmanager
def customers_at_work(client: TestClient) -> Iterator[dict[str, str]]:
    """Have customers write without a pause; yield what they were answered so far, by MessageSid.

    Raises what anybody met instead of the right answer.
    """
    answers: dict[str, str] = {}
    over = threading.Event()

    def write_on(contact: str) -> None:
        customer = Customer(Simulator(client), contact, delivers=())
        while not over.is_set():
            for text in ("Hi", "Lamp", "Ana", "Fine"):
                form = message_form(contact, text)
                answers[form["MessageSid"]] = customer.sends(form)

    with ThreadPoolExecutor(4) as pool:
        customers = [pool.submit(write_on, f"+1555000000{n}") for n in range(4)]
        try:
            wait_until(lambda: len(answers) > 20)
            yield answers
        finally:
            over.set()
    for customer in customers:
        customer.result()
    assert set(answers.values()) == REPLIES


def require_recorded(url: str, answered: set[str]) -> None:
    """Have the log agree with the tables, and hold all that was answered."""
    with closing(open_database(url)) as database:
        assert check(database).problems == []
        with database.read() as connection:
            assert answered <= set(connection.scalars(sa.select(LoggedMessage.message_sid)))


def test_a_copy_taken_under_load_holds_all_that_was_answered_before(
    make_client: MakeClient, large: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{shutil.copy(large, tmp_path / 'test.db')}"
    client = make_client(database_url=url, conversation_store="database")
    copies: list[tuple[str, set[str]]] = []
    with customers_at_work(client) as answers:
        answered_meanwhile = 0
        while answered_meanwhile < 5 and len(copies) < 20:
            before = set(answers)
            copy = tmp_path / f"copy{len(copies)}"
            assert back_up(tmp_path / "test.db", copy) > 3000
            copies.append((f"sqlite:///{copy}", before))
            answered_meanwhile += len(answers) - len(before)
    assert answered_meanwhile >= 5
    for of_one_moment in [*copies, (url, set(answers))]:
        require_recorded(*of_one_moment)


@POSIX_ONLY
def test_a_copy_is_one_file_for_its_owner_alone(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with closing(sqlite3.connect(file)) as reader:
        assert reader.execute("SELECT count(*) FROM reviews").fetchone() == (3,)
        fill(file, "not yet in the file itself", 2)
        assert back_up(file, copy) == 5
        assert [*tmp_path.glob("*copy*")] == [copy]
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("SELECT count(*) FROM reviews").fetchone() == (5,)
        assert [*tmp_path.glob("*copy*")] == [copy]  # out of WAL mode, so readers need no -wal


def test_a_file_that_exists_is_left_as_it_is(file: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("letter").write_text("Dear Sir")
    before = files_in(tmp_path)
    for name in ("letter", "test.db"):
        with pytest.raises(Refused, match=f"{name} already exists"):
            back_up(file, tmp_path / name)
    assert files_in(tmp_path) == before


def test_a_file_that_appears_meanwhile_is_left_as_it_is(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = sqlite_copy.open_file

    def appear(opened: Path) -> sqlite3.Connection:
        if opened.suffix == ".partial":
            tmp_path.joinpath("copy").write_text("Dear Sir")
        return open_file(opened)

    monkeypatch.setattr(sqlite_copy, "open_file", appear)
    with pytest.raises(Refused, match="copy already exists"):
        back_up(file, tmp_path / "copy")
    assert tmp_path.joinpath("copy").read_text() == "Dear Sir"
    assert {found.name for found in tmp_path.iterdir()} == {"test.db", "copy"}


def test_nothing_is_made_where_there_is_no_folder_or_no_database(
    file: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"There is no folder .*none"):
        back_up(file, tmp_path / "none" / "copy")
    with pytest.raises(Refused, match=r"There is no database .*none\.db yet"):
        back_up(tmp_path / "none.db", tmp_path / "copy")
    assert {found.name for found in tmp_path.iterdir()} == {"test.db"}


@pytest.mark.parametrize("name", ["test.db-wal", "test.db-shm", "test.db-journal"])
def test_a_name_that_the_database_has_use_for_is_refused(file: Path, name: str) -> None:
    with pytest.raises(Refused, match=f"{name} is a name that the database itself uses"):
        back_up(file, file.with_name(name))
    assert [*file.parent.iterdir()] == [file]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: damage(file, "reviews"),
        lambda file: damage(file, "ix_messages_unerased"),
        lambda file: set_apart(file, b"legacy-3000"),
    ],
    ids=["table", "index", "one differs from the other"],
)
def test_a_database_that_is_damaged_makes_no_backup(
    large: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A backup that can't be restored is noticed on the day it is made."""
    file = Path(shutil.copy(large, tmp_path / "test.db"))
    spoil(file)
    with pytest.raises(Refused, match=r"test\.db is (damaged|not an intact database)"):
        back_up(file, tmp_path / "copy")
    assert {found.name for found in tmp_path.iterdir()} == {"test.db"}


def damage(file: Path, part: str) -> None:
    """Flip every bit of the page that a table or an index begins with."""
    with closing(sqlite3.connect(file)) as connection:
        [page] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", [part]
        ).fetchone()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        flipped = bytes(byte ^ 0xFF for byte in opened.read(4096))
        opened.seek((page - 1) * 4096)
        opened.write(flipped)


def set_apart(file: Path, text: bytes) -> None:
    """Change a letter of a text in its table or in its index."""
    content = bytearray(file.read_bytes())
    content[content.rindex(text)] ^= 2
    file.write_bytes(content)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Have the kernel let no file of this process grow beyond a size."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@POSIX_ONLY
@pytest.mark.parametrize("size", [0, 100_000, 4_000_000])
def test_a_full_disk_leaves_no_half_copy(large: Path, tmp_path: Path, size: int) -> None:
    with full_disk(size), pytest.raises(sqlite3.Error):
        back_up(large, tmp_path / "copy")
    assert [*tmp_path.iterdir()] == []
