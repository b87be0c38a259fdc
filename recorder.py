"""A batch's turns, taken and committed as one transaction: where pure meets impure."""

import time
from collections.abc import Callable, Collection
from datetime import datetime

import message_log
import reviews
from conversation import APOLOGY, Message, Turn, take_turn
from database import OUTAGES, Away
from entry import (
    Entry,
    Fate,
    MessageSidTaken,
    OutcomeUnknown,
    Reply,
    WithdrawnMeanwhile,
    insist_on_same,
)
from logs import describe, logger, masked
from message_log import A_MOMENT, LoggedReply
from reconciling import reconcile
from stores import Held, Store
from waiting_room import WaitingRoom

Answers = dict[Entry, Reply | MessageSidTaken]
Taken = list[tuple[Message, Turn, datetime]]


class Recorder:
    """Takes batches out of the waiting room and into the database; of one thread's use."""

    def __init__(
        self, store: Store, room: WaitingRoom, clock: Callable[[], datetime], forgetting_key: str
    ) -> None:
        self._store, self._room, self._clock = store, room, clock
        self._forgetting_key = forgetting_key

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
        try:
            with self._store.hold((), claim=lambda: None) as held:
                message_log.prove_writable(held.connection)
        except OUTAGES:
            raise
        except Exception as error:  # no message is at stake: trying again is right
            raise Away(describe(error)) from error

    def _take_alone(self, entry: Entry) -> set[str]:
        try:
            return self._record([entry], in_doubt=True)
        except (*OUTAGES, OutcomeUnknown):
            raise
        except Exception as error:
            sid = entry.message.sid
            logger.error("not recorded sid=%s: %s", sid, describe(error), exc_info=error)
            self._room.refuse([entry], Reply(APOLOGY))
            if entry.is_over:
                return set()
            # Of unknown fate, and the log can't be asked about it: others go first.
            self._room.let_others_pass([entry.message.contact])
            time.sleep(0.1)
            return {entry.message.contact}

    def _record(self, batch: list[Entry], *, in_doubt: bool = False) -> set[str]:
        """Take the batch's turns in one transaction; return the contacts that others hold.

        With `in_doubt` the log is asked where the contacts stand: the store may be behind it.
        """
        contacts = [*dict.fromkeys(entry.message.contact for entry in batch)]
        answers: Answers = {}
        taken: Taken = []
        try:
            with self._store.hold(contacts, claim=lambda: self._room.claim(answers)) as held:
                if in_doubt:
                    _reconcile(held, held.conversations)
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
        others = [contact for contact in contacts if contact not in held.conversations]
        self._room.let_others_pass(others)
        if others == contacts:
            time.sleep(0.005)  # as long as another worker's commit takes
        return set(others)

    def _answer_known(self, held: Held, entries: list[Entry], answers: Answers) -> None:
        """Answer what is in the log already, with the words it was answered with then."""
        known = message_log.find_replies(held.connection, [e.message.sid for e in entries])
        repeats = [entry for entry in entries if entry.message.sid in known]
        for entry in repeats:
            answers[entry] = self._repeat(entry.message, known[entry.message.sid])
        # The store may be behind the log: a COMMIT of unknown fate, or a restart.
        _reconcile(held, {entry.message.contact for entry in repeats})

    def _take_turns(self, held: Held, entries: list[Entry], answers: Answers, taken: Taken) -> None:
        contacts = {entry.message.contact for entry in entries}
        held.touched.update(message_log.find_last_times(held.connection, contacts))
        for entry in entries:
            contact = entry.message.contact
            turn = take_turn(held.conversations[contact], entry.message)
            held.conversations[contact] = turn.conversation
            held.touched[contact] = self._next_time(held.touched.get(contact))
            taken.append((entry.message, turn, held.touched[contact]))
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

    def _repeat(self, message: Message, logged: LoggedReply) -> Reply | MessageSidTaken:
        """Say again what was answered, or nothing where those words have been erased."""
        if logged.erased:
            names = {message.contact, message_log.pseudonym(message.contact, self._forgetting_key)}
            return Reply("") if logged.contact in names else MessageSidTaken(message.sid)
        try:
            insist_on_same(message, logged.contact, logged.text)
        except MessageSidTaken as error:
            return error
        return Reply(logged.reply, logged.conversation_id if logged.finished else None)

    def _next_time(self, last_of_contact: datetime | None) -> datetime:
        """Read the clock: a contact's log can be read in order of its times.

        They rise also where another worker's clock is ahead, or ours was set back or stands still.
        """
        now = self._clock()
        return now if last_of_contact is None else max(now, last_of_contact + A_MOMENT)


def _reconcile(held: Held, contacts: Collection[str]) -> None:
    remembered = {contact: held.conversations[contact] for contact in contacts}
    held.conversations.update(reconcile(held.connection, remembered, held.idle_since))


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
