"""One try: a server with a fault at its N-th call, and a customer who goes on until thanked."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from audit.client_history import ClientHistory
from conversation.wording import APOLOGY
from simulator.customer import texts_of
from simulator.demo import read_examples
from simulator.fake_twilio import Simulator, message_form, new_sid
from simulator.twiml_reader import NotAnswered
from tests.campaigns.faults.aftermath import require_exactly
from tests.support.servers import Uvicorn, ask, wait_until

CALLS = ("fdatasync", "pwrite64", "write", "ftruncate", "unlink")
FAULTS = ("signal=SIGKILL", "error=EIO", "error=ENOSPC")
CONTACT = "+15551234567"
REVIEW = read_examples()[0]
MISSES = 3


@cache
def is_possible() -> bool:
    """Say whether strace is here, and may trace."""
    strace = shutil.which("strace")
    return (
        strace is not None
        and subprocess.run([strace, "-qq", "-o", "/dev/null", "true"]).returncode == 0
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls the `number`-th call of a kind; each thread of the server counts its own."""

    call: str
    kind: str
    number: int

    def command(self, notes: Path) -> list[str]:
        """Write how strace starts the server: as its own parent, so that it may be ended."""
        inject = f"inject={self.call}:{self.kind}:when={self.number}"
        options = ["-D", "-f", "-qq", "-o", str(notes)]
        if self.kind.startswith("error"):  # with it strace 6.1 injects no signals
            options.append("--seccomp-bpf")  # stops at these calls alone
        return ["strace", *options, "-e", f"trace={self.call}", "-e", inject]


class Service:
    """A server that is started again, without a fault, when it has died of one."""

    def __init__(self, folder: Path, fault: Fault) -> None:
        self._notes, self._log = folder / "notes", folder / "log"
        self.url = f"sqlite:///{folder / 'reviews.db'}"
        self._server = self._start(fault.command(self._notes))

    def _start(self, under: list[str]) -> Uvicorn:
        return Uvicorn(self._log, under=under, DATABASE_URL=self.url, CONVERSATION_STORE="database")

    def base_url(self) -> str:
        """Find the server that is up, or start one."""

        def is_up() -> bool:
            if self._server.process.poll() is not None:
                self._server = self._start([])
            try:
                return ask(f"{self._server.base_url}/healthz").is_success
            except httpx.TransportError:
                return False

        wait_until(is_up)
        return self._server.base_url

    def stop(self) -> bool:
        """Stop it; say whether the fault struck."""
        self._server.stop()
        notes = self._notes.read_text()
        return "(INJECTED)" in notes or "+++ killed by SIGKILL +++" in notes


class InsistentCustomer:
    """Somebody who writes one review, each message delivered until it is answered, then again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.client_history = ClientHistory()

    def write(self) -> None:
        forms = []
        for text in texts_of(REVIEW):
            form = message_form(CONTACT, text)
            while (answer := self._deliver(form)).text == APOLOGY:
                # Where a delivery got no answer, the next process can't know what came of it and
                # may apologise (docs/reliability.md): the same SID has to be tried again.
                if None not in self.client_history.answers[form["MessageSid"]]:
                    form = message_form(CONTACT, text)
            forms.append(form)
        callback, sid = answer.callback, new_sid()
        assert callback is not None
        for status in ("sent", "delivered", "read"):
            self._ask(lambda twilio: self._report(twilio, callback, sid, status))  # noqa: B023
        for form in forms:
            self._deliver(form)

    def _deliver(self, form: dict[str, str]) -> Any:
        return self._ask(lambda twilio: twilio.deliver(form))

    def _report(self, twilio: Simulator, callback: str, sid: str, status: str) -> None:
        if twilio.report(callback, CONTACT, sid, status).status_code != 204:
            raise NotAnswered(status)

    def _ask(self, question: Callable[[Simulator], Any]) -> Any:
        for _ in range(100):
            base_url = self._service.base_url()
            client = httpx.Client(base_url=base_url, timeout=15, verify=False, trust_env=False)  # noqa: S501
            with client:
                try:
                    return question(Simulator(client, client_history=self.client_history))
                except NotAnswered:  # the server has died, or does not know what came of it
                    pass
        raise AssertionError("a hundred deliveries were not answered")


def strikes(fault: Fault, database: Path | None) -> bool:
    """Play a conversation amid a fault and insist on its one review; say whether that struck.

    `database` is a migrated one to copy; without it the server makes its own.
    """
    with tempfile.TemporaryDirectory(prefix="calls-") as name:
        folder = Path(name)
        if database is not None:
            shutil.copy(database, folder / "reviews.db")
        service = Service(folder, fault)
        try:
            customer = InsistentCustomer(service)
            customer.write()
        finally:
            struck = service.stop()
        require_exactly([(CONTACT, REVIEW)], service.url, customer.client_history)
    return struck


def count_strikes(call: str, kind: str, database: Path | None) -> int:
    """Let the fault strike at the first call, the second, … until none is left to strike.

    How the writer's batches fall decides how many calls there are: only after three misses in a
    row it is over.
    """
    count, misses, number = 0, 0, 1
    while misses < MISSES:
        if strikes(Fault(call, kind, number), database):
            count, misses = count + 1, 0
        else:
            misses += 1
        number += 1
    return count


def combinations() -> Iterator[tuple[str, str, bool]]:
    """List calls and faults, amid a conversation and, where they end the process, a first start."""
    for call in CALLS:
        for kind in FAULTS:
            yield call, kind, True
    for call in CALLS:
        yield call, FAULTS[0], False
