"""Say what is wrong with this installation, and what to do.

Nothing is changed; but with --signature a signed request goes out to PUBLIC_URL.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing

from cli.doctor_clocks import compare_clocks
from cli.doctor_database import examine_database
from cli.doctor_signature import examine_signature
from cli.findings import Finding, others_can_read, problem
from core.clock import utc_now
from core.console import tell
from core.settings import MAKE_A_KEY, SHIPPED, STAND_IN, Settings
from db.engine import open_database
from storage.end_cache import RedisCache


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--signature", action="store_true", help="send a signed request through PUBLIC_URL"
    )


def run(options: Namespace, settings: Settings) -> int:
    problems = 0
    for finding in examine(settings, options.signature):
        mark = "PROBLEM" if finding.is_problem else "advice" if finding.advice else "ok"
        tell(f"{mark:8}{finding.subject:10} {finding.text}")
        if finding.advice:
            tell(f"{'':19}{finding.advice}")
        problems += finding.is_problem
    tell(f"Problems: {problems or 'none'}.")
    return 1 if problems else 0


def examine(settings: Settings, ask_public_url: bool) -> Iterator[Finding]:
    """Check one thing after the other, as far as the results before allow it."""
    yield from _examine_settings(settings)
    with closing(open_database(settings.database_url)) as database:
        yield from examine_database(database, settings.database_url)
    yield from _examine_store(settings)
    yield from examine_signature(settings, ask_public_url)


def _examine_settings(settings: Settings) -> Iterator[Finding]:
    file = settings.file
    read_from = file.name if file else "the process environment alone"
    yield Finding("settings", f"{settings.environment}, read from {read_from}")
    if file is not None and file.name != SHIPPED and others_can_read(file):
        others = f"{file.name} can be read by other users of this machine"
        yield Finding("settings", others, f"chmod 600 {file}")
    if settings.lacks_secret_key:
        yield Finding("settings", STAND_IN, f"Set it to what this prints: {MAKE_A_KEY}")


def _examine_store(settings: Settings) -> Iterator[Finding]:
    kind = settings.conversation_store
    if kind != "redis":
        yield Finding("store", kind)
    else:
        client = RedisCache(settings.redis_url or "")
        try:
            before = utc_now()
            theirs = client.ask_time()
            yield Finding("store", "redis answers")
            yield compare_clocks("Redis", theirs, before, utc_now())
        except ConnectionError as error:
            yield problem(
                "store",
                f"redis can't be used: {error}",
                "Is it running, is REDIS_URL right? Until then the message log is used instead.",
            )
        finally:
            client.close()
