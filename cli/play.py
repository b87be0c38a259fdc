"""`run.py chat` and `run.py demo`."""

import argparse
import sys
from pathlib import Path

import httpx

from core.settings import Settings, SettingsError
from simulator.chat import chat
from simulator.demo import EXAMPLES, demo, demo_with_history, read_examples
from simulator.fake_twilio import ACCOUNT_SID, TWILIO_SECONDS, Simulator
from simulator.twiml_reader import NotAnswered


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
        "--client-history",
        type=Path,
        metavar="FILE",
        help="write what every customer was told to FILE",
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
            elif options.client_history is None:
                demo(twilio, reviews, options.customers)
            else:
                demo_with_history(twilio, reviews, options.customers, options.client_history)
    except httpx.ConnectError:
        sys.exit(f"No server answers at {options.url}: start it with  python3 run.py")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, NotAnswered) as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    main()
