"""The mutants: which function is changed, how, and what must notice it."""

from tests.campaigns.mutants.changes import Change, mutant
from tests.campaigns.mutants.web_mutants import WEB_MUTANTS

RECORD = "ingest.group_commit:GroupCommit._record"
READ_END = "storage.batch:_read_end"

FINISHES_TWICE = Change(
    "ingest.message_queue:MessageQueue._finish",
    "            del self._by_sid[pending.message.sid]\n",
    "            if self._by_sid.pop(pending.message.sid, None) is None:\n"
    "                continue\n",
)
"""Without it the queue itself would complain."""

MUTANTS = [
    mutant(
        "no message is looked up in the log",
        Change(
            "ingest.group_commit:GroupCommit._answer_duplicates",
            "logged = facts.replies.get(pending.message.sid)",
            "logged = None",
        ),
        sign="UNIQUE constraint failed: messages.message_sid",
    ),
    mutant(
        "reviews are written after COMMIT, in a transaction of their own",
        Change(
            RECORD,
            "batch.write(connection, _rows_of(taken))\n",
            'batch.write(connection, {"messages": _rows_of(taken)["messages"]})\n',
        ),
        Change(
            RECORD,
            "        self._queue.answer(replies)\n",
            "        with self._database.write() as connection:\n"
            '            batch.write(connection, {"reviews": _rows_of(taken)["reviews"]})\n'
            "        self._queue.answer(replies)\n",
        ),
        sign="its review is missing",
    ),
    mutant(
        "contacts that are held elsewhere stay at the head of the queue",
        Change(RECORD, "        self._queue.let_others_pass(others)\n", ""),
        noticed_by="tests/ingest",
        sign="test_stuck_contacts_stall_nobody_else",
    ),
    mutant(
        "a repeat's reply is made again",
        Change(
            "ingest.group_commit:GroupCommit._answer_duplicates",
            "repeat_reply(pending.message, logged, self._pseudonym_keys)",
            "Reply(take_turn("
            "Situation(self._clock(), self._idle_after, None), pending.message).reply)",
        ),
        sign="other words than the log has",
    ),
    mutant(
        "replies leave before COMMIT",
        Change(
            RECORD,
            "                self._queue.claim(replies)\n",
            "                self._queue.claim(replies)\n"
            "                self._queue.answer(replies)\n"
            "                replies = {}\n",
        ),
        Change(
            RECORD,
            "            if self._queue.unclaim(replies, PendingStatus.IN_DOUBT):\n",
            "            if not replies:\n"
            "                return set()\n"
            "            if self._queue.unclaim(replies, PendingStatus.IN_DOUBT):\n",
        ),
        sign="was answered and is not in the log",
    ),
    mutant(
        "one message that can't be saved fails its whole batch",
        Change(
            "ingest.group_commit:GroupCommit.take",
            "            locked_elsewhere: set[str] = set()\n",
            "            self._queue.reject(messages, Reply(APOLOGY))\n"
            "            locked_elsewhere: set[str] = set()\n",
        ),
        noticed_by="tests/ingest/test_trouble.py",
        sign="test_what_cannot_be_recorded_is_apologised_for",
    ),
    mutant(
        "a message is taken although its customer was told to send it again",
        Change("ingest.message_queue:MessageQueue.claim", "raise WithdrawnMeanwhile\n", "pass\n"),
        FINISHES_TWICE,
        sign="was answered with the apology and is in the log",
    ),
    mutant(
        "the deadline apologises for what is being committed",
        Change(
            "ingest.message_queue:MessageQueue.withdraw",
            "if pending.status is not PendingStatus.WAITING:",
            "if pending.status is PendingStatus.IN_DOUBT:",
        ),
        FINISHES_TWICE,
        sign="was answered with the apology and is in the log",
    ),
    mutant(
        "a COMMIT of unknown outcome is taken for one that failed",
        Change(
            RECORD,
            "if self._queue.unclaim(replies, PendingStatus.IN_DOUBT):",
            "if self._queue.unclaim(replies, PendingStatus.WAITING):",
        ),
        sign="was answered with the apology and is in the log",
    ),
    mutant(
        "SQLite's input/output errors are taken for a rollback",
        Change(
            "db.engine:SURELY_ROLLED_BACK",
            "{sqlite3.SQLITE_FULL,",
            "{sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,",
        ),
        sign="was answered with the apology and is in the log",
    ),
    mutant(
        "where contacts stand is read before they are locked",
        Change(
            RECORD,
            "        replies: Replies = {}\n",
            "        replies: Replies = {}\n"
            "        with self._database.read() as early:\n"
            "            stood = batch.read(early, contacts=contacts).ends\n",
        ),
        Change(
            RECORD,
            "facts = batch.read(connection, sids, locked, cached)",
            "facts = BatchFacts(batch.read(connection, sids).replies, stood)",
        ),
        noticed_by="tests/ingest/test_erasure.py",
        sign="tests/ingest/test_erasure.py::",  # two tests do, the other one by chance first
    ),
    mutant(
        "the last message is the one with the latest time",
        Change(
            "storage.batch:_READ",
            "SELECT max(turn) FROM messages AS any_turn WHERE contact_number = contact.value",
            "SELECT turn FROM messages AS any_turn WHERE contact_number = contact.value"
            " ORDER BY received_at DESC LIMIT 1",
        ),
        noticed_by="tests/ingest/test_clocks.py",
        sign="tests/ingest/test_clocks.py::",
    ),
    mutant(
        "idle conversations go on",
        Change("conversation.state_machine:is_under_way", " and not is_idle", ""),
        sign="went on after it was over",
    ),
    mutant(
        "a message dated ahead by a wrong clock is never idle",
        Change("conversation.state_machine:is_under_way", " <= now + MAX_AHEAD", ""),
        noticed_by="tests/ingest/test_clocks.py",
        sign="tests/ingest/test_clocks.py::",
    ),
    mutant(
        "what was erased is gone on with",
        Change("conversation.state_machine:is_under_way", " and not end.is_erased", ""),
        noticed_by="tests/conversation/test_state_machine.py",
        sign="test_what_is_over_is_followed_by_a_new_conversation",
    ),
    mutant(
        "contacts are locked by another name each time",
        Change(
            "storage.contact_state:_TRY_LOCK",
            "hashtextextended(contact, :seed)",
            "hashtextextended(contact || random()::text, :seed)",
        ),
        noticed_by="tests/storage/test_contact_state.py",
        sign="test_a_contact_that_another_worker_has_locked_is_left_out",
    ),
    mutant(
        "a new contact is not locked",
        Change(
            "storage.contact_state:_TRY_LOCK",
            "WHERE pg_try_advisory_xact_lock(",
            "WHERE NOT EXISTS (SELECT FROM messages WHERE contact_number = contact)"
            " OR pg_try_advisory_xact_lock(",
        ),
        noticed_by="tests/storage/test_contact_state.py",
        sign="test_a_contact_that_another_worker_has_locked_is_left_out",
    ),
    mutant(
        "a review is erased without its contact's lock",
        Change(
            "privacy.erasure:erase_review",
            "        contact_state.lock(connection, review.contact_number)\n",
            "",
        ),
        noticed_by="tests/storage/test_contact_state.py",
        sign="test_an_erasure_waits_for_whoever_writes_to_the_contact",
    ),
    mutant(
        "a contact is erased without the lock",
        Change(
            "privacy.erasure:erase_contact",
            "        contact_state.lock(connection, contact)\n",
            "",
        ),
        noticed_by="tests/storage/test_contact_state.py",
        sign="test_an_erasure_waits_for_whoever_writes_to_the_contact",
    ),
    mutant(
        "retention takes the words of a contact who is being answered",
        Change(
            "privacy.retention:Retention.erase_some",
            "locked = contact_state.try_lock(connection, {*old.values()})",
            "locked = {*old.values()}",
        ),
        noticed_by="tests/privacy/test_retention.py",
        sign="test_a_contact_who_is_being_answered_keeps_the_conversation_until_then",
    ),
    mutant(
        "a cached end of another message counts",
        Change(
            READ_END,
            ".answers if row.answers is None else",
            ".answers if row.contact_number in cached else",
        ),
        noticed_by="tests/ingest/test_trouble.py",
        sign="test_an_end_of_another_log_does_not_count",
    ),
    mutant(
        "a cached end of another turn counts",
        Change(
            "storage.batch:read",
            'f"{contact} {end.turn} {end.message_sid} ',
            'f"{contact} {end.message_sid} ',
        ),
        Change(
            "storage.batch:_READ",
            "contact_number || ' ' || turn || ' ' || message_sid",
            "contact_number || ' ' || message_sid",
        ),
        noticed_by="tests/ingest/test_trouble.py",
        sign="test_an_end_of_another_log_does_not_count",
    ),
    mutant(
        "a cached end of another time counts",
        Change("storage.batch:read", " {_as_key(end.received_at, is_sqlite)}", ""),
        Change("storage.batch:_READ", " || ' ' || {time} {is_among}", " {is_among}"),
        noticed_by="tests/ingest/test_trouble.py",
        sign="test_an_end_of_another_log_does_not_count",
    ),
    mutant(
        "a cached end that was erased counts",
        Change(
            READ_END,
            "is_erased = row.erased_at is not None\n",
            "is_erased = row.erased_at is not None and row.contact_number not in cached\n",
        ),
        noticed_by="tests/ingest/test_trouble.py",
        sign="test_an_end_that_was_erased_does_not_count",
    ),
    mutant(
        "memory keeps words for ever",
        Change(
            "storage.end_cache:MemoryCache.drop_expired", "if put_at >= kept_since:", "if True:"
        ),
        noticed_by="tests/storage/test_end_cache.py",
        sign="test_words_are_gone_within_a_minute",
    ),
    mutant(
        "the turns of a pseudonym begin anew with each erasure",
        Change(
            "privacy.message_erasure:erase_all_of",
            "turn=LoggedMessage.turn + turns,",
            "turn=LoggedMessage.turn,",
        ),
        noticed_by="tests/ingest/test_erasure.py",
        sign="tests/ingest/test_erasure.py::",
    ),
    mutant(
        "a review is not the only one of its conversation",
        Change(
            "db.migrations.versions.0001_first_tables:create_tables",
            'sa.UniqueConstraint("conversation_id", name=op.f("uq_reviews_conversation_id")),',
            "",
        ),
        noticed_by="tests/db/test_schema.py",
        sign="test_the_tables_are_what_the_migrations_make",
    ),
    *WEB_MUTANTS,
]
