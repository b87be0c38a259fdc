"""A customer who writes and reads, message by message."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.fake_twilio import Simulator, message_form, new_sid, photo_form


def texts_of(review: Mapping[str, str]) -> tuple[str, str, str, str]:
    """List what a customer writes from greeting to thanks: `review` has product, name, review."""
    return ("Hi", review["product"], review["name"], review["review"])


@dataclass(slots=True)
class Customer:
    """A person with a phone: `says` something and returns what the business answered."""

    twilio: Simulator
    contact: str = field(default_factory=lambda: f"+1555{random.randrange(10**7):07}")  # noqa: S311
    delivers: tuple[str, ...] = ("sent", "delivered", "read")
    """The status callbacks that follow a message which asks for them."""

    def says(self, text: str) -> str:
        """Send a text; raises NotAnswered."""
        return self.sends(message_form(self.contact, text))

    def sends_photo(self, caption: str = "") -> str:
        """Send a photo; raises NotAnswered."""
        return self.sends(photo_form(self.contact, caption))

    def sends(self, form: Mapping[str, str]) -> str:
        """Send a form of `message_form`; return the answer's words, "" for silence."""
        answer = self.twilio.deliver(form)
        if answer.callback:
            sid = new_sid()
            for status in self.delivers:
                self.twilio.report(answer.callback, self.contact, sid, status)
        return answer.text or ""
