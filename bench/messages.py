"""How many messages a second: ours against FastAPI doing nothing, and against the usual design.

`python3 run.py bench`, or `bench --quick` for a look within a minute.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import client
from bench.report import bars, percentiles, save, spread, table, tell
from bench.subjects import (
    BARE,
    NOOP,
    POSTGRESQL,
    SQLITE,
    SUBJECTS,
    TUTORIAL,
    Running,
    Subject,
    open_laboratory,
)
from bench.traffic import Tally, Traffic, Void, make_traffic

MESSAGES_PER_SECOND = 80
"""What WhatsApp lets one sender have: https://www.twilio.com/docs/whatsapp/api (message rates)."""

MAX_PER_SECOND = 8 * 1024
"""More requests than any subject with a database takes."""


@dataclass(frozen=True, slots=True)
class Plan:
    subjects: Sequence[Subject]
    rounds: int
    connections: tuple[int, ...]
    seconds: int
    """Of each run with so many connections."""
    steady_seconds: int
    requests: int


FULL = Plan(SUBJECTS, 3, (1, 16, 64), 2, 4, 45_056)
QUICK = Plan([NOOP, TUTORIAL, SQLITE, POSTGRESQL], 2, (16, 64), 1, 2, 24_576)


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject in one round: messages a second by connections, milliseconds where steady."""

    per_second: dict[int, float]
    p50: float
    p99: float


@dataclass(slots=True)
class Sender:
    """Sends one subject its requests in order, and keeps the tally."""

    running: Running
    traffic: Traffic
    tally: Tally = field(init=False)
    place: int = 0

    def __post_init__(self) -> None:
        self.tally = Tally(self.traffic)

    def keep_busy(self, connections: int, seconds: int) -> float:
        """Send for so long; return the messages a second. Raises Void."""
        part = self.traffic.requests[self.place : self.place + seconds * MAX_PER_SECOND]
        load = client.send(self.running.server.port, part, connections, seconds)
        if self.running.subject.database and load.answered > len(part):
            raise Void("too few requests had been prepared")
        self.tally.add(load, connections)
        place = self.traffic.next_group(self.place + load.answered + connections)
        self.place = place % len(self.traffic.requests)
        return load.answered / load.seconds

    def send_steadily(self, per_second: int, seconds: int) -> tuple[float, float]:
        """Send each at its time; return p50 and p99 of their milliseconds. Raises Void."""
        part = self.traffic.requests[self.place : self.place + seconds * per_second]
        load = client.send_steadily(self.running.server.port, part, per_second)
        self.tally.add(load)
        return percentiles(load.latencies)


def measure(running: Running, traffic: Traffic, plan: Plan) -> Measured:
    """Send one subject everything that the plan says. Raises Void."""
    sender = Sender(running, traffic)
    sender.keep_busy(max(plan.connections), 1)  # to warm up
    per_second = {each: sender.keep_busy(each, plan.seconds) for each in plan.connections}
    p50, p99 = sender.send_steadily(MESSAGES_PER_SECOND, plan.steady_seconds)
    running.require_recorded(sender.tally)
    return Measured(per_second, p50, p99)


Rounds = dict[Subject, list[Measured]]


def run(plan: Plan) -> Rounds:
    """Measure every subject once a round: what the machine does meanwhile meets all of them."""
    traffic = make_traffic(plan.requests, group=64)
    rounds: Rounds = {subject: [] for subject in plan.subjects}
    with open_laboratory() as laboratory:
        for number in range(plan.rounds):
            for subject in plan.subjects:
                with laboratory.serve(subject) as running:
                    measured = measure(running, traffic, plan)
                rounds[subject].append(measured)
                rates = ", ".join(f"{rate:,.0f}" for rate in measured.per_second.values())
                tell(f"round {number + 1} of {plan.rounds}: {subject.name:20} {rates} messages/s")
    return rounds


def ratios(rounds: Rounds, subject: Subject, to: Subject, connections: int) -> list[float]:
    """Divide a subject's rate by another's, round by round."""
    pairs = zip(rounds[subject], rounds[to], strict=True)
    return [a.per_second[connections] / b.per_second[connections] for a, b in pairs]


def report(plan: Plan, rounds: Rounds, into: Path) -> None:
    """Print the table; write figures and picture into a folder."""
    most = max(plan.connections)
    rows = [
        [
            "subject",
            *(f"x noop, {each} conn." for each in plan.connections),
            f"x tutorial, {most} conn.",
            f"messages/s, {most} conn.",
            "p50 ms",
            "p99 ms",
        ]
    ]
    for subject, measured in rounds.items():
        rows.append(
            [
                subject.name,
                *(spread(ratios(rounds, subject, NOOP, each)) for each in plan.connections),
                spread(ratios(rounds, subject, TUTORIAL, most), ".1f"),
                spread([each.per_second[most] for each in measured], ",.0f"),
                spread([each.p50 for each in measured], ".1f"),
                spread([each.p99 for each in measured], ".1f"),
            ]
        )
    tell(f"\nThroughput by {client.NAME}, median (least-most).")
    tell(f"p50 and p99 at a steady {MESSAGES_PER_SECOND} messages/s, by our own client.\n")
    tell(table(rows))
    save(
        into,
        "messages",
        {subject.name: [asdict(each) for each in measured] for subject, measured in rounds.items()},
    )
    values = {subject.name: ratios(rounds, subject, NOOP, most) for subject in rounds}
    values.pop(BARE.name, None)  # it would dwarf the others
    title = f"Messages a second, {most} connections; FastAPI doing nothing is 1"
    into.joinpath("messages.svg").write_text(bars(title, values, {"1": 1.0}))


def main(*, quick: bool, into: Path) -> None:
    plan = QUICK if quick else FULL
    report(plan, run(plan), into)
