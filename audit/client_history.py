"""What clients were told, to compare with the log: the other side's record of the same events.

`run.py check-data --client-history FILE` reads one; tests and the demo keep theirs in memory.
"""

import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from conversation.wording import APOLOGY


@dataclass(slots=True)
class ClientHistory:
    """Every delivery's answer, in order, and every status that was acknowledged.

    An answer is what the customer was told: "" is silence, None no usable answer (none came, or
    it was no 200). Safe to use from several threads.
    """

    answers: dict[str, list[str | None]] = field(default_factory=lambda: defaultdict(list))
    """By MessageSid."""
    statuses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By the id of the conversation whose review the message confirmed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_answer(self, sid: str, words: str | None) -> None:
        with self._lock:
            self.answers[sid].append(words)

    def note_status(self, conversation_id: str, status: str) -> None:
        with self._lock:
            self.statuses[conversation_id].add(status)

    def save(self, file: Path) -> None:
        """Write a JSON object a line, UTF-8, for the owner alone: replies repeat names."""
        with self._lock:
            lines: list[object] = [
                {"message_sid": sid, "answers": answers} for sid, answers in self.answers.items()
            ]
            lines += [
                {"conversation_id": id_, "statuses": sorted(told)}
                for id_, told in self.statuses.items()
            ]
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if file.is_file():
            file.chmod(0o600)  # one that was there, too
        with open(handle, "w", encoding="utf-8") as opened:
            opened.writelines(f"{json.dumps(line)}\n" for line in lines)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote. Raises OSError, or ValueError for anything else."""
        client_history = cls()
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
            try:
                if line:
                    client_history._read(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}: line {number} is no record ({error})") from None
        if not client_history.answers:  # an empty file would agree with everything
            raise ValueError(f"{file} has no answers")
        return client_history

    def _read(self, told: object) -> None:
        """Take in what a line of `save` says. Raises ValueError where it is something else."""
        match told:
            case {"message_sid": str(id_), "answers": list(answers)}:
                if not all(answer is None or isinstance(answer, str) for answer in answers):
                    raise ValueError("an answer is neither text nor null")
                self.answers[id_] += answers
            case {"conversation_id": str(id_), "statuses": list(statuses)}:
                if not all(isinstance(status, str) for status in statuses):
                    raise ValueError("a status is no text")
                self.statuses[id_] |= {*statuses}
            case _:
                raise ValueError("it has neither a message's answers nor a conversation's statuses")
        if _NO_ID.search(id_):
            raise ValueError("its id has a character that no database takes")

    def contradictions(self, replies: Mapping[str, str | None]) -> Iterator[str]:
        """Compare answers with the log's `replies`, by SID; None stands for words since erased.

        Every sentence that a customer was told is the log's, but for the apology, and that is true:
        a message is not in the log whose deliveries were all answered with it. Where one got no
        answer, a later apology says nothing of that one.
        """
        for sid, answers in self.answers.items():
            told = {answer for answer in answers if answer is not None and answer != APOLOGY}
            if sid not in replies:
                if told:
                    yield f"message {sid} was answered and is not in the log"
            elif answers and all(answer == APOLOGY for answer in answers):
                yield f"message {sid} was answered with the apology and is in the log"
            elif (reply := replies[sid]) is not None and told - {reply}:
                yield f"message {sid} was answered with other words than the log has"

    def missing(
        self, found: Collection[str], erased: Collection[str], ranks: Sequence[str]
    ) -> Iterator[str]:
        """Say where a status was acknowledged, so that there was a review, and there is none.

        `found` are the conversations that have one. `erased` are those whose words were erased
        since: their reviews may have been as well.
        """
        for conversation_id, told in self.statuses.items():
            if told & {*ranks} and conversation_id not in found and conversation_id not in erased:
                yield f"conversation {conversation_id} had a status acknowledged, and has no review"

    def lowered(self, statuses: Mapping[str, str], ranks: Sequence[str]) -> Iterator[str]:
        """Compare what was acknowledged with the reviews' statuses, by conversation.

        A status that Twilio does not have is acknowledged and counts for nothing.
        """
        for conversation_id, status in statuses.items():
            told = self.statuses.get(conversation_id, ())
            highest = max((s for s in told if s in ranks), key=ranks.index, default=None)
            if highest is None:
                continue
            if status not in ranks or ranks.index(status) < ranks.index(highest):
                yield (
                    f"conversation {conversation_id} has a review with status {status}, and"
                    f" {highest} was acknowledged"
                )


_NO_ID = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates, which PostgreSQL and its driver refuse."""
