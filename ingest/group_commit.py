"""Group commit: run the state machine for a batch; write log and reviews in one transaction."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from conversation.model import LogEnd, Message, Situation, State, Turn
from conversation.state_machine import take_turn
from conversation.wording import APOLOGY
from core.logs import describe, logger
from core.text import mask
from db.engine import Database
from db.errors import TRANSIENT_ERRORS, DatabaseUnavailable
from ingest.idempotency import MessageSidTaken, repeat_reply
from ingest.message_queue import MessageQueue
from ingest.pending import InDoubt, PendingMessage, PendingStatus, Reply, WithdrawnMeanwhile
from reviews import repository
from storage import batch, contact_state, message_log
from storage.batch import BatchFacts, Value
from storage.end_cache import EndCache

Replies = dict[PendingMessage, Reply | MessageSidTaken]

Taken = tuple[Message, Turn, datetime]
"""A message, the turn that it led to, and the clock as it was read for it."""


class GroupCommit:
    """Takes batches out of the queue and into the database; of one thread's use."""

    def __init__(
        self,
        database: Database,
        cache: EndCache,
        queue: MessageQueue,
        clock: Callable[[], datetime],
        idle_after: timedelta,
        pseudonym_keys: Sequence[str],
    ) -> None:
        self._database, self._cache, self._queue, self._clock = database, cache, queue, clock
        self._idle_after, self._pseudonym_keys = idle_after, pseudonym_keys

    def take(self, entries: list[PendingMessage]) -> None:
        """Record a batch in one transaction or, where one message spoils that, one by one.

        Whatever is not answered stays in the queue. The same batch may be taken again. Raises one
        of TRANSIENT_ERRORS, or InDoubt.
        """
        entries = [entry for entry in entries if not entry.is_over]
        if not entries:
            self._prove_able()
            return
        try:
            self._record(entries)
        except (*TRANSIENT_ERRORS, InDoubt):
            raise
        except Exception as error:
            logger.warning("a batch is taken again one by one: %s", describe(error))
            locked_elsewhere: set[str] = set()
            for entry in entries:
                if entry.message.contact not in locked_elsewhere:
                    locked_elsewhere |= self._take_alone(entry)

    def _prove_able(self) -> None:
        """Commit something: after an outage, whose messages have been withdrawn, it may be over."""
        try:
            with self._database.write() as connection:
                message_log.prove_writable(connection)
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:  # no message is at stake: trying again is right
            raise DatabaseUnavailable(describe(error)) from error

    def _take_alone(self, entry: PendingMessage) -> set[str]:
        try:
            return self._record([entry], use_cache=False)
        except (*TRANSIENT_ERRORS, InDoubt):
            raise
        except Exception as error:
            sid = entry.message.sid
            logger.error("not recorded sid=%s: %s", sid, describe(error), exc_info=error)
            self._queue.refuse([entry], Reply(APOLOGY))
            if entry.is_over:
                return set()
            # Of unknown status, and the log can't be asked about it: others go first.
            self._queue.let_others_pass([entry.message.contact])
            time.sleep(0.1)
            return {entry.message.contact}

    def _record(self, entries: list[PendingMessage], *, use_cache: bool = True) -> set[str]:
        """Take a batch's turns in one transaction; return the contacts that others have locked.

        The first read comes after the locks, and the claim is the last step before COMMIT.
        """
        contacts = [*dict.fromkeys(entry.message.contact for entry in entries)]
        cached = self._cache.get(contacts) if use_cache else {}
        replies: Replies = {}
        try:
            with self._database.write() as connection:
                locked = contact_state.try_lock(connection, contacts)
                ours = [entry for entry in entries if entry.message.contact in locked]
                sids = [entry.message.sid for entry in ours]
                facts = batch.read(connection, sids, locked, cached)
                self._answer_known(ours, facts, replies)
                fresh = self._queue.settle(entry for entry in ours if entry not in replies)
                taken, ends = self._take_turns(fresh, facts, replies)
                batch.write(connection, _rows_of(taken))
                self._queue.claim(replies)
        except WithdrawnMeanwhile:
            return set()
        except DatabaseUnavailable:
            self._queue.unclaim(replies, PendingStatus.WAITING)
            raise
        except Exception as error:
            if self._queue.unclaim(replies, PendingStatus.IN_DOUBT):
                raise InDoubt(describe(error)) from error
            raise
        self._queue.answer(replies)
        _log_taken(taken)
        # At START nothing of what was said matters to the next turn.
        self._cache.put({c: end for c, end in ends.items() if end.state != State.START})
        others = [contact for contact in contacts if contact not in locked]
        self._queue.let_others_pass(others)
        if others == contacts:
            time.sleep(0.005)  # as long as another worker's commit takes
        return set(others)

    def _answer_known(
        self, entries: list[PendingMessage], facts: BatchFacts, replies: Replies
    ) -> None:
        """Answer what is in the log already, with the words it was answered with then."""
        for entry in entries:
            logged = facts.replies.get(entry.message.sid)
            if logged is not None:
                replies[entry] = repeat_reply(entry.message, logged, self._pseudonym_keys)

    def _take_turns(
        self, entries: list[PendingMessage], facts: BatchFacts, replies: Replies
    ) -> tuple[list[Taken], dict[str, LogEnd]]:
        """Take the entries' turns in order; return them, and where their contacts stand then."""
        taken: list[Taken] = []
        ends: dict[str, LogEnd] = {}
        for entry in entries:
            message, now = entry.message, self._clock()
            end = ends.get(message.contact) or facts.ends.get(message.contact)
            turn = take_turn(Situation(now, self._idle_after, end), message)
            ends[message.contact] = turn.log_end(message, now)
            taken.append((message, turn, now))
            replies[entry] = Reply(turn.reply, turn.conversation_id if turn.is_finished else None)
        return taken, ends


def _rows_of(taken: list[Taken]) -> dict[str, list[dict[str, Value]]]:
    """Make the rows of turns, by table."""
    finished = (each for each in taken if each[1].is_finished)
    return {
        "messages": [message_log.row_of(*each) for each in taken],
        "reviews": [repository.row_of(*each) for each in finished],
    }


def _log_taken(taken: list[Taken]) -> None:
    for message, turn, _ in taken:
        logger.info(
            "%s sid=%s contact=%s conversation=%s position=%d outcome=%s next=%s",
            "review recorded" if turn.is_finished else "message taken",
            message.sid,
            mask(message.contact),
            turn.conversation_id,
            turn.position,
            turn.outcome,
            turn.state,
        )
