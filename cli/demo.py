"""Play 60 real reviews, many customers at once, and check that each is recorded exactly once."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cli import phone_line
from cli.command_error import CommandError
from core.settings import Settings
from simulator.demo import EXAMPLES, demo, demo_with_history, read_examples


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--customers", type=int, default=16, choices=range(1, 101), metavar="N", help="at once (16)"
    )
    parser.add_argument("--reviews", type=Path, default=EXAMPLES, help="a file of your own")
    parser.add_argument(
        "--client-history",
        type=Path,
        metavar="FILE",
        help="write what every customer was told to FILE",
    )
    phone_line.add_url(parser)


def run(options: Namespace, settings: Settings) -> int:
    try:
        reviews = read_examples(options.reviews)
    except (OSError, ValueError) as error:
        raise CommandError(f"{options.reviews} can't be read: {error}") from None
    with phone_line.connect(options, settings) as twilio:
        if options.client_history is None:
            demo(twilio, reviews, options.customers)
        else:
            demo_with_history(twilio, reviews, options.customers, options.client_history)
    return 0
