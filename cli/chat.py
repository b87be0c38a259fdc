"""Be a customer: chat with the bot in this terminal."""

from argparse import ArgumentParser, Namespace

from cli import phone_line
from core.settings import Settings
from simulator.chat import chat


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--from", dest="contact", help="your number (a new one each time)")
    phone_line.add_url(parser)


def run(options: Namespace, settings: Settings) -> int:
    with phone_line.connect(options, settings) as twilio:
        chat(twilio, options.contact)
    return 0
