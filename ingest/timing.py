"""How long the message writer and its queue wait."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Durations in seconds."""

    deadline_seconds: float = 6.0
    """From a message's arrival to its last possible answer. Twilio waits 15 s, or 7 s with the
    webhook address that the documentation gives."""
    slow_seconds: float = 0.3
    """An answer that takes longer is slow: from then on we watch whether the client is still
    connected."""
    retry_seconds: float = 0.15
    """The longest pause between two tries while the database is away and a message waits: another
    worker may have recorded the message, and an apology would be false."""
    last_try_seconds: float = 0.05
    """The last try starts this long before the earliest deadline."""
    idle_retry_seconds: float = 1.0
    """The longest pause between two tries while no message waits."""
    probe_seconds: float = 3.0
    """While no message comes, the writer proves this often that it can write."""
    slow_probe_seconds: float = 3.0
    """A probe that takes longer is an outage: a frozen server never answers."""
    linger_seconds: float = 0.01
    """The longest wait for further messages before a batch is flushed."""
    remember_seconds: float = 30.0
    """How long answers stay in the queue's memory. Twilio's retries come within 15 s, and erased
    words must be gone from here within a minute. An idle writer checks this often."""
