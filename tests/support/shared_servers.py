"""One PostgreSQL and one Valkey for a whole test run, shared by the processes of pytest-xdist."""

import contextlib
import secrets
import threading
from multiprocessing.connection import Client, Connection, Listener
from typing import Protocol

from tests.support.databases import Postgres, RunningPostgres, Valkey, migrated

Address = tuple[tuple[str, int], str]
"""Where the controller answers its workers, and the key to it."""


class Servers(Protocol):
    def postgres(self) -> RunningPostgres:
        """Return the server; its database `migrated` is up to date, and there to be copied."""

    def valkey_port(self) -> int:
        """Return the port of the server, which has 64 numbered databases."""


class OwnServers:
    """Starts servers when they are first asked for. `close` ends them."""

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None
        self._answering: threading.Thread | None = None
        self._address: Address | None = None

    def postgres(self) -> RunningPostgres:
        if self._postgres is None:
            self._postgres = Postgres().start()
            self._running.callback(self._postgres.close)
            self._postgres.run_sql("CREATE DATABASE migrated")
            migrated(self._postgres.url("migrated"))
        return RunningPostgres(self._postgres.port, self._postgres.programs)

    def valkey_port(self) -> int:
        if self._valkey is None:
            self._valkey = Valkey().start()
            self._running.callback(self._valkey.kill)
        return self._valkey.port

    def share(self) -> Address:
        """Answer other processes from now on; return what AskedServers needs."""
        if self._address is None:
            key = secrets.token_hex()
            listener = Listener(("127.0.0.1", 0), authkey=key.encode())
            # It starts the servers, and Linux ends them with the thread that started them.
            self._answering = threading.Thread(target=self._answer, args=(listener,), daemon=True)
            self._answering.start()
            host, port = listener.address
            self._address = (host, port), key
        return self._address

    def _answer(self, listener: Listener) -> None:
        with listener:
            while True:
                with listener.accept() as connection:
                    wanted = connection.recv()
                    if wanted is None:
                        return
                    self._answer_one(connection, wanted)

    def _answer_one(self, connection: Connection, wanted: str) -> None:
        try:
            connection.send(getattr(self, wanted)())
        except Exception as error:
            connection.send(error)

    def close(self) -> None:
        if self._address is not None and self._answering is not None:
            _ask(self._address, None)
            self._answering.join()
        self._running.close()


class AskedServers:
    """The servers of the controller, for a worker of pytest-xdist."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def postgres(self) -> RunningPostgres:
        answer = _ask(self._address, "postgres")
        assert isinstance(answer, RunningPostgres), answer
        return answer

    def valkey_port(self) -> int:
        answer = _ask(self._address, "valkey_port")
        assert isinstance(answer, int), answer
        return answer


def _ask(address: Address, wanted: str | None) -> object:
    (host, port), key = address
    with Client((host, port), authkey=key.encode()) as connection:
        connection.send(wanted)
        return None if wanted is None else connection.recv()
