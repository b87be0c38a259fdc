"""Customers who write, and Twilio, which delivers: once, twice, late, or until it is answered."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from audit.client_history import ClientHistory
from conversation.model import Message, State
from conversation.wording import APOLOGY, QUESTIONS
from ingest.timing import Timing
from tests.campaigns.simulation.choices import Choices
from tests.campaigns.simulation.story import Story
from tests.campaigns.simulation.workers import TTL, NoAnswer, Worker
from tests.support.sentences import is_thanks
from whatsapp.statuses import STATUSES, StatusUpdate

ASKED = {State.ASK_NAME: "product", State.ASK_REVIEW: "name", State.FINISH: "review"}
"""What a question asks for."""

ATTEMPTS = 4
"""How often Twilio delivers a message before it gives up."""


@dataclass(slots=True)
class Line:
    """Twilio: what is delivered to which worker, how often, and what came back."""

    choices: Choices
    workers: Sequence[Worker]
    story: Story
    client_history: ClientHistory
    sids: Iterator[str]
    is_calm: bool = False
    """Nothing gets lost or doubled on the way any more."""
    later: list[asyncio.Task[None]] = field(default_factory=list)

    def pick_worker(self) -> Worker:
        return self.choices.one_of(*self.workers)

    async def deliver(self, message: Message) -> str | None:
        """Deliver a message until it is answered; None where Twilio gave up."""
        for attempt in range(1_000 if self.is_calm else ATTEMPTS):
            way = 0 if self.is_calm else self.choices.pick(24, 2, 2, 3, 3)
            if way == 1:
                self.story.tell(f"{message.sid} is lost on its way")
                self.client_history.note_answer(message.sid, None)
            elif way == 2:
                self.story.tell(f"the answer to {message.sid} gets lost")
                self._deliver_later(message, 0.0, is_heard=False)
            else:
                if way == 3:
                    seconds = self.choices.one_of(0.0, 0.01, 1.0, 5.0, 30.0, 300.0)
                    self._deliver_later(message, seconds)
                elif way == 4:
                    self._deliver_later(message, 0.0)
                words = await self._deliver_once(message)
                if words is not None:
                    return words
            await asyncio.sleep(min(30.0, 0.5 * 2**attempt))
        return None

    def _deliver_later(self, message: Message, seconds: float, *, is_heard: bool = True) -> None:
        async def deliver() -> None:
            await asyncio.sleep(seconds)
            self.story.tell(f"{message.sid} is delivered again" if seconds else message.sid)
            await self._deliver_once(message, is_heard=is_heard)

        self.later.append(asyncio.get_running_loop().create_task(deliver()))

    async def _deliver_once(self, message: Message, *, is_heard: bool = True) -> str | None:
        loop = asyncio.get_running_loop()
        worker = self.pick_worker()
        began, words, review = loop.time(), None, None
        try:
            reply = await worker.reply_to(message)
            words, review = reply.text, reply.confirms
        except NoAnswer:
            pass
        said = "nothing" if words is None else repr(words)
        self.story.tell(f"{worker.process.name} answers {message.sid} with {said}", "deliveries")
        if loop.time() - began > Timing().deadline_seconds + 0.1:
            self.story.problem(f"{message.sid} was answered after {loop.time() - began:.1f} s")
        self.client_history.note_answer(message.sid, words if is_heard else None)
        if review is not None and is_heard:
            self._report_later(review)
        return words

    def _report_later(self, review: str) -> None:
        """Tell what becomes of our confirmation, in any order, until that is acknowledged."""
        sid = next(self.sids)
        statuses = self.choices.one_of(("sent", "delivered", "read"), ("read", "sent", "failed"))

        async def report(status: str, after: float) -> None:
            update = StatusUpdate(sid, status, None, review, None)
            assert status in STATUSES
            await asyncio.sleep(after)
            while True:
                try:
                    await self.pick_worker().raise_status(update)
                except NoAnswer:
                    await asyncio.sleep(1.0)
                else:
                    self.client_history.note_status(review, status)
                    return

        loop = asyncio.get_running_loop()
        for status in statuses:
            self.later.append(loop.create_task(report(status, self.choices.one_of(0.1, 0.0, 5.0))))


class Customer:
    """Somebody who wants to leave one review, and answers what they are asked."""

    def __init__(self, line: Line, contact: str, review: Mapping[str, str]) -> None:
        self._line, self.contact, self.review = line, contact, review
        self.forgotten: set[str] = set()
        """SIDs of messages that were answered before the owner had the contact forgotten."""
        self._messages: list[str] = []
        self._may_repeat_themselves = False

    @property
    def is_plain(self) -> bool:
        """Say whether they said everything once, as far as they and the service can tell.

        Not so where Twilio gave up, or where one delivery of a message was apologised for and
        another was not: then they may have said again what is recorded.
        """
        answers = [self._line.client_history.answers[sid] for sid in self._messages]
        return not self._may_repeat_themselves and all(
            APOLOGY not in told or {*told} == {APOLOGY} for told in answers
        )

    async def visit(self) -> None:
        """Talk until we are thanked."""
        text, choices, story = "Hi", self._line.choices, self._line.story
        while True:
            trouble = 0 if self._line.is_calm else choices.pick(30, 1, 1, 1, 1, 1)
            if trouble == 1:
                story.tell(f"{self.contact} thinks for longer than we remember")
                await asyncio.sleep(1.1 * TTL.total_seconds())
            said = text
            if trouble == 2:
                said = choices.one_of("", "x" * 8_001, "\u2800")
            elif trouble == 5:
                await self._be_forgotten()
            words = await (self._insist(said) if trouble == 3 else self._say(said))
            if not words or words == APOLOGY:
                story.tell(f"{self.contact} waits a minute and writes it again")
                await asyncio.sleep(60)
            elif is_thanks(words):
                return
            else:
                text = self._answer_to(words, text)
            if trouble == 4:
                await asyncio.sleep(choices.one_of(0.5, 3.0, 60.0))

    def _answer_to(self, words: str, text: str) -> str:
        for state, part in ASKED.items():
            if QUESTIONS[state].partition("{")[0] in words:
                return self.review[part]
        self._line.story.problem(f"{self.contact} wrote {text!r} and was told {words!r}")
        return text

    async def _say(self, text: str) -> str | None:
        message = Message(next(self._line.sids), self.contact, text)
        self._line.story.tell(f"{self.contact} writes {text[:30]!r}, {message.sid}")
        self._messages.append(message.sid)
        words = await self._line.deliver(message)
        self._may_repeat_themselves |= words is None
        return words

    async def _be_forgotten(self) -> None:
        """Have the owner forget us, until that has worked."""
        self._line.story.tell(f"the owner forgets {self.contact}")
        answers = self._line.client_history.answers
        known = {sid for sid in self._messages if {*answers.get(sid, ())} - {None, APOLOGY}}
        while True:
            try:
                await self._line.pick_worker().forget(self.contact)
            except NoAnswer:
                await asyncio.sleep(1.0)
            else:
                self.forgotten |= known
                return

    async def _insist(self, text: str) -> str | None:
        """Write the same once more before there is an answer."""
        self._may_repeat_themselves = True
        loop = asyncio.get_running_loop()
        first = loop.create_task(self._say(text))
        await asyncio.sleep(self._line.choices.one_of(0.0, 0.002, 2.0, 7.0))
        second = await self._say(text)
        await first
        return second
