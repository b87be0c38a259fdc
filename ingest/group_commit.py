"""Group commit: run the state machine for a batch; write log and reviews in one transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from conversation.model import LogEnd, Message, Situation, State, Turn
from conversation.state_machine import take_turn
from conversation.wording import APOLOGY
from core.clock import sleep
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
"""A message, its turn, and the time at which it was taken."""


class GroupCommit:
    """Moves batches from the queue to the database. Used by one thread."""

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

    def take(self, messages: list[PendingMessage]) -> bool:
        """Record a batch in one transaction; if one message makes that fail, one by one.

        Say whether something was written, which proves that we can; an empty batch is a probe.
        What is not answered stays in the queue. The same batch may be taken again. Raises
        one of TRANSIENT_ERRORS, or InDoubt.
        """
        messages = [pending for pending in messages if not pending.is_over]
        if not messages:
            self._prove_able()
            return True
        try:
            _, has_written = self._record(messages)
        except (*TRANSIENT_ERRORS, InDoubt):
            raise
        except Exception as error:
            logger.warning("a batch is taken again one by one: %s", describe(error))
            locked_elsewhere: set[str] = set()
            for pending in messages:
                if pending.message.contact not in locked_elsewhere:
                    locked_elsewhere |= self._take_alone(pending)
            return False
        return has_written

    def _prove_able(self) -> None:
        """Commit something while no message waits: the database may have gone, or be back."""
        try:
            with self._database.write() as connection:
                message_log.prove_writable(connection)
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:  # no message can be lost: try again
            raise DatabaseUnavailable(describe(error)) from error

    def _take_alone(self, pending: PendingMessage) -> set[str]:
        try:
            locked_elsewhere, _ = self._record([pending], use_cache=False)
            return locked_elsewhere
        except (*TRANSIENT_ERRORS, InDoubt):
            raise
        except Exception as error:
            sid = pending.message.sid
            logger.error("not recorded sid=%s: %s", sid, describe(error), exc_info=error)
            self._queue.reject([pending], Reply(APOLOGY))
            if pending.is_over:
                return set()
            # In doubt, and the log can't be read for it: others go first.
            self._queue.let_others_pass([pending.message.contact])
            sleep(0.1)
            return {pending.message.contact}

    def _record(
        self, messages: list[PendingMessage], *, use_cache: bool = True
    ) -> tuple[set[str], bool]:
        """Take a batch's turns in one transaction.

        Returns the contacts that are locked elsewhere, and whether anything was written. The first
        read comes after the locks. The claim is the last step before COMMIT.
        """
        contacts = [*dict.fromkeys(pending.message.contact for pending in messages)]
        cached = self._cache.get(contacts) if use_cache else {}
        replies: Replies = {}
        try:
            with self._database.write() as connection:
                locked = contact_state.try_lock(connection, contacts)
                ours = [pending for pending in messages if pending.message.contact in locked]
                sids = [pending.message.sid for pending in ours]
                facts = batch.read(connection, sids, locked, cached)
                self._answer_duplicates(ours, facts, replies)
                fresh = self._queue.settle(pending for pending in ours if pending not in replies)
                taken, ends = self._take_turns(fresh, facts, replies)
                batch.write(connection, _rows_of(taken))
                self._queue.claim(replies)
        except WithdrawnMeanwhile:
            return set(), False
        except DatabaseUnavailable:
            self._queue.unclaim(replies, PendingStatus.WAITING)
            raise
        except Exception as error:
            if self._queue.unclaim(replies, PendingStatus.IN_DOUBT):
                raise InDoubt(describe(error)) from error
            raise
        self._queue.answer(replies)
        _log_taken(taken)
        # At START the next turn needs nothing of the conversation.
        self._cache.put({c: end for c, end in ends.items() if end.state != State.START})
        others = [contact for contact in contacts if contact not in locked]
        self._queue.let_others_pass(others)
        if others == contacts:
            sleep(0.005)  # as long as another worker's commit takes
        return set(others), bool(taken)

    def _answer_duplicates(
        self, messages: list[PendingMessage], facts: BatchFacts, replies: Replies
    ) -> None:
        """Answer the messages that are in the log already, with their stored replies."""
        for pending in messages:
            logged = facts.replies.get(pending.message.sid)
            if logged is not None:
                replies[pending] = repeat_reply(pending.message, logged, self._pseudonym_keys)

    def _take_turns(
        self, messages: list[PendingMessage], facts: BatchFacts, replies: Replies
    ) -> tuple[list[Taken], dict[str, LogEnd]]:
        """Take the messages' turns in order; return them and their contacts' new log ends."""
        taken: list[Taken] = []
        ends: dict[str, LogEnd] = {}
        for pending in messages:
            message, now = pending.message, self._clock()
            end = ends.get(message.contact) or facts.ends.get(message.contact)
            turn = take_turn(Situation(now, self._idle_after, end), message)
            ends[message.contact] = turn.log_end(message, now)
            taken.append((message, turn, now))
            replies[pending] = Reply(turn.reply, turn.conversation_id if turn.is_finished else None)
        return taken, ends


def _rows_of(taken: list[Taken]) -> dict[str, list[dict[str, Value]]]:
    """Return the turns' rows, by table."""
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
