"""What a turn works on, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

Answers = Mapping[str, str]
"""What a customer has said so far, by question: product, name, review."""


class State(StrEnum):
    START = "START"
    ASK_NAME = "ASK_NAME"
    ASK_REVIEW = "ASK_REVIEW"
    FINISH = "FINISH"


class Outcome(StrEnum):
    """What a message did. The log keeps it, so that later rules can't change what it meant."""

    OPENED = "opened"
    ANSWERED = "answered"
    ASKED_AGAIN = "asked_again"
    FINISHED = "finished"
    MIGRATED = "migrated"
    """Made by a migration, from what was known of a contact before there were facts."""
    ERASED = "erased"
    """Erased before there were facts."""


@dataclass(frozen=True, slots=True)
class Message:
    """A customer's message. `text` is trimmed and fit for XML; `media` holds (URL, type) pairs."""

    sid: str
    contact: str
    text: str
    media: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a contact stands: the facts of the contact's last message.

    `turn` counts the contact's messages and `position` those of the conversation, both from 1.
    """

    message_sid: str
    turn: int
    conversation_id: str
    position: int
    state: str
    answers: Answers
    received_at: datetime
    is_erased: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a turn depends on besides its message. `end` is None for a new contact."""

    now: datetime
    idle_after: timedelta
    end: LogEnd | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a message leads to: the facts for the log, and our reply."""

    number: int
    """The contact's turn, from 1."""
    conversation_id: str
    position: int
    outcome: str
    state: str
    answers: Answers
    reply: str

    @property
    def is_finished(self) -> bool:
        """Say whether this message finished a review, which `answers` then holds."""
        return self.outcome == Outcome.FINISHED

    def log_end(self, message: Message, received_at: datetime) -> LogEnd:
        """Return where the contact stands after this turn."""
        return LogEnd(
            message.sid,
            self.number,
            self.conversation_id,
            self.position,
            self.state,
            self.answers,
            received_at,
        )
