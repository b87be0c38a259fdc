"""The mutants: where the code is changed, from what to what, and who is to notice."""

from dataclasses import dataclass

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
    sign: str = ""
    also: tuple[tuple[str, str], ...] = ()


MUTANTS = [
    Mutant(
        "no message is looked up in the log",
        "recorder.py",
        "known = message_log.find_replies(held.connection, [e.message.sid for e in entries])",
        "known: dict[str, LoggedReply] = {}",
    ),
    Mutant(
        "messages are logged after COMMIT, in a transaction of their own",
        "recorder.py",
        "        self._room.answer(answers)\n",
        "        with self._store._database.write() as connection:  # type: ignore[attr-defined]\n"
        "            message_log.append(connection, taken)\n"
        "        self._room.answer(answers)\n",
        also=(("        message_log.append(held.connection, taken)\n", ""),),
    ),
    Mutant(
        "contacts that are held elsewhere stay at the head of the queue",
        "recorder.py",
        "        self._room.let_others_pass(others)\n",
        "",
        "tests/writer",
    ),
    Mutant(
        "a repeat's reply is made again",
        "recorder.py",
        "return Reply(logged.reply, logged.conversation_id if logged.finished else None)",
        "return Reply(take_turn(None, message).reply)",
    ),
    Mutant(
        "a repeat does not ask the log where its contact stands",
        "recorder.py",
        "_rebuild(held, {entry.message.contact for entry in repeats})",
        "_rebuild(held, set())",
        "tests/writer tests/test_repeats.py",
    ),
    Mutant(
        "replies leave before COMMIT",
        "recorder.py",
        "                self._take_turns(held, fresh, answers, taken)\n",
        "                self._take_turns(held, fresh, answers, taken)\n"
        "                self._room.answer(answers)\n"
        "                answers = {}\n",
    ),
    Mutant(
        "one message that can't be saved fails its whole batch",
        "recorder.py",
        "            held_elsewhere: set[str] = set()\n",
        "            self._room.refuse(batch, Reply(APOLOGY))\n"
        "            held_elsewhere: set[str] = set()\n",
        "tests/writer",
    ),
    Mutant(
        "a message is taken although its customer was told to send it again",
        "waiting_room.py",
        "                raise WithdrawnMeanwhile\n",
        "                pass\n",
    ),
    Mutant(
        "the deadline apologises for what is being committed",
        "waiting_room.py",
        "            if entry.fate is not Fate.WAITING:\n",
        "            if entry.fate is Fate.UNKNOWN:\n",
    ),
    Mutant(
        "a COMMIT of unknown outcome is taken for one that failed",
        "recorder.py",
        "if self._room.unclaim(answers, Fate.UNKNOWN):",
        "if self._room.unclaim(answers, Fate.WAITING):",
    ),
    Mutant(
        "SQLite's input/output errors are taken for a rollback",
        "database.py",
        "{sqlite3.SQLITE_FULL,",
        "{sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,",
    ),
    Mutant(
        "where contacts stand is read before they are held",
        "stores.py",
        """        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            now = self._clock()
            before = _read(connection, ours, idle_since=now - self._ttl)
""",
        """        now = self._clock()
        with self._database.read() as connection:
            early = _read(connection, contacts, idle_since=now - self._ttl)
        with self._database.write() as connection:
            ours = _try_locks(self._database, connection, contacts)
            before = {contact: early[contact] for contact in ours}
""",
    ),
    Mutant(
        "idle conversations go on",
        "stores.py",
        """,
    UnfinishedConversation.updated_at >= sa.bindparam("idle_since"),
)""",
        ")",
    ),
    Mutant(
        "contacts are held by another name each time",
        "stores.py",
        "hashtextextended(contact, 0)",
        "hashtextextended(contact || random()::text, 0)",
        "tests/test_stores.py",
    ),
    Mutant(
        "a new contact is not held",
        "stores.py",
        "WHERE pg_try_advisory_xact_lock(",
        "WHERE NOT EXISTS (SELECT FROM conversations WHERE contact_number = contact)"
        " OR pg_try_advisory_xact_lock(",
        "tests/test_stores.py",
    ),
    Mutant(
        "what Redis says is believed without the log",
        "stores.py",
        """                    known = message_log.find_ends(
                        connection, {c: told for c in ours if (told := before[c]) is not None}
                    )
""",
        """                    known = {c: told for c in ours if (told := before[c]) is not None}
""",
        "tests/writer/test_redis.py",
    ),
    Mutant(
        "the memory store remembers what was not committed",
        "stores.py",
        """                yield held
                claim()
            self._doubtful""",
        """                yield held
                for contact, conversation in held.conversations.items():
                    self._remember(contact, conversation, now)
                claim()
            self._doubtful""",
    ),
    Mutant(
        "two processes keep conversations in memory",
        "only_process.py",
        "        while not claim():\n",
        "        while False:\n",
        "tests/test_stores.py tests/test_start.py",
    ),
    Mutant(
        "a review is not the only one of its conversation",
        "migrations/versions/0001_first_tables.py",
        """        sa.UniqueConstraint("conversation_id", name=op.f("uq_reviews_conversation_id")),
""",
        "",
        "tests/test_models.py",
    ),
    Mutant(
        "the last status counts, not the highest",
        "reviews.py",
        ".where(Review.id == review_id, Review.status.in_([PENDING, *lower]))",
        ".where(Review.id == review_id)",
    ),
    Mutant(
        "a signature need not cover the fields",
        "signature.py",
        'sign(f"{address}{fields}", token)',
        "sign(address, token)",
        "tests/test_signature.py",
    ),
    Mutant(
        "a field may come twice, and the last counts",
        "whatsapp.py",
        "            if names.count(name) > 1:\n",
        "            if names.count(name) > 2:\n",
        "tests/test_refusals.py",
    ),
    Mutant(
        "requests are signed for whatever address they name themselves",
        "whatsapp.py",
        "        if self.public_url:\n            base = self.public_url\n        else:",
        "        if True:",
        "tests/test_signed_address.py",
    ),
    Mutant(
        "whoever has a key, any key, may read",
        "access.py",
        "any(_equal(key, access.api_key) for key in keys)",
        "keys",
        "tests/test_access.py",
    ),
]
