"""`uvicorn main:app` where it must not start: a sentence, exit code 3, and nobody is left over."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.paths import ROOT
from db.engine import open_database
from tests.support.servers import Uvicorn

UNSAFE = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "",
    "TWILIO_AUTH_TOKEN": "",
    "PUBLIC_URL": "https://reviews.example.com/webhook",
    "API_KEY": "short",
    "CORS_ORIGINS": "",
}


def end_of(server: Uvicorn) -> tuple[int, str]:
    """Wait until a server has ended by itself; return its exit code and all it printed."""
    try:
        return server.process.wait(30), server.log.read_text()
    except subprocess.TimeoutExpired:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        raise


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("processes")
def test_unsafe_settings_end_the_server_with_a_sentence(tmp_path: Path, workers: int) -> None:
    code, log = end_of(Uvicorn(tmp_path / "log", workers, **UNSAFE))
    assert code == 3 or workers > 1  # uvicorn's parent process has a code of its own
    assert "not safe to start with" in log
    assert "python3 run.py" in log
    for name in ("DATABASE_URL", "TWILIO_AUTH_TOKEN", "PUBLIC_URL", "API_KEY"):
        assert f"  - {name} " in log
    assert "Traceback" not in log
    assert 'File "' not in log


@pytest.mark.usefixtures("processes")
def test_a_newer_schema_ends_the_server_with_a_sentence(sqlite_url: str, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    code, log = end_of(Uvicorn(tmp_path / "log", DATABASE_URL=sqlite_url))
    assert code == 3
    assert "The database has schema 9999, this program knows" in log
    assert "Traceback" not in log
    assert 'File "' not in log


@pytest.mark.usefixtures("processes")
def test_importing_main_opens_nothing(tmp_path: Path) -> None:
    look = (
        "import threading, sys; sys.path.insert(0, sys.argv[1]); import main;"
        "assert main.app; print(threading.active_count())"
    )
    result = subprocess.run(
        [sys.executable, "-c", look, str(ROOT)],
        cwd=tmp_path,
        env={"ENVIRONMENT": "local", "DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("1\n", "")
    assert list(tmp_path.iterdir()) == []
