"""PostgreSQL behind a proxy that cuts a connection after every number of bytes there is."""

import contextlib
import socket
import threading
from collections import Counter
from contextlib import closing

from fastapi.testclient import TestClient

from audit.client_history import ClientHistory
from core.settings import Settings
from main import create_app
from simulator.customer import Customer, texts_of
from simulator.fake_twilio import Simulator, message_form
from tests.campaigns.faults.aftermath import require_exactly
from tests.campaigns.faults.load import Review
from tests.support.databases import Postgres

COMMIT = b"Q\0\0\0\x0bCOMMIT\0"
"""As the driver sends it."""


class Proxy:
    """Passes bytes between the app and a server on loopback; cuts a connection when told to.

    What the server says after that is not passed on: it has done what it was asked for.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self.be_new()
        threading.Thread(target=self._accept, daemon=True).start()

    def be_new(self, *, cut_after: int | None = None, cut_commit: int | None = None) -> None:
        """Count from here, and cut once.

        After so many bytes from the server to the app, or instead of the answer to the COMMIT of
        this number, 1 for the first.
        """
        with self._lock:
            self.passed, self._left = 0, cut_after
            self.commits, self._cut_commit = 0, cut_commit
            self.cut_amid: bytes | None = None
            """What the app had sent last when it was cut off; None where it has not been."""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                app, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(app,), daemon=True).start()

    def _connect(self, app: socket.socket) -> None:
        with app, socket.create_connection(self._target) as server:
            asked = [b""]
            asking = threading.Thread(target=self._ask, args=(app, server, asked), daemon=True)
            asking.start()
            with contextlib.suppress(OSError):
                self._answer(app, server, asked)
            hang_up(app, server)
            asking.join()

    def _ask(self, app: socket.socket, server: socket.socket, asked: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while words := app.recv(65536):
                asked[0] = words
                server.sendall(words)
        hang_up(app, server)

    def _answer(self, app: socket.socket, server: socket.socket, asked: list[bytes]) -> None:
        while words := server.recv(65536):
            passed, is_cut = self._take(words, asked[0])
            app.sendall(passed)
            if is_cut:
                return

    def _take(self, words: bytes, asked: bytes) -> tuple[bytes, bool]:
        """Say what of the server's words is passed on, and whether the cut follows."""
        with self._lock:
            if asked == COMMIT:
                self.commits += 1
                if self.commits == self._cut_commit:
                    self._left = 0
            is_cut = self._left is not None and len(words) > self._left
            if is_cut:
                words, self._left, self.cut_amid = words[: self._left], None, asked
            elif self._left is not None:
                self._left -= len(words)
            self.passed += len(words)
            return words, is_cut


def hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # it has hung up itself
            end.shutdown(socket.SHUT_RDWR)


def cut_conversations(postgres: Postgres, url: str, review: Review, step: int) -> Counter[str]:
    """Cut conversations, each from the app's start to its thanks, after 0, `step`, … bytes.

    Beside these each COMMIT is left without an answer in one of them.
    """
    counts: Counter[str] = Counter()
    client_history = ClientHistory()
    written: list[tuple[str, Review]] = []
    with closing(Proxy(postgres.port)) as proxy:
        settings = Settings(
            environment="local",
            database_url=url.replace(f":{postgres.port}/", f":{proxy.port}/"),
            conversation_store="database",
            log_level="ERROR",
        )

        def converse() -> None:
            contact = f"+1555{len(written):07}"
            with TestClient(create_app(settings)) as client:
                # Another attempt is for a status: the writer asks the log by itself.
                twilio = Simulator(
                    client, attempts=10, pause_seconds=0.02, client_history=client_history
                )
                customer = Customer(twilio, contact)
                forms = [message_form(contact, text) for text in texts_of(review)]
                for form in [*forms, *forms]:
                    customer.sends(form)
            written.append((contact, review))

        converse()
        counts["bytes of a conversation"] = proxy.passed
        cuts: list[dict[str, int]] = [{"cut_after": n} for n in range(0, proxy.passed, step)]
        cuts += [{"cut_commit": number + 1} for number in range(proxy.commits)]
        for cut in cuts:
            proxy.be_new(**cut)
            converse()
            counts["cuts"] += proxy.cut_amid is not None
            counts["of them between COMMIT and its answer"] += proxy.cut_amid == COMMIT
    findings = require_exactly(written, url, client_history)
    return counts + Counter({"reviews": findings.reviews, "messages": findings.messages})
