"""A crowd of new contacts, and one who floods us: `run.py bench hostile`.

Beside them a few customers behave well. Their replies must stay prompt, and memory flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twilio.request_validator import RequestValidator

from bench import client
from bench.report import percentiles, save, table, tell
from bench.subjects import (
    POSTGRESQL,
    SQLITE,
    SQLITE_IN_MEMORY,
    Laboratory,
    Running,
    open_laboratory,
)
from bench.traffic import MESSAGES_PER_REVIEW, TOKEN, Tally, Traffic, Void, signed_request
from simulator.fake_twilio import message_form

CROWD_PER_SECOND = 1_000
"""New contacts, who greet us once each."""
FLOOD_PER_SECOND = 100
"""Messages of the one who floods us."""
CUSTOMERS = 20
"""Who behave well: a message a second from each."""
TEXTS = ("Hi", "Lamp", "Ana", "Amazing battery life, and the camera is better than I expected.")


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who sends what, signed beforehand, and in how many parts: after each we look at memory."""

    parts: int
    seconds: int
    """Of each part."""
    crowd: list[bytes]
    flood: list[bytes]
    customers: list[bytes]
    """One part more than of the others: first they are alone."""

    @property
    def messages(self) -> int:
        return len(self.crowd) + len(self.flood) + len(self.customers)

    @property
    def reviews(self) -> int:
        """How many come of it: four messages of one contact make one, in whatever order."""
        by_customer = len(self.customers) // CUSTOMERS // MESSAGES_PER_REVIEW
        return len(self.flood) // MESSAGES_PER_REVIEW + CUSTOMERS * by_customer


def gather(contacts: int, parts: int) -> Crowd:
    """Sign what everybody sends."""
    signer = RequestValidator(TOKEN)
    seconds = contacts // parts // CROWD_PER_SECOND

    def say(contact: str, place: int) -> bytes:
        text = TEXTS[place % MESSAGES_PER_REVIEW]
        return signed_request(message_form(contact, text), signer)

    return Crowd(
        parts,
        seconds,
        crowd=[say(f"+1666{number:07}", 0) for number in range(contacts)],
        flood=[say("+17770000000", n) for n in range(FLOOD_PER_SECOND * seconds * parts)],
        customers=[
            say(f"+1555{customer:07}", second)
            for second in range(seconds * (parts + 1))
            for customer in range(CUSTOMERS)
        ],
    )


def part(requests: Sequence[bytes], number: int, size: int) -> Sequence[bytes]:
    return requests[number * size : (number + 1) * size]


def besiege(running: Running, crowd: Crowd) -> list[list[str]]:
    """Send it all, and tell after each part how much memory there is and how long replies took.

    Raises Void where an answer is none, or where the log does not hold all that was sent.
    """
    port, seconds = running.server.port, crowd.seconds
    mine = CUSTOMERS * seconds
    alone = client.send_steadily(port, part(crowd.customers, 0, mine), CUSTOMERS)
    rows = [row(running, 0, alone)]
    refused = alone.refused
    for number in range(crowd.parts):
        streams: list[tuple[Sequence[bytes], float]] = [
            (part(crowd.customers, number + 1, mine), CUSTOMERS),
            (part(crowd.crowd, number, CROWD_PER_SECOND * seconds), CROWD_PER_SECOND),
            (part(crowd.flood, number, FLOOD_PER_SECOND * seconds), FLOOD_PER_SECOND),
        ]
        loads = client.send_together(port, streams)
        refused += sum(load.refused for load in loads)
        rows.append(row(running, (number + 1) * CROWD_PER_SECOND * seconds, loads[0]))
    if refused:
        raise Void(f"{refused} answers were no reply")
    running.require_recorded(Tally(Traffic([], 1), crowd.messages, 0, crowd.reviews, crowd.reviews))
    return rows


def row(running: Running, contacts: int, load: client.Load) -> list[str]:
    p50, p99 = percentiles(load.latencies)
    megabytes = f"{running.megabytes():.0f}"
    return [running.subject.name, f"{contacts:,}", megabytes, f"{p50:.1f}", f"{p99:.1f}"]


def measure(laboratory: Laboratory, crowd: Crowd) -> list[list[str]]:
    rows = [["subject", "contacts so far", "resident MB", "p50 ms", "p99 ms"]]
    for subject in (SQLITE, SQLITE_IN_MEMORY, POSTGRESQL):
        with laboratory.serve(subject) as running:
            rows += besiege(running, crowd)
        tell(f"{subject.name}: done")
    return rows


def main(*, quick: bool, into: Path) -> None:
    crowd = gather(4_000, 2) if quick else gather(100_000, 5)
    with open_laboratory() as laboratory:
        rows = measure(laboratory, crowd)
    tell(
        f"\n{CROWD_PER_SECOND:,} new contacts a second, beside one who sends {FLOOD_PER_SECOND} "
        f"messages a second and {CUSTOMERS} customers who send one; the times are these customers'."
        "\nIn the first row of each they are alone.\n"
    )
    tell(table(rows))
    save(into, "hostile", rows)
