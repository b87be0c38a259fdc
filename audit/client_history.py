"""Client history: the answers that clients received, to compare with the log.

The demo writes it to a file, and `check-data` reads it; tests keep theirs in memory.
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
    """Every answer that clients received, in order, and every status that was acknowledged.

    An answer is the text of our reply: "" is an empty reply, None no usable one (no response, or
    not a 200). It may be used from several threads.
    """

    answers: dict[str, list[str | None]] = field(default_factory=lambda: defaultdict(list))
    """Answers to all deliveries of a message, by MessageSid."""
    statuses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Acknowledged statuses, by the id of the conversation whose review the message confirmed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_answer(self, sid: str, words: str | None) -> None:
        """Add the answer to a delivery of a message."""
        with self._lock:
            self.answers[sid].append(words)

    def note_status(self, conversation_id: str, status: str) -> None:
        """Add a status that was acknowledged."""
        with self._lock:
            self.statuses[conversation_id].add(status)

    def save(self, file: Path) -> None:
        """Write JSON lines in UTF-8, readable for the file's owner only: replies contain names."""
        with self._lock:
            lines: list[object] = [
                {"message_sid": sid, "answers": answers} for sid, answers in self.answers.items()
            ]
            lines += [
                {"conversation_id": id_, "statuses": sorted(statuses)}
                for id_, statuses in self.statuses.items()
            ]
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if file.is_file():
            file.chmod(0o600)  # the mode above applies to a new file only
        with open(handle, "w", encoding="utf-8") as opened:
            opened.writelines(f"{json.dumps(line)}\n" for line in lines)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote. Raises OSError, or ValueError for any other content."""
        history = cls()
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
            try:
                if line:
                    history._read(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}: line {number} is no record ({error})") from None
        if not history.answers:  # an empty file agrees with every log
            raise ValueError(f"{file} has no answers")
        return history

    def _read(self, record: object) -> None:
        """Add a line that `save` wrote. Raises ValueError for anything else."""
        match record:
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
        if _INVALID_ID.search(id_):
            raise ValueError("its id has a character that no database takes")

    def contradictions(self, replies: Mapping[str, str | None]) -> Iterator[str]:
        """Compare the answers with the log's `replies`, by SID; None means that they were erased.

        Every answer but the apology must be the log's reply. A message whose deliveries were all
        answered with the apology must not be in the log. If one of them got no usable answer, that
        one may have been recorded before the apology.
        """
        for sid, answers in self.answers.items():
            received = {answer for answer in answers if answer is not None and answer != APOLOGY}
            if sid not in replies:
                if received:
                    yield f"message {sid} was answered and is not in the log"
            elif answers and all(answer == APOLOGY for answer in answers):
                yield f"message {sid} was answered with the apology and is in the log"
            elif (reply := replies[sid]) is not None and received - {reply}:
                yield f"message {sid} was answered with other words than the log has"

    def missing(
        self, found: Collection[str], erased: Collection[str], ranks: Sequence[str]
    ) -> Iterator[str]:
        """Find reviews that are missing: a status of theirs was acknowledged, so they existed.

        `found` are the conversations that have a review. `erased` are those whose words were erased
        since; their reviews may have been erased, too. `ranks` are Twilio's statuses.
        """
        for conversation_id, acknowledged in self.statuses.items():
            if (
                not acknowledged.isdisjoint(ranks)
                and conversation_id not in found
                and conversation_id not in erased
            ):
                yield f"conversation {conversation_id} had a status acknowledged, and has no review"

    def lowered(self, statuses: Mapping[str, str], ranks: Sequence[str]) -> Iterator[str]:
        """Find reviews, by conversation, whose status ranks below one that was acknowledged.

        `ranks` are Twilio's statuses, lowest first. Others are acknowledged and ignored.
        """
        for conversation_id, status in statuses.items():
            acknowledged = self.statuses.get(conversation_id, ())
            highest = max((s for s in acknowledged if s in ranks), key=ranks.index, default=None)
            if highest is None:
                continue
            if status not in ranks or ranks.index(status) < ranks.index(highest):
                yield (
                    f"conversation {conversation_id} has a review with status {status}, and"
                    f" {highest} was acknowledged"
                )


_INVALID_ID = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates, which PostgreSQL and its driver refuse."""
