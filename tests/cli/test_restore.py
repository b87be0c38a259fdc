"""Putting a backup back: all of it or nothing, whatever is full, open, damaged or killed."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cli import restore as restoring
from cli.backup import back_up
from cli.restore import restore
from cli.sqlite_copy import Refused, copy_database
from core.paths import ROOT
from tests.cli.test_backup import (
    POSIX_ONLY,
    damage,
    file,
    files_in,
    fill,
    full_disk,
    large,
    reviews_in,
    set_apart,
)

__all__ = ["file", "large"]


def test_what_was_backed_up_comes_back_and_what_was_there_is_kept(
    file: Path, tmp_path: Path
) -> None:
    back_up(file, tmp_path / "copy")
    fill(file, "later", 2)
    kept = restore(tmp_path / "copy", file)
    assert kept is not None
    assert kept.name.endswith(".replaced")
    assert {found.name for found in tmp_path.iterdir()} == {"test.db", "copy", kept.name}
    assert file.read_bytes()[18:20] == b"\2\2"  # WAL mode: https://sqlite.org/fileformat.html
    assert reviews_in(file) == {"old": 3}
    assert reviews_in(kept) == {"old": 3, "later": 2}
    assert sys.platform == "win32" or kept.stat().st_mode & 0o077 == 0


def test_two_restores_at_one_time_of_day_keep_two_files(large: Path, file: Path) -> None:
    first, second = restore(large, file), restore(large, file)
    assert first is not None
    assert second is not None
    assert (reviews_in(first), reviews_in(second)) == ({"old": 3}, {"new": 3000})


def test_what_a_killed_service_left_in_its_wal_is_kept_too(large: Path, file: Path) -> None:
    code = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "connection.execute('UPDATE reviews SET product_name = \"late\"'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    assert file.with_name("test.db-wal").stat().st_size > 0
    kept = restore(large, file)
    assert kept is not None
    assert (reviews_in(kept), reviews_in(file)) == ({"late": 3}, {"new": 3000})


def test_where_there_is_no_database_one_is_made_for_its_owner(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "test.db"
    assert restore(large, file) is None
    assert [*tmp_path.iterdir()] == [file]
    assert sys.platform == "win32" or file.stat().st_mode & 0o777 == 0o600
    assert reviews_in(file) == {"new": 3000}


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_what_a_lost_database_left_is_not_mixed_with_a_copy(
    large: Path, tmp_path: Path, end: str
) -> None:
    tmp_path.joinpath(f"test.db{end}").write_text("what the lost one had")
    before = files_in(tmp_path)
    with pytest.raises(Refused, match=f"test.db{end} already exists"):
        restore(large, tmp_path / "test.db")
    assert files_in(tmp_path) == before


IDLE = """
import sys
from db.engine import open_database
database = open_database(sys.argv[1])
with database.read() as connection:
    connection.exec_driver_sql("SELECT 1")
print("open", flush=True)
sys.stdin.readline()
with database.write() as connection:
    connection.exec_driver_sql("UPDATE reviews SET product_name = 'after'")
"""


def test_a_database_that_is_served_is_left_alone(large: Path, file: Path, tmp_path: Path) -> None:
    """An idle server has no lock on it, only a connection in its pool."""
    words = [sys.executable, "-c", IDLE, f"sqlite:///{file}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "open\n"
        with pytest.raises(Refused, match=r"Something has the database open .*: stop the service"):
            restore(large, file)
        assert reviews_in(file) == {"old": 3}
        server.communicate("go on\n")
    assert server.returncode == 0
    assert reviews_in(file) == {"after": 3}
    assert [*tmp_path.iterdir()] == [file]


def test_nobody_gets_in_between_the_keeping_and_the_replacing(
    large: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written then would be in neither file."""
    keep, tried = copy_database, list[Path]()

    def keep_and_try_to_write(source: sqlite3.Connection, copy: Path) -> None:
        keep(source, copy)
        if copy.suffix == ".replaced":
            with closing(sqlite3.connect(file, timeout=0)) as other:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("DELETE FROM reviews")
            tried.append(copy)

    monkeypatch.setattr(restoring, "copy_database", keep_and_try_to_write)
    assert [restore(large, file)] == tried
    assert reviews_in(file) == {"new": 3000}


def run_sql(*statements: str) -> Callable[[Path], None]:
    def change(copy: Path) -> None:
        with closing(sqlite3.connect(copy)) as connection, connection:
            for sql in statements:
                connection.execute(sql)

    return change


NOT_OURS = "copy is not an intact database of this program"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda copy: copy.write_text("Dear Sir or Madam, " * 100), NOT_OURS),
        (lambda copy: copy.write_bytes(b""), NOT_OURS),
        (run_sql("DELETE FROM alembic_version"), NOT_OURS),
        (run_sql("DROP TABLE reviews"), NOT_OURS),
        (run_sql("UPDATE alembic_version SET version_num = '9999'"), r"newer program \(schema 99"),
        (run_sql("UPDATE alembic_version SET version_num = '0001'"), "duplicate column"),
        (lambda copy: damage(copy, "reviews"), NOT_OURS),
        (lambda copy: damage(copy, "ix_messages_unerased"), "copy is damaged"),
        (lambda copy: set_apart(copy, b"legacy-3000"), "copy is damaged"),
        (
            run_sql(
                "CREATE TABLE kept AS SELECT * FROM messages",
                "DROP TABLE messages",
                "ALTER TABLE kept RENAME TO messages",
            ),
            "the table messages has no unique key",
        ),
        (Path.unlink, "There is no file .*copy"),
        (lambda copy: (copy.unlink(), copy.symlink_to("test.db")), "copy is the database itself"),
        (lambda copy: (copy.unlink(), copy.mkdir()), "There is no file .*copy"),
    ],
)
def test_what_is_no_sound_copy_is_refused(
    large: Path, file: Path, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    copy = Path(shutil.copy(large, tmp_path / "copy"))
    spoil(copy)
    before = files_in(tmp_path)
    with pytest.raises(Refused, match=sentence):
        restore(copy, file)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("spoil", [lambda _: b"Dear Sir " * 900, lambda sound: sound[:-4096]])
def test_a_damaged_database_is_to_be_moved_away_by_hand(
    large: Path, file: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(spoil(file.read_bytes()))
    before = files_in(tmp_path)
    with pytest.raises(Refused, match=r"can't be kept .*: move it and its -wal file away"):
        restore(large, file)
    assert files_in(tmp_path) == before
    file.rename(tmp_path / "away")
    restore(large, file)
    assert reviews_in(file) == {"new": 3000}


@POSIX_ONLY
@pytest.mark.parametrize("size", [0, 70_000, 4_000_000])
@pytest.mark.parametrize("is_tried_out", [True, False])
def test_a_full_disk_leaves_the_database_as_it_was(
    large: Path, file: Path, monkeypatch: pytest.MonkeyPatch, is_tried_out: bool, size: int
) -> None:
    if not is_tried_out:  # as where something else fills the disk just after that
        monkeypatch.setattr(restoring, "_try_out", lambda *_: None)
    with full_disk(size), pytest.raises(sqlite3.Error):  # not "something has it open"
        restore(large, file)
    assert reviews_in(file) == {"old": 3}
    assert [*file.parent.iterdir()] == [file]


KILLED_AT_EVERY_STEP = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path
from cli.restore import restore
copy, old, folder = map(Path, sys.argv[1:])

class Mortal(sqlite3.Connection):
    left = 0
    def backup(self, target):
        super().backup(target, pages=300, progress=self.go_on)
        self.go_on()
    def go_on(self, *_):
        Mortal.left -= 1
        if Mortal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite3.connect
sqlite3.connect = lambda *given, **options: connect(*given, factory=Mortal, **options)
for Mortal.left in range(1, 100):
    database = folder / str(Mortal.left) / "test.db"
    database.parent.mkdir()
    shutil.copy(old, database)
    child = os.fork()
    if child == 0:
        restore(copy, database)
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
"""


@POSIX_ONLY
@pytest.mark.usefixtures("processes")
def test_a_killed_restore_leaves_the_old_database_or_the_new_one(
    large: Path, file: Path, tmp_path: Path
) -> None:
    fill(file, "older", 500)
    old, new = reviews_in(file), reviews_in(large)
    folder = tmp_path / "moments"
    folder.mkdir()
    words = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(large), str(file), str(folder)]
    subprocess.run(words, cwd=ROOT, check=True)
    moments = [folder / str(number + 1) for number in range(len([*folder.iterdir()]))]
    half_way = [moment for moment in moments if (moment / "test.db-journal").exists()]
    assert len(half_way) >= 3
    found = [reviews_in(moment / "test.db") for moment in moments]
    turned = found.index(new)
    assert found == turned * [old] + (len(moments) - turned) * [new]
    assert turned >= len(half_way)
    assert len(moments) - turned >= 2  # killed just after it was done, and not killed
