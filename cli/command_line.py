"""The command line: one parser for all words, and what has to be done before each of them."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from cli import backup, chat, check_data, demo, doctor, erase, restore, serve
from cli.command_error import CommandError
from core.logs import describe
from core.settings import Settings, SettingsError, local_environ
from db.engine import name_of, open_database
from db.errors import TRANSIENT_ERRORS, StartupError
from db.schema import SCHEMA_VERSION, schema_version


class Command(Protocol):
    """What a command's module has. `run` returns the exit code, and may raise CommandError."""

    def add_arguments(self, parser: ArgumentParser, /) -> None: ...

    def run(self, options: Namespace, settings: Settings, /) -> int: ...


COMMANDS: dict[str, Command] = {
    "serve": serve,
    "chat": chat,
    "demo": demo,
    "doctor": doctor,
    "check-data": check_data,
    "erase": erase,
    "backup": backup,
    "restore": restore,
}

NEED_OUR_SCHEMA = {"check-data", "erase"}


def main(words: Sequence[str]) -> int:
    """Run the command that `words` name and return its exit code.

    Exits with a sentence where settings or database don't allow it.
    """
    options = _parse(words)
    place = ""
    try:
        settings = _load_settings(options.word)
        place = name_of(settings.database_url)
        if options.word in NEED_OUR_SCHEMA:
            _require_our_schema(settings, place)
        return COMMANDS[options.word].run(options, settings)
    except (SettingsError, CommandError) as error:
        sys.exit(str(error))
    except (StartupError, SQLAlchemyError, *TRANSIENT_ERRORS) as error:
        sys.exit(f"{options.word} failed on {place}: {describe(error)}")


def _parse(words: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="run.py")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="the folder that names of files start from"
    )
    subparsers = parser.add_subparsers(dest="word", metavar="WORD", required=True)
    for word, command in COMMANDS.items():
        about = command.__doc__ or ""
        command.add_arguments(
            subparsers.add_parser(word, help=about.partition("\n")[0], description=about)
        )
    options = parser.parse_args(words)
    folder = options.folder
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, folder / value)
    return options


def _load_settings(word: str) -> Settings:
    """Load the settings: those of `python3 run.py` for it and for what talks to it by default."""
    is_chosen = os.environ.get("ENVIRONMENT") == "production" or os.environ.get("ENV_FILE")
    if word == "serve" or (word in {"chat", "demo"} and not is_chosen):
        os.environ.update(local_environ(os.environ))  # for the server's own processes, too
    return Settings.load()


def _require_our_schema(settings: Settings, place: str) -> None:
    with closing(open_database(settings.database_url)) as database:
        version = schema_version(database.engine)
    if version != SCHEMA_VERSION:
        raise CommandError(
            f"{place} has schema {version or 'none'}, and this program needs {SCHEMA_VERSION}."
            " Start the service to update an older one; for a newer one, install the newer program."
        )
