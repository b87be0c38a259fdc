"""The mutants: where the code is changed, from what to what, and who is to notice."""

from dataclasses import dataclass, field

SIMULATION = "tests.simulation"


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
        "known = message_log.find_replies(held.connection, [e.message.sid for e in entries])",
        "known: dict[str, LoggedReply] = {}",
        sign="UNIQUE constraint failed: messages.message_sid",
    ),
    Mutant(
        "messages are logged after COMMIT, in a transaction of their own",
        "recorder.py",
        "        self._room.answer(answers)\n",
        "        with self._store._database.write() as connection:  # type: ignore[attr-defined]\n"
        "            message_log.append(connection, taken)\n"
        "        self._room.answer(answers)\n",
        also=(("        message_log.append(held.connection, taken)\n", ""),),
        sign="conversation SM",
    ),
    Mutant(
        "contacts that are held elsewhere stay at the head of the queue",
        "recorder.py",
        "        self._room.let_others_pass(others)\n",
        "",
        "tests/writer",
        sign="test_stuck_contacts_stall_nobody_else",
    ),
    Mutant(
        "a repeat's reply is made again",
        "recorder.py",
        "return Reply(logged.reply, logged.conversation_id if logged.finished else None)",
        "return Reply(take_turn(None, message).reply)",
        sign="other words than the log has",
    ),
    Mutant(
        "a repeat does not ask the log where its contact stands",
        "recorder.py",
        "_reconcile(held, {entry.message.contact for entry in repeats})",
        "_reconcile(held, set())",
        "tests/writer tests/test_repeats.py",
        sign="test_a_commit_whose_answer_was_lost_is_found_in_the_log",
    ),
    Mutant(
        "replies leave before COMMIT",
        "recorder.py",
        "                self._take_turns(held, fresh, answers, taken)\n",
        "                self._take_turns(held, fresh, answers, taken)\n"
        "                self._room.claim(answers)\n"
        "                self._room.answer(answers)\n"
        "                answers = {}\n",
        also=(
            (
                "            if self._room.unclaim(answers, Fate.UNKNOWN):\n",
                "            if not answers:\n"
                "                return set()\n"
                "            if self._room.unclaim(answers, Fate.UNKNOWN):\n",
            ),
        ),
        sign="was answered and is not in the log",
    ),
    Mutant(
        "one message that can't be saved fails its whole batch",
        "recorder.py",
        "            held_elsewhere: set[str] = set()\n",
        "            self._room.refuse(batch, Reply(APOLOGY))\n"
        "            held_elsewhere: set[str] = set()\n",
        "tests/writer/test_trouble.py",
        sign="test_what_cannot_be_recorded_is_apologised_for",
    ),
    Mutant(
        "a message is taken although its customer was told to send it again",
        "waiting_room.py",
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
        "waiting_room.py",
        "            if entry.fate is not Fate.WAITING:\n",
        "            if entry.fate is Fate.UNKNOWN:\n",
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
        "if self._room.unclaim(answers, Fate.UNKNOWN):",
        "if self._room.unclaim(answers, Fate.WAITING):",
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
        "where contacts stand is read before they are held",
        "stores.py",
        """        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            now = self._clock()
            idle_since = now - self._ttl
            stood = _read(connection, ours, idle_since)
""",
        """        now = self._clock()
        idle_since = now - self._ttl
        with self._database.read() as connection:
            early = _read(connection, contacts, idle_since)
        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            stood = {contact: early[contact] for contact in ours}
""",
        sign="began while another could still have gone on",
    ),
    Mutant(
        "idle conversations go on",
        "stores.py",
        """,
    UnfinishedConversation.updated_at >= sa.bindparam("idle_since"),
)""",
        ")",
        sign="went on after it was over",
    ),
    Mutant(
        "contacts are held by another name each time",
        "stores.py",
        "hashtextextended(contact, 0)",
        "hashtextextended(contact || random()::text, 0)",
        "tests/test_stores.py",
        sign="test_a_contact_that_another_worker_holds_is_left_out",
    ),
    Mutant(
        "a new contact is not held",
        "stores.py",
        "WHERE pg_try_advisory_xact_lock(",
        "WHERE NOT EXISTS (SELECT FROM conversations WHERE contact_number = contact)"
        " OR pg_try_advisory_xact_lock(",
        "tests/test_stores.py",
        sign="test_a_contact_that_another_worker_holds_is_left_out",
    ),
    Mutant(
        "what Redis says is believed without the log",
        "stores.py",
        "stood = reconcile(connection, remembered, idle_since, times)",
        "stood = {**reconcile(connection, remembered, idle_since, times),"
        " **{contact: told for contact, told in remembered.items() if told}}",
        "tests/writer/test_redis.py",
        sign="test_what_the_log_does_not_know_is_not_gone_on_with",
    ),
    Mutant(
        "what Redis says of another log is believed",
        "reconciling.py",
        "if is_end and (times is None or times[contact] == last.received_at):",
        "if is_end:",
        "tests/test_redis_store.py",
        sign="test_what_is_of_another_time_than_the_logs_end_does_not_count",
    ),
    Mutant(
        "the memory store remembers what was not committed",
        "stores.py",
        """                yield held
                _delete_rows(connection, contacts)
""",
        """                yield held
                for contact, conversation in held.conversations.items():
                    self._remember(contact, conversation, now)
                _delete_rows(connection, contacts)
""",
        sign="conversation SM",
    ),
    Mutant(
        "two processes keep conversations in memory",
        "only_process.py",
        "            if self._had_it:\n",
        "            break\n            if self._had_it:\n",
        "tests/test_stores.py",
        sign="test_a_second_process_is_refused_and_told_why",
    ),
    Mutant(
        "a review is not the only one of its conversation",
        "migrations/versions/0001_first_tables.py",
        """        sa.UniqueConstraint("conversation_id", name=op.f("uq_reviews_conversation_id")),
""",
        "",
        "tests/test_models.py",
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
        "tests/test_signature.py",
        sign="test_a_published_signature_is_believed",
    ),
    Mutant(
        "a field may come twice, and the last counts",
        "whatsapp.py",
        "            if names.count(name) > 1:\n",
        "            if names.count(name) > 2:\n",
        "tests/test_refusals.py",
        sign="test_a_field_that_must_be_one_is_refused_when_it_comes_twice",
    ),
    Mutant(
        "requests are signed for whatever address they name themselves",
        "whatsapp.py",
        "        if self.public_url:\n            base = self.public_url\n        else:",
        "        if True:",
        "tests/test_signed_address.py",
        sign="test_production_judges_by_its_public_address_alone",
    ),
    Mutant(
        "whoever has a key, any key, may read",
        "access.py",
        "any(_equal(key, access.api_key) for key in keys)",
        "keys",
        "tests/test_access.py",
        sign="test_production_stays_shut_without_the_key",
    ),
    Mutant(
        "a signed form cut anew is another message",
        "whatsapp.py",
        'if any(sid != form.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):',
        "if False:",
        "tests/hostile/test_resplitting.py",
        sign="test_words_that_hold_fields_make_no_other_message_of_a_signed_one",
    ),
    Mutant(
        "a connection stays open whose body was left unread",
        "forms.py",
        'detail, headers={"Connection": "close"})',
        "detail)",
        "tests/hostile/test_sockets.py",
        sign="hung_up_on",
    ),
    Mutant(
        "a guesser is never slowed down",
        "access.py",
        "return max(0, math.ceil(left))",
        "return 0",
        "tests/hostile/test_guessing.py",
        sign="test_after_ten_wrong_keys_none_from_there_is_looked_at",
    ),
    Mutant(
        "rows that another store goes past are left to the database store",
        "stores.py",
        """                _delete_rows(connection, contacts)
                claim()
""",
        "                claim()\n",
        "tests/test_change_of_store.py",
        sign="test_a_conversation_is_over_when_another_was_finished_since",
    ),
    Mutant(
        "a contact without a row is taken for a new one",
        "stores.py",
        "return found | reconcile(connection, rowless, idle_since)",
        "return found | rowless",
        "tests/test_change_of_store.py",
        sign="test_the_conversation_that_was_begun_last_goes_on",
    ),
    Mutant(
        "a contact's times are what each worker's clock says",
        "recorder.py",
        "return now if last_of_contact is None else max(now, last_of_contact + A_MOMENT)",
        "return now",
        sign="older than those before them",
    ),
]
