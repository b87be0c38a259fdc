"""The mutants: where the code is changed, from what to what, and who is to notice."""

from dataclasses import dataclass, field

SIMULATION = "tests.campaigns.simulation"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`noticed_by` is the simulation, or the words of a pytest command; it says `sign` then.

    `also` are further changes of the file.
    """

    name: str
    file: str
    code: str
    instead: str
    noticed_by: str = SIMULATION
    sign: str = field(kw_only=True)
    also: tuple[tuple[str, str], ...] = ()


MUTANTS = [
    Mutant(
        "no message is looked up in the log",
        "recorder.py",
        "logged = facts.replies.get(entry.message.sid)",
        "logged = None",
        sign="UNIQUE constraint failed: messages.message_sid",
    ),
    Mutant(
        "messages are logged after COMMIT, in a transaction of their own",
        "recorder.py",
        "                batch.write(connection, _rows_of(taken))\n",
        "",
        also=(
            (
                "        self._queue.answer(replies)\n",
                "        with self._database.write() as connection:\n"
                "            batch.write(connection, _rows_of(taken))\n"
                "        self._queue.answer(replies)\n",
            ),
        ),
        sign="conversation SM",
    ),
    Mutant(
        "contacts that are held elsewhere stay at the head of the queue",
        "recorder.py",
        "        self._queue.let_others_pass(others)\n",
        "",
        "tests/ingest",
        sign="test_stuck_contacts_stall_nobody_else",
    ),
    Mutant(
        "a repeat's reply is made again",
        "recorder.py",
        "return Reply(logged.reply, logged.conversation_id if logged.is_finished else None)",
        "return Reply(take_turn(Situation(self._clock(), self._idle_after), message).reply)",
        sign="other words than the log has",
    ),
    Mutant(
        "replies leave before COMMIT",
        "recorder.py",
        "                self._queue.claim(replies)\n",
        "                self._queue.claim(replies)\n"
        "                self._queue.answer(replies)\n"
        "                replies = {}\n",
        also=(
            (
                "            if self._queue.unclaim(replies, PendingStatus.UNKNOWN):\n",
                "            if not replies:\n"
                "                return set()\n"
                "            if self._queue.unclaim(replies, PendingStatus.UNKNOWN):\n",
            ),
        ),
        sign="was answered and is not in the log",
    ),
    Mutant(
        "one message that can't be saved fails its whole batch",
        "recorder.py",
        "            locked_elsewhere: set[str] = set()\n",
        "            self._queue.refuse(batch, Reply(APOLOGY))\n"
        "            locked_elsewhere: set[str] = set()\n",
        "tests/ingest/test_trouble.py",
        sign="test_what_cannot_be_recorded_is_apologised_for",
    ),
    Mutant(
        "a message is taken although its customer was told to send it again",
        "message_queue.py",
        "                raise WithdrawnMeanwhile\n",
        "                pass\n",
        sign="was answered with the apology and is in the log",
        also=(
            (
                "            del self._by_sid[entry.message.sid]\n",
                "            if self._by_sid.pop(entry.message.sid, None) is None:\n"
                "                continue\n",
            ),
        ),
    ),
    Mutant(
        "the deadline apologises for what is being committed",
        "message_queue.py",
        "            if entry.fate is not PendingStatus.WAITING:\n",
        "            if entry.fate is PendingStatus.UNKNOWN:\n",
        sign="was answered with the apology and is in the log",
        also=(
            (
                "            del self._by_sid[entry.message.sid]\n",
                "            if self._by_sid.pop(entry.message.sid, None) is None:\n"
                "                continue\n",
            ),
        ),
    ),
    Mutant(
        "a COMMIT of unknown outcome is taken for one that failed",
        "recorder.py",
        "if self._queue.unclaim(replies, PendingStatus.UNKNOWN):",
        "if self._queue.unclaim(replies, PendingStatus.WAITING):",
        sign="was answered with the apology and is in the log",
    ),
    Mutant(
        "SQLite's input/output errors are taken for a rollback",
        "database.py",
        "{sqlite3.SQLITE_FULL,",
        "{sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,",
        sign="was answered with the apology and is in the log",
    ),
    Mutant(
        "where contacts stand is read before they are locked",
        "recorder.py",
        """        try:
            with self._database.write() as connection:
                locked =""",
        """        with self._database.read() as early:
            stood = batch.read(early, contacts=contacts).ends
        try:
            with self._database.write() as connection:
                locked =""",
        also=(
            (
                "facts = batch.read(connection, sids, locked, cached)",
                "facts = BatchFacts(batch.read(connection, sids).replies, stood)",
            ),
        ),
        noticed_by="tests/ingest/test_forgotten.py",
        sign="tests/ingest/test_forgotten.py::",  # two tests do, the other one by chance first
    ),
    Mutant(
        "the last message is the one with the latest time",
        "storage/batch.py",
        "SELECT max(turn) FROM messages AS any_turn WHERE contact_number = contact.value",
        "SELECT turn FROM messages AS any_turn WHERE contact_number = contact.value"
        " ORDER BY received_at DESC LIMIT 1",
        "tests/ingest/test_clocks.py",
        sign="tests/ingest/test_clocks.py::",
    ),
    Mutant(
        "idle conversations go on",
        "conversation.py",
        "and not end.is_erased and not is_idle",
        "and not end.is_erased",
        sign="went on after it was over",
    ),
    Mutant(
        "a message dated ahead by a wrong clock is never idle",
        "conversation.py",
        "now - idle_after <= end.received_at <= now + MAX_AHEAD",
        "now - idle_after <= end.received_at",
        "tests/ingest/test_clocks.py",
        sign="tests/ingest/test_clocks.py::",
    ),
    Mutant(
        "what was erased is gone on with",
        "conversation.py",
        "and not end.is_erased and not is_idle",
        "and not is_idle",
        "tests/conversation/test_state_machine.py",
        sign="test_what_is_over_is_followed_by_a_new_conversation",
    ),
    Mutant(
        "contacts are locked by another name each time",
        "storage/contact_state.py",
        "pg_try_advisory_xact_lock(hashtextextended(contact, 0))",
        "pg_try_advisory_xact_lock(hashtextextended(contact || random()::text, 0))",
        "tests/storage/test_contact_state.py",
        sign="test_a_contact_that_another_worker_has_locked_is_left_out",
    ),
    Mutant(
        "a new contact is not locked",
        "storage/contact_state.py",
        "WHERE pg_try_advisory_xact_lock(",
        "WHERE NOT EXISTS (SELECT FROM messages WHERE contact_number = contact)"
        " OR pg_try_advisory_xact_lock(",
        "tests/storage/test_contact_state.py",
        sign="test_a_contact_that_another_worker_has_locked_is_left_out",
    ),
    Mutant(
        "a review is erased without its contact's lock",
        "forgetting.py",
        "        contact_state.lock(connection, review.contact_number)\n",
        "",
        "tests/storage/test_contact_state.py",
        sign="test_an_erasure_waits_for_whoever_writes_to_the_contact",
    ),
    Mutant(
        "a contact is forgotten without the lock",
        "forgetting.py",
        "        contact_state.lock(connection, contact)\n",
        "",
        "tests/storage/test_contact_state.py",
        sign="test_an_erasure_waits_for_whoever_writes_to_the_contact",
    ),
    Mutant(
        "retention takes the words of a contact who is being answered",
        "retention.py",
        "locked = contact_state.try_lock(connection, {*old.values()})",
        "locked = {*old.values()}",
        "tests/privacy/test_retention.py",
        sign="test_a_contact_who_is_being_answered_keeps_the_conversation_until_then",
    ),
    Mutant(
        "a cached end of another message counts",
        "storage/batch.py",
        ".answers if row.answers is None else",
        ".answers if row.contact_number in cached else",
        "tests/ingest/test_trouble.py",
        sign="test_an_end_of_another_log_does_not_count",
    ),
    Mutant(
        "a cached end of another turn counts",
        "storage/batch.py",
        'f"{contact} {end.turn} {end.message_sid} ',
        'f"{contact} {end.message_sid} ',
        "tests/ingest/test_trouble.py",
        also=(
            (
                "contact_number || ' ' || turn || ' ' || message_sid",
                "contact_number || ' ' || message_sid",
            ),
        ),
        sign="test_an_end_of_another_log_does_not_count",
    ),
    Mutant(
        "a cached end of another time counts",
        "storage/batch.py",
        " {_as_key(end.received_at, is_sqlite)}",
        "",
        "tests/ingest/test_trouble.py",
        also=((" || ' ' || {time} {is_among}", " {is_among}"),),
        sign="test_an_end_of_another_log_does_not_count",
    ),
    Mutant(
        "a cached end that was erased counts",
        "storage/batch.py",
        "    is_erased = row.erased_at is not None\n",
        "    is_erased = row.erased_at is not None and row.contact_number not in cached\n",
        "tests/ingest/test_trouble.py",
        sign="test_an_end_that_was_erased_does_not_count",
    ),
    Mutant(
        "memory keeps words for ever",
        "storage/end_cache.py",
        "            if put_at >= kept_since:\n",
        "            if True:\n",
        "tests/storage/test_end_cache.py",
        sign="test_words_are_gone_within_a_minute",
    ),
    Mutant(
        "the turns of a pseudonym begin anew with each forgetting",
        "message_log.py",
        "turn=LoggedMessage.turn + turns,",
        "turn=LoggedMessage.turn,",
        "tests/ingest/test_forgotten.py",
        sign="tests/ingest/test_forgotten.py::",
    ),
    Mutant(
        "a review is not the only one of its conversation",
        "migrations/versions/0001_first_tables.py",
        """        sa.UniqueConstraint("conversation_id", name=op.f("uq_reviews_conversation_id")),
""",
        "",
        "tests/db/test_schema.py",
        sign="test_the_tables_are_what_the_migrations_make",
    ),
    Mutant(
        "the last status counts, not the highest",
        "reviews.py",
        """
        Review.status.in_(sa.bindparam("lower", expanding=True)),
""",
        "\n",
        sign="has a review with status",
    ),
    Mutant(
        "a signature need not cover the fields",
        "signature.py",
        'sign(f"{address}{fields}", token)',
        "sign(address, token)",
        "tests/whatsapp/test_signature.py",
        sign="test_a_published_signature_is_believed",
    ),
    Mutant(
        "a field may come twice, and the last counts",
        "whatsapp.py",
        "            if names.count(name) > 1:\n",
        "            if names.count(name) > 2:\n",
        "tests/web/test_refusals.py",
        sign="test_a_field_that_must_be_one_is_refused_when_it_comes_twice",
    ),
    Mutant(
        "requests are signed for whatever address they name themselves",
        "whatsapp.py",
        "        if self.public_url:\n            base = self.public_url\n        else:",
        "        if True:",
        "tests/web/test_signed_address.py",
        sign="test_production_judges_by_its_public_address_alone",
    ),
    Mutant(
        "whoever has a key, any key, may read",
        "access.py",
        "any(_equal(key, access.api_key) for key in keys)",
        "keys",
        "tests/web/security/test_auth.py",
        sign="test_production_stays_shut_without_the_key",
    ),
    Mutant(
        "a signed form cut anew is another message",
        "whatsapp.py",
        'if any(sid != form.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):',
        "if False:",
        "tests/campaigns/hostile/test_resplitting.py",
        sign="test_words_that_hold_fields_make_no_other_message_of_a_signed_one",
    ),
    Mutant(
        "a connection stays open whose body was left unread",
        "forms.py",
        'detail, headers={"Connection": "close"})',
        "detail)",
        "tests/campaigns/hostile/test_sockets.py",
        sign="hung_up_on",
    ),
    Mutant(
        "a guesser is never slowed down",
        "access.py",
        "return max(0, math.ceil(left))",
        "return 0",
        "tests/campaigns/hostile/test_guessing.py",
        sign="test_after_ten_wrong_keys_none_from_there_is_looked_at",
    ),
]
