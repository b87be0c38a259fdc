"""Be the customer in the terminal, `run.py chat`, or sixty of them at once, `run.py demo`."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx

from audit.client_history import Witness
from conversation.model import Message
from conversation.state_machine import replay
from core.paths import ROOT
from core.settings import Settings, SettingsError
from core.text import clean
from simulator import (
    ACCOUNT_SID,
    TWILIO_SECONDS,
    Customer,
    NotAnswered,
    Simulator,
    message_form,
    texts_of,
)

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
                f"line {number} is no object with the texts product, name and review"
            ) from None
        said = [Message("", "", clean(text)) for text in texts_of(review)]
        if not replay(said)[-1].is_finished:
            raise ValueError(f"line {number} has a text that is blank or too long for an answer")
        reviews.append(review)
    if not reviews:
        raise ValueError("it has no reviews")
    return reviews


def chat(twilio: Simulator, contact: str | None) -> None:
    """Let a person be the customer, in the terminal."""
    customer = Customer(twilio, contact) if contact else Customer(twilio)
    tell(f"You are {customer.contact}. Write something; an empty line sends a photo; Ctrl-D ends.")
    while True:
        try:
            text = input("\nyou: ")
        except (EOFError, KeyboardInterrupt, RuntimeError):  # the last: stdin or stdout is closed
            tell("")
            return
        try:
            answer = customer.says(text) if text.strip() else customer.sends_photo()
        except NotAnswered as error:
            tell(f"     (no answer: {error})")
        else:
            tell(f"bot: {answer}")


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


def demo_with_witness(
    twilio: Simulator, reviews: list[dict[str, str]], customers: int, file: Path
) -> None:
    """Play the demo, and write down what every customer was told, also where it ends early."""
    save_witness(twilio.witness, file)  # sooner than when all has been played
    try:
        demo(twilio, reviews, customers)
    finally:  # what is of use when something went wrong
        save_witness(twilio.witness, file)
        tell(f"What every customer was told: {file}")


def save_witness(witness: Witness, file: Path) -> None:
    """Write down what every customer was told; exit with a sentence where that can't be."""
    try:
        witness.save(file)
    except OSError as error:
        sys.exit(f"{file} can't be written: {error.strerror}")


def tell(line: str, end: str = "\n") -> None:
    print(line, end=end, flush=True)  # noqa: T201 - this is what people run it for


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    chat_word = words.add_parser("chat", help="write to the bot from this terminal")
    chat_word.add_argument("--from", dest="contact", help="your number (a new one each time)")
    demo_word = words.add_parser("demo", help="play 60 real reviews, many customers at once")
    demo_word.add_argument(
        "--customers", type=int, default=16, choices=range(1, 101), metavar="N", help="at once (16)"
    )
    demo_word.add_argument("--reviews", type=Path, default=EXAMPLES, help="a file of your own")
    demo_word.add_argument(
        "--witness", type=Path, metavar="FILE", help="write what every customer was told to FILE"
    )
    for word in (chat_word, demo_word):
        word.add_argument("--url", default="http://localhost:8000", help="where the server is")
    options = parser.parse_args()
    try:
        settings = Settings.load()
        reviews = read_examples(options.reviews) if options.word == "demo" else []
        # A connection for each customer, none closed to spare some (which httpx does in use, too),
        # and given up sooner than by the server: uvicorn waits 5 seconds.
        limits = httpx.Limits(keepalive_expiry=2.0)
        client = httpx.Client(
            base_url=options.url, timeout=TWILIO_SECONDS, trust_env=False, limits=limits
        )
    except (SettingsError, httpx.InvalidURL) as error:
        sys.exit(str(error))
    except (OSError, ValueError) as error:
        sys.exit(f"{options.reviews} can't be read: {error}")
    if settings.api_key:
        client.headers["X-API-Key"] = settings.api_key
    twilio = Simulator(
        client,
        auth_token=next(iter(settings.twilio_auth_token), ""),
        public_url=settings.public_url or "",
        account_sid=settings.twilio_account_sid or ACCOUNT_SID,
    )
    try:
        with client:
            client.get("/healthz").raise_for_status()
            if options.word == "chat":
                chat(twilio, options.contact)
            elif options.witness is None:
                demo(twilio, reviews, options.customers)
            else:
                demo_with_witness(twilio, reviews, options.customers, options.witness)
    except httpx.ConnectError:
        sys.exit(f"No server answers at {options.url}: start it with  python3 run.py")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, NotAnswered) as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    main()
