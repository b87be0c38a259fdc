"""Check the message log against itself and the reviews; list what is wrong with the data."""

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path

from audit.check import check
from audit.client_history import ClientHistory
from cli.command_error import CommandError
from core.console import tell
from core.logs import describe
from core.settings import Settings
from db import integrity
from db.engine import name_of, open_database

MAX_PROBLEMS = 100


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--client-history",
        type=Path,
        metavar="FILE",
        help="compare with what customers were told, as demo --client-history wrote it",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="check the pauses between messages against CONVERSATION_TTL_HOURS, too: only if that"
        " setting never changed, and version 1 never kept conversations in memory",
    )


def run(options: Namespace, settings: Settings) -> int:
    history = _load_history(options.client_history) if options.client_history else None
    place = name_of(settings.database_url)
    with closing(open_database(settings.database_url)) as database:
        damages = [*integrity.problems(database)]
        for damage in damages:  # before the rest, which may not be readable in a damaged file
            tell(damage)
        kept_for = settings.conversation_ttl if options.strict else None
        try:
            findings = check(database, kept_for=kept_for, history=history)
        except ValueError as error:
            raise CommandError(f"{place} has an unreadable value: {describe(error)}") from None
    for problem in findings.problems[:MAX_PROBLEMS]:
        tell(problem)
    problems = len(damages) + len(findings.problems)
    sys.stderr.write(
        f"Checked {place}\nMessages: {findings.messages}, conversations: {findings.conversations},"
        f" reviews: {findings.reviews}. Problems: {problems or 'none'}.\n"
    )
    return 1 if problems else 0


def _load_history(file: Path) -> ClientHistory:
    try:
        return ClientHistory.load(file)
    except (OSError, ValueError) as error:
        raise CommandError(f"The client history can't be read: {error}") from None
