"""Customers who go on writing while things break, each message delivered until it is answered."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

import httpx

from audit.client_history import ClientHistory
from conversation.wording import APOLOGY
from simulator.customer import Customer, texts_of
from simulator.fake_twilio import TWILIO_SECONDS, Simulator, message_form
from tests.support.servers import Uvicorn, wait_until

CUSTOMERS = 8
THINKING_SECONDS = 0.2
"""At most, before each message: enough is under way at any time, and the machine is not busy."""
Review = Mapping[str, str]
Delivery = tuple[int, str]
"""The port it went to, and its MessageSid."""


class Line(httpx.HTTPTransport):
    """The way to the servers, as a balancer has it; it notes what came of each delivery.

    `servers` may change at any time. One of them is chosen at random, another where it refuses.
    """

    def __init__(self, servers: Iterable[Uvicorn]) -> None:
        super().__init__()
        self.servers = list(servers)
        self.counts: Counter[str] = Counter()
        """By the answer's status; "refused" connections; "broken" ones, without an answer."""
        self.slowest_seconds = 0.0
        self.answered: set[Delivery] = set()
        self.broken: set[Delivery] = set()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sid = parse_qs(request.content.decode()).get("MessageSid", [""])[0]
        servers = [*self.servers]  # a copy first: it may change meanwhile
        random.shuffle(servers)
        while True:
            port = servers.pop().port
            request.url = request.url.copy_with(port=port)
            began = time.monotonic()
            try:
                response = super().handle_request(request)
            except httpx.ConnectError:
                self._note("refused", began)
                if not servers:
                    raise
            except httpx.TransportError:
                self._note("broken", began, self.broken, (port, sid))
                raise
            else:
                self._note(str(response.status_code), began, self.answered, (port, sid))
                return response

    def _note(
        self,
        what: str,
        began: float,
        deliveries: set[Delivery] | None = None,
        delivery: Delivery = (0, ""),
    ) -> None:
        with self._lock:
            self.counts[what] += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            if deliveries is not None:
                deliveries.add(delivery)


class ForgetfulTwilio:
    """One customer's messages: each delivered until it is answered, and again at a later moment."""

    def __init__(self, twilio: Simulator, contact: str, seed: int) -> None:
        self.customer = Customer(twilio, contact)
        self.random = random.Random(seed)
        self.to_repeat: list[dict[str, str]] = []

    def play(self, review: Review) -> None:
        for text in texts_of(review):
            time.sleep(THINKING_SECONDS * self.random.random())
            self.say(text)
            while self.to_repeat and self.random.random() < 0.4:
                self.repeat_one()
        while self.to_repeat:
            self.repeat_one()

    def say(self, text: str) -> None:
        """Say it until it is taken: who is asked to send it again does so, under another SID."""
        twilio = self.customer.twilio
        form = message_form(self.customer.contact, text)
        while self.deliver(form) == APOLOGY:
            time.sleep(twilio.pause_seconds)
            # Where a delivery got no answer, a process that apologises later can't know what came
            # of that one (docs/reliability.md): it has to be the same SID that is tried again.
            if None not in twilio.client_history.answers[form["MessageSid"]]:
                form = message_form(self.customer.contact, text)
        self.to_repeat.append(form)

    def deliver(self, form: dict[str, str]) -> str:
        if self.random.random() >= 0.2:
            return self.customer.sends(form)
        with ThreadPoolExecutor(2) as both:  # the repeat overlaps with the first delivery
            told = [*both.map(self.customer.sends, [form, form])]
        return next((words for words in told if words != APOLOGY), APOLOGY)

    def repeat_one(self) -> None:
        """Deliver again what was answered; the client history compares the words."""
        self.customer.sends(self.to_repeat.pop(self.random.randrange(len(self.to_repeat))))


class Load:
    """Customers who write one review after another for as long as the block lasts.

    Then they finish what they have begun. `patience` is how long, in seconds, Twilio waits for an
    answer before it delivers a message again.
    """

    def __init__(
        self,
        servers: Iterable[Uvicorn],
        reviews: Sequence[Review],
        patience: float = TWILIO_SECONDS,
    ) -> None:
        self.line = Line(servers)
        self.client_history = ClientHistory()
        self.written: list[tuple[str, Review]] = []
        """Contacts, and the reviews that they have been thanked for."""
        self._reviews = reviews
        self._client = httpx.Client(
            transport=self.line, base_url="http://127.0.0.1", timeout=patience
        )
        self._twilio = Simulator(self._client, attempts=1000, client_history=self.client_history)
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(CUSTOMERS)
        self._customers: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._customers += [self._pool.submit(self._write_on, n) for n in range(CUSTOMERS)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if failure is not None:
            self._client.close()  # nobody goes on
        self._pool.shutdown()
        self._client.close()
        if failure is None:
            for customer in self._customers:
                customer.result()

    def wait_for(self, reviews: int) -> None:
        """Wait until so many reviews more have been written, whatever is broken just now."""
        goal = len(self.written) + reviews
        patience = max(60, goal / 2)  # a slow machine writes ten a second
        wait_until(lambda: self._goes_on() and len(self.written) >= goal, patience)

    def count_told(self, words: str | None) -> int:
        """Count the deliveries of messages that were answered with these words; None: with none."""
        return sum(answers.count(words) for answers in [*self.client_history.answers.values()])

    def _goes_on(self) -> bool:
        for customer in self._customers:
            if customer.done():
                customer.result()
        return True

    def _write_on(self, number: int) -> None:
        """Write two reviews by each of one contact after another."""
        for nth in count():
            if self._over.is_set():
                return
            contact = f"+1555{number:02}{nth // 2:05}"
            review = self._reviews[(number + CUSTOMERS * nth) % len(self._reviews)]
            ForgetfulTwilio(self._twilio, contact, seed=CUSTOMERS * nth + number).play(review)
            self.written.append((contact, review))
