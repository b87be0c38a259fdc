"""One schedule: a service, its customers and their troubles, until everybody has been thanked."""

import asyncio
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from audit.check import check
from audit.client_history import ClientHistory
from core.logs import logger
from db.engine import Database, open_database
from models import LoggedMessage, Review
from simulator.demo import read_examples
from tests.campaigns.simulation.choices import Choices
from tests.campaigns.simulation.faults import Redis, Trouble, watch
from tests.campaigns.simulation.people import Customer, Line
from tests.campaigns.simulation.story import Story
from tests.campaigns.simulation.virtual import Stuck, VirtualLoop, virtual_modules
from tests.campaigns.simulation.workers import TTL, Worker, make_cache
from tests.support.replaying import differences

MAX_WORKERS = 3
SKEWS = (
    timedelta(),
    timedelta(seconds=5),
    timedelta(seconds=-5),
    TTL / 2,
    -TTL / 2,
    timedelta(days=-3),
    timedelta(days=400),
)
"""How far a worker's clock may be ahead."""
MAX_CUSTOMERS = 4
TROUBLE_SECONDS = 120.0
"""After so long nothing goes wrong any more, and everybody must get to an end."""
PATIENCE_SECONDS = 30 * 24 * 3600
REVIEWS = read_examples()[:MAX_CUSTOMERS]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a schedule: the choices made, the story, what was wrong, what happened."""

    choices: list[int]
    story: list[str]
    problems: list[str]
    counts: Counter[str]


class Theatre:
    """Where schedules are played, one after another: a database file, and a door to it a worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._empty, self._file = self._folder / "empty.db", self._folder / "played.db"
        empty = open_database(f"sqlite:///{self._empty}")
        empty.migrate()
        empty.close()
        self._judge = open_database(f"sqlite:///{self._file}")
        self._judge._migrated = True
        self._doors = [open_database(f"sqlite:///{self._file}") for _ in range(MAX_WORKERS)]
        self._trouble: Trouble | None = None
        self._workers: list[Worker] = []
        for number, door in enumerate(self._doors):
            self._watch(number, door)

    def _watch(self, number: int, door: Database) -> None:
        def trouble() -> Trouble:
            assert self._trouble is not None
            return self._trouble

        watch(door.engine, trouble, lambda: self._workers[number].process)

    def close(self) -> None:
        for door in (self._judge, *self._doors):
            door.close()

    def play(self, choices: Choices) -> Outcome:
        """Play a schedule; its choices decide everything."""
        for door in (self._judge, *self._doors):
            door.close()
        for left in self._folder.glob(f"{self._file.name}*"):
            left.unlink()
        shutil.copyfile(self._empty, self._file)
        loop = VirtualLoop()
        story = Story(loop.time)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            with virtual_modules(loop, story.clock), story.told_by(logger):
                try:
                    runner.run(self._play(choices, story))
                except Stuck as error:
                    story.problem(str(error))
        return Outcome(choices.made, story.lines, story.problems, story.counts)

    async def _play(self, choices: Choices, story: Story) -> None:
        loop = asyncio.get_running_loop()
        self._trouble = trouble = Trouble(choices, story.tell, loop)
        kind = choices.one_of("database", "redis", "memory")
        open_cache = make_cache(kind, Redis(loop), trouble)
        workers = 1 + choices.pick(*[1] * MAX_WORKERS)

        def choose_clock() -> timedelta:
            return timedelta() if trouble.is_over else SKEWS[choices.pick(12, 3, 3, 1, 1, 1, 1)]

        self._workers = [
            Worker(f"worker{n + 1}", partial(_open_again, door), open_cache, story, choose_clock)
            for n, door in enumerate(self._doors[:workers])
        ]
        line = Line(choices, self._workers, story, ClientHistory(), _count("SM"))
        customers = [
            Customer(line, f"+1555000000{n}", REVIEWS[n])
            for n in range(1 + choices.pick(*range(MAX_CUSTOMERS, 0, -1)))  # few, as a rule
        ]
        story.tell(f"workers: {workers}, store: {kind}, customers: {len(customers)}")

        def end_trouble() -> None:
            story.tell("nothing goes wrong any more")
            trouble.end()
            line.is_calm = True
            for worker in self._workers:
                worker.ahead = timedelta()

        loop.call_later(TROUBLE_SECONDS, end_trouble)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(customer.visit() for customer in customers))
                while line.later:
                    await line.later.pop()
                trouble.end()
                for worker in self._workers:
                    await worker.stop()
        except TimeoutError:
            story.problem("somebody waits for ever")
        self._judge_all(story, line.client_history, customers)

    def _judge_all(
        self, story: Story, client_history: ClientHistory, customers: Sequence[Customer]
    ) -> None:
        findings = check(self._judge, kept_for=TTL, history=client_history)
        for problem in (*findings.problems, *differences(self._judge, TTL)):
            story.problem(problem)
        with self._judge.read() as connection:
            saved = connection.execute(sa.select(Review)).all()
            logged = connection.execute(sa.select(LoggedMessage)).all()
        for customer in customers:
            if any(
                row.contact_number == customer.contact and row.message_sid in customer.forgotten
                for row in logged
            ):
                story.problem(f"{customer.contact} was forgotten, and is still known")
            wanted = [customer.review[word] for word in ("product", "name", "review")]
            found = [
                [row.product_name, row.user_name, row.product_review]
                for row in saved
                if row.contact_number == customer.contact
            ]
            if customer.is_plain and found != [wanted]:
                story.problem(f"{customer.contact} wrote one review, and there are {len(found)}")
            elif not found:
                story.problem(f"{customer.contact} was thanked, and there is no review")


def _open_again(door: Database) -> Database:
    """Open the database for a new process; statements stay compiled, connections do not stay."""
    door.engine.dispose()
    database = Database(door.engine, door.files)
    database._migrated = True  # the file is a copy of one that was
    return database


def _count(prefix: str) -> Iterator[str]:
    return (f"{prefix}{number}" for number in itertools.count(1))
