"""Messages in, replies out: one writer thread per process commits what waits as a group.

The only place where the pure conversation meets the database. A reply leaves after COMMIT.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import message_log
import reviews
from conversation import APOLOGY, Message, Turn, take_turn
from database import OUTAGES, Away, CannotStart, utc_now
from logs import describe, logger, masked
from message_log import LoggedReply
from stores import Held, Store
from waiting_room import (
    Entry,
    Fate,
    MessageSidTaken,
    OutcomeUnknown,
    Reply,
    WaitingRoom,
    WithdrawnMeanwhile,
    insist_on_same,
)

Answers = dict[Entry, Reply | MessageSidTaken]
Taken = list[tuple[Message, Turn, datetime]]


class Collector:
    """The writer and its waiting room. It starts with `start`, or with the first message."""

    DEADLINE_SECONDS = 6.0
    """After arrival. Twilio waits 15 s, or 7 with the webhook address that the README gives."""
    LONGEST_PAUSE_SECONDS = 1.0
    """Between two tries while the database is away."""
    SAID_AGAIN_SECONDS = 60.0
    """Between two lines of the log that tell of one outage."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store, self._clock = store, clock
        self._last_time = clock()
        self._starting = threading.Lock()
        self._on_death: Callable[[], None] = lambda: None
        self._be_new()

    def _be_new(self) -> None:
        self._room = WaitingRoom()
        self._thread: threading.Thread | None = None
        self._tried = threading.Event()
        self._open = False
        self._away_since: float | None = None
        self._said_at, self._said_away = -self.SAID_AGAIN_SECONDS, False
        self._failure: Exception | None = None

    async def reply_to(self, message: Message) -> Reply:
        """Wait until the message's turn is on disk; return what was answered to it, now or before.

        At the deadline the message is withdrawn, and the reply is the apology. Raises
        MessageSidTaken, OutcomeUnknown, or CannotStart where the process never could.
        """
        self._ensure_writer()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        room = self._room
        entry = room.enter(message)
        answer = asyncio.wrap_future(entry.answer)
        try:
            # Unlike wait_for, wait cancels nothing: another delivery may share this answer.
            await asyncio.wait([answer], timeout=self.DEADLINE_SECONDS)
        finally:
            room.leave(entry)
        if answer.done():
            return answer.result()
        room.withdraw(entry)
        return entry.answer.result()

    def start(self, on_death: Callable[[], None] = lambda: None) -> None:
        """Start the writer and wait for its first try to open the store, whatever comes of it.

        `on_death` is called, in the writer's thread, should that die later. Raises CannotStart.
        """
        self._on_death = on_death
        self._ensure_writer()
        self._tried.wait()
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def is_able(self) -> bool:
        """Say whether messages can be recorded, as far as the last try knows."""
        self._ensure_writer()
        self._tried.wait(self.DEADLINE_SECONDS)
        return self._open and self._failure is None and self._away_since is None

    def close(self) -> None:
        """Answer who waits, as far as the database lets us, and end the writer."""
        self._room.close()
        if self._thread is not None:
            self._thread.join(timeout=2 * self.DEADLINE_SECONDS)
            if not self._thread.is_alive():
                self._be_new()

    def _ensure_writer(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        try:
            self._open = self._until_done(self._store.open)
            self._tried.set()
            while (batch := self._room.next_batch()) and self._until_done(lambda: self.take(batch)):
                pass
        except Exception as error:
            self._die(error)
        finally:
            self._store.close()

    def _until_done(self, action: Callable[[], object]) -> bool:
        """Do it, again and again while the database is away; False where we close before that."""
        pause = 0.05
        while True:
            try:
                action()
            except (*OUTAGES, OutcomeUnknown) as error:
                self._note_away(error)
                self._tried.set()
            else:
                if self._away_since is not None:
                    self._note_back(time.monotonic() - self._away_since)
                return True
            if self._room.wait_closed(pause):
                return False
            pause = min(2 * pause, self.LONGEST_PAUSE_SECONDS)

    def _note_away(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._said_at > self.SAID_AGAIN_SECONDS:
            self._said_at, self._said_away = now, True
            logger.error("database away, trying again: %s", describe(error))

    def _note_back(self, seconds: float) -> None:
        self._away_since = None
        if self._said_away:
            self._said_away = False
            logger.info("database back after %.1f s", seconds)

    def _die(self, error: Exception) -> None:
        started = self._tried.is_set()
        if not isinstance(error, CannotStart):
            logger.critical("the writer ends: %s", describe(error), exc_info=error)
        elif started:  # else start() raises it, and whoever called that says it
            logger.critical("the writer ends: %s", error)
        self._failure = error
        self._room.close()
        self._room.refuse(self._room.everyone(), error)
        self._tried.set()
        if started:
            self._on_death()

    def take(self, batch: list[Entry]) -> None:
        """Record a batch in one transaction or, where one message spoils that, one by one.

        Who is not answered by it stays in the waiting room. Raises OUTAGES or OutcomeUnknown; the
        same batch may be taken again, whoever was answered or withdrawn since.
        """
        batch = [entry for entry in batch if not entry.is_over]
        if not batch:
            self._prove_able()
            return
        try:
            self._record(batch)
        except (*OUTAGES, OutcomeUnknown):
            raise
        except Exception as error:
            logger.warning("a batch is taken again one by one: %s", describe(error))
            held_elsewhere: set[str] = set()
            for entry in batch:
                if entry.message.contact not in held_elsewhere:
                    held_elsewhere |= self._take_alone(entry)

    def _prove_able(self) -> None:
        """Commit something: after an outage, whose messages have been withdrawn, it may be over."""
        with self._store.hold((), claim=lambda: None) as held:
            message_log.prove_writable(held.connection)

    def _take_alone(self, entry: Entry) -> set[str]:
        try:
            return self._record([entry], rebuild=True)
        except (*OUTAGES, OutcomeUnknown):
            raise
        except Exception as error:
            sid = entry.message.sid
            logger.error("not recorded sid=%s: %s", sid, describe(error), exc_info=error)
            if entry.fate is Fate.UNKNOWN:
                raise OutcomeUnknown from error
            self._room.refuse([entry], Reply(APOLOGY))
            return set()

    def _record(self, batch: list[Entry], *, rebuild: bool = False) -> set[str]:
        """Take the batch's turns in one transaction; return the contacts that others hold.

        With `rebuild` the log is asked where the contacts stand: the store may be behind it.
        """
        contacts = {entry.message.contact for entry in batch}
        answers: Answers = {}
        taken: Taken = []
        try:
            with self._store.hold(contacts, claim=lambda: self._room.claim(answers)) as held:
                if rebuild:
                    for contact in held.conversations:
                        _rebuild(held, contact)
                ours = [entry for entry in batch if entry.message.contact in held.conversations]
                self._answer_known(held, ours, answers)
                fresh = self._room.settle(entry for entry in ours if entry not in answers)
                self._take_turns(held, fresh, answers, taken)
        except WithdrawnMeanwhile:
            return set()
        except Away:
            self._room.unclaim(answers, Fate.WAITING)
            raise
        except Exception as error:
            if self._room.unclaim(answers, Fate.UNKNOWN):
                raise OutcomeUnknown(describe(error)) from error
            raise
        self._room.answer(answers)
        _log_taken(taken)
        others = contacts - held.conversations.keys()
        self._room.let_others_pass(others)
        if others == contacts:
            time.sleep(0.005)  # as long as another worker's commit takes
        return others

    def _answer_known(self, held: Held, entries: list[Entry], answers: Answers) -> None:
        """Answer what is in the log already, with the words it was answered with then."""
        known = message_log.find_replies(held.connection, [e.message.sid for e in entries])
        for entry in entries:
            if entry.message.sid in known:
                answers[entry] = _repeat(entry.message, known[entry.message.sid])
                if entry.fate is Fate.UNKNOWN:
                    # That COMMIT did happen; the store may not know of it.
                    _rebuild(held, entry.message.contact)

    def _take_turns(self, held: Held, entries: list[Entry], answers: Answers, taken: Taken) -> None:
        for entry in entries:
            contact = entry.message.contact
            turn = take_turn(held.conversations[contact], entry.message)
            held.conversations[contact] = turn.conversation
            taken.append((entry.message, turn, self._next_time()))
            answers[entry] = Reply(turn.reply, turn.conversation.id if turn.review else None)
        message_log.append(held.connection, taken)
        reviews.save(
            held.connection,
            [
                (turn.conversation.id, message.contact, turn.review, time_taken)
                for message, turn, time_taken in taken
                if turn.review is not None
            ],
        )

    def _next_time(self) -> datetime:
        """Read the clock, never the same time twice: the log can be read in order of it."""
        self._last_time = max(self._clock(), self._last_time + timedelta(microseconds=1))
        return self._last_time


def _rebuild(held: Held, contact: str) -> None:
    held.conversations[contact] = message_log.rebuild_conversation(
        held.connection, contact, held.idle_since
    )


def _repeat(message: Message, logged: LoggedReply) -> Reply | MessageSidTaken:
    try:
        insist_on_same(message, logged.contact, message.text if logged.erased else logged.text)
    except MessageSidTaken as error:
        return error
    if logged.erased:
        return Reply("")
    return Reply(logged.reply, logged.conversation_id if logged.finished else None)


def _log_taken(taken: Taken) -> None:
    for message, turn, _ in taken:
        logger.info(
            "%s sid=%s contact=%s conversation=%s position=%d next=%s",
            "review recorded" if turn.review else "message taken",
            message.sid,
            masked(message.contact),
            turn.conversation.id,
            turn.conversation.position,
            turn.conversation.state,
        )
