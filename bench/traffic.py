"""What the subjects are sent, signed forms as Twilio's, and what must come of it."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from bench.client import Load
from simulator.customer import texts_of
from simulator.demo import read_examples
from simulator.fake_twilio import message_form

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - made up
PUBLIC_URL = "https://reviews.example.com"
API_KEY = "a key for measuring"
MESSAGES_PER_REVIEW = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """HTTP requests in the order in which they are sent.

    Customers come in groups: first the greetings of a whole group, then its products, names and
    reviews. So as many connections as a group has customers send nobody's messages out of order.
    """

    requests: list[bytes]
    group: int

    def reviews_after(self, count: int) -> int:
        """Count the reviews that `count` requests finish, sent from the beginning of a group."""
        groups, rest = divmod(count, self.group * MESSAGES_PER_REVIEW)
        begun = max(0, rest - self.group * (MESSAGES_PER_REVIEW - 1))
        return groups * self.group + begun

    def next_group(self, place: int) -> int:
        """Find the first request of the group that follows a place."""
        size = self.group * MESSAGES_PER_REVIEW
        return -(-place // size) * size


class Void(Exception):
    """A run that must not be counted: the server did not do its work."""


@dataclass(slots=True)
class Tally:
    """What must be in a database afterwards. Some requests may have gone unanswered at an end."""

    traffic: Traffic
    messages: int = 0
    unanswered: int = 0
    least_reviews: int = 0
    most_reviews: int = 0

    def add(self, load: Load, in_flight: int = 0) -> None:
        """Count what was sent from the beginning of a group. Raises Void."""
        if load.refused:
            raise Void(f"{load.refused} answers were no reply")
        self.messages += load.answered
        self.unanswered += in_flight
        # Each that is in flight may lack one review, however long ago it was sent.
        self.least_reviews += max(0, self.traffic.reviews_after(load.answered) - in_flight)
        self.most_reviews += self.traffic.reviews_after(load.answered + in_flight)


def make_traffic(count: int, group: int = 256, contacts: int = 10**7) -> Traffic:
    """Sign `count` requests beforehand.

    With fewer `contacts` than there are customers, each comes again and again.
    """
    return Traffic(list(itertools.islice(_requests(group, contacts), count)), group)


def _requests(group: int, contacts: int) -> Iterator[bytes]:
    signer = RequestValidator(TOKEN)
    examples = read_examples()
    for first in itertools.count(0, group):
        customers = range(first, first + group)
        for step in range(MESSAGES_PER_REVIEW):
            for customer in customers:
                review = examples[customer % len(examples)]
                text = texts_of(review)[step]
                number = b"%d" % (customer * MESSAGES_PER_REVIEW + step)
                form = message_form(
                    f"+1555{customer % contacts:07}",
                    text,
                    # As Twilio's, they come in no order.
                    MessageSid=f"SM{hashlib.blake2b(number, digest_size=16).hexdigest()}",
                    ProfileName=review["name"],
                )
                yield signed_request(form, signer)


def signed_request(form: dict[str, str], signer: RequestValidator) -> bytes:
    """Write a form as the HTTP request that Twilio posts."""
    body = urlencode(form)
    head = (
        "POST /webhook HTTP/1.1",
        "Host: reviews.example.com",
        "User-Agent: TwilioProxy/1.1",
        "Accept: */*",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8",
        f"Content-Length: {len(body)}",
        f"X-Twilio-Signature: {signer.compute_signature(f'{PUBLIC_URL}/webhook', form)}",
        "I-Twilio-Idempotency-Token: 0d6a7b0e-9b7c-4a0e-8f5e-3f1d2c4b5a69",
    )
    return "\r\n".join([*head, "", body]).encode()
