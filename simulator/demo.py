"""`run.py demo`: sixty customers at once, in the terminal."""

import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from audit.client_history import ClientHistory
from conversation.model import Message
from conversation.state_machine import replay
from core.console import tell
from core.paths import ROOT
from core.text import clean
from simulator.customer import Customer, texts_of
from simulator.fake_twilio import Simulator, message_form
from simulator.twiml_reader import NotAnswered

EXAMPLES = ROOT / "examples" / "reviews.jsonl"

WORDS = ("product", "name", "review")


def read_examples(path: Path = EXAMPLES) -> list[dict[str, str]]:
    """Read reviews to play, a JSON object a line. Raises OSError or ValueError."""
    reviews: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            review = json.loads(line)
            "".join(review[word] for word in WORDS).encode()  # which lone surrogates can't be
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(
                f"line {number} is not an object with the texts product, name and review"
            ) from None
        said = [Message("", "", clean(text)) for text in texts_of(review)]
        if not replay(said)[-1].is_finished:
            raise ValueError(f"line {number} has a text that is blank or too long for an answer")
        reviews.append(review)
    if not reviews:
        raise ValueError("it has no reviews")
    return reviews


def demo(twilio: Simulator, reviews: list[dict[str, str]], customers: int) -> None:
    """Play real reviews, many customers at once, every message delivered twice; then count."""
    last_id = max((review["id"] for review in read_reviews(twilio, limit=1)), default=0)
    began = time.monotonic()
    contacts: dict[str, dict[str, str]] = {}
    for review in reviews:
        while (contact := Customer(twilio).contact) in contacts:
            pass
        contacts[contact] = review
    done = 0
    with ThreadPoolExecutor(customers) as pool:
        try:
            for played in as_completed(
                pool.submit(play, twilio, contact, review) for contact, review in contacts.items()
            ):
                played.result()
                done += 1
                tell(f"\r{done} of {len(reviews)} customers have finished", end="")
        finally:  # after Ctrl-C, or where one got no answer, the others need not begin
            pool.shutdown(wait=False, cancel_futures=True)
    seconds = time.monotonic() - began
    tell(f", {8 * done} deliveries of {4 * done} messages in {seconds:.1f} s.")
    recorded = [
        review
        for review in read_reviews(twilio)
        if review["contact_number"] in contacts and review["id"] > last_id
    ]
    wanted = {
        (contact, clean(review["name"]), clean(review["product"]), clean(review["review"]))
        for contact, review in contacts.items()
    }
    found = {
        (r["contact_number"], r["user_name"], r["product_name"], r["product_review"])
        for r in recorded
    }
    if len(recorded) != len(reviews) or found != wanted:
        raise NotAnswered(f"{len(reviews)} reviews were written, {len(recorded)} are recorded")
    tell(
        f"All {len(recorded)} are recorded exactly once, word for word:"
        f" {twilio.client.base_url.join('/api/reviews')}"
    )


def read_reviews(twilio: Simulator, **query: int) -> list[dict[str, Any]]:
    """Read the list of reviews. Raises NotAnswered where something else answers."""
    answer = twilio.client.get("/api/reviews", params=query).raise_for_status()
    try:
        reviews: list[dict[str, Any]] = answer.json()
        if not all("conversation_id" in review for review in reviews):
            raise ValueError
    except (ValueError, TypeError):
        raise NotAnswered(f"{answer.url} has no list of reviews: is it another program?") from None
    return reviews


def play(twilio: Simulator, contact: str, review: Mapping[str, str]) -> None:
    """Play one customer from greeting to thanks, every message delivered twice."""
    customer = Customer(twilio, contact)
    for text in texts_of(review):
        form = message_form(contact, text)
        first, again = customer.sends(form), twilio.deliver(form).text
        if first != again:
            raise NotAnswered(f"a repeated message was answered {again!r}, not {first!r}")


def demo_with_history(
    twilio: Simulator, reviews: list[dict[str, str]], customers: int, file: Path
) -> None:
    """Play the demo, and write down what every customer was told, also where it ends early."""
    save_history(twilio.client_history, file)  # sooner than when all has been played
    try:
        demo(twilio, reviews, customers)
    finally:  # what is of use when something went wrong
        save_history(twilio.client_history, file)
        tell(f"What every customer was told: {file}")


def save_history(client_history: ClientHistory, file: Path) -> None:
    """Write down what every customer was told; exit with a sentence where that can't be."""
    try:
        client_history.save(file)
    except OSError as error:
        sys.exit(f"{file} can't be written: {error.strerror}")
