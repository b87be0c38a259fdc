"""`run.py check-data`: what is wrong with the data."""

import argparse
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from audit.check import check
from audit.client_history import ClientHistory
from core.logs import describe
from core.settings import Settings, SettingsError
from db import integrity, schema
from db.engine import name_of, open_database
from db.errors import TRANSIENT_ERRORS
from db.schema import SCHEMA_VERSION


def read_options() -> tuple[bool, ClientHistory | None]:
    """Read the command line. Raises OSError or ValueError where the client history is wrong."""
    parser = argparse.ArgumentParser(prog="run.py check-data", description=__doc__)
    parser.add_argument(
        "--client-history",
        type=Path,
        metavar="FILE",
        help="what customers were told, by demo --client-history",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="check the pauses between messages against CONVERSATION_TTL_HOURS, too: only if that"
        " setting never changed, and version 1 never kept conversations in memory",
    )
    options = parser.parse_args()
    return options.strict, ClientHistory.load(
        options.client_history
    ) if options.client_history else None


def main() -> None:
    try:
        is_strict, client_history = read_options()
    except (OSError, ValueError) as error:
        sys.exit(f"The client history can't be read: {error}")
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.exit(str(error))
    place = name_of(settings.database_url)
    try:
        database = open_database(settings.database_url)
        if (version := schema.schema_version(database.engine)) != SCHEMA_VERSION:
            sys.exit(
                f"{place} has schema {version!r}, this program checks {SCHEMA_VERSION}."
                " Starting the service brings an older one up to date; for a newer one, install"
                " the newer program."
            )
        kept_for = settings.conversation_ttl if is_strict else None
        unsound = [*integrity.problems(database)]
        for problem in unsound:  # now: of a damaged file the rest may not be readable
            tell(problem)
        findings = check(database, kept_for=kept_for, client_history=client_history)
    except (SQLAlchemyError, ValueError, *TRANSIENT_ERRORS) as error:
        sys.exit(f"{place} can't be read: {describe(error)}")
    for problem in findings.problems[:100]:
        tell(problem)
    problems = len(unsound) + len(findings.problems)
    sys.stderr.write(
        f"Checked {place}\nMessages: {findings.messages}, conversations: {findings.conversations},"
        f" reviews: {findings.reviews}. Problems: {problems or 'none'}.\n"
    )
    sys.exit(1 if problems else 0)


def tell(line: str) -> None:
    print(line)  # noqa: T201 - this is what people run it for


if __name__ == "__main__":
    main()
