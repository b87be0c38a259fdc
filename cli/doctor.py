"""Say what is wrong with this installation, and what to do: `python3 run.py doctor`.

Nothing is changed; but with --signature a signed request goes out to PUBLIC_URL.
"""

import argparse
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError

from core.clock import utc_now
from core.logs import describe
from core.settings import MAKE_A_KEY, STAND_IN, Settings, SettingsError
from db import schema
from db.engine import Database, name_of, open_database
from db.errors import TRANSIENT_ERRORS, StartupError
from db.schema import SCHEMA_VERSION
from models import LoggedMessage
from simulator.fake_twilio import ACCOUNT_SID, Simulator, new_sid
from storage import message_log
from storage.end_cache import RedisCache
from whatsapp.paths import NO_REVIEW, STATUS_CALLBACK

ENOUGH_BYTES = 200_000_000

ASKING_SECONDS = 15.0

CLOCK_TOLERANCE = timedelta(seconds=1)

REFUSED = (
    "PUBLIC_URL must be what Twilio calls, to the letter, and TWILIO_AUTH_TOKEN what the service"
    " was started with; the proxy must hand on path and query as they come."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and what it is like. `advice` says what to do about it.

    A problem keeps the service from doing its work; advice without one is only good to follow.
    """

    subject: str
    text: str
    advice: str = ""
    is_problem: bool = False


def problem(subject: str, text: str, advice: str) -> Finding:
    return Finding(subject, text, advice, is_problem=True)


def examine(settings: Settings, ask_public_url: bool) -> Iterator[Finding]:
    """Look at everything in turn, as far as that makes sense."""
    yield from _look_at_settings(settings)
    database = open_database(settings.database_url)
    try:
        yield from _look_at_database(database, settings)
    finally:
        database.close()
    yield from _look_at_store(settings)
    yield from _look_at_signature(settings, ask_public_url)


def _look_at_settings(settings: Settings) -> Iterator[Finding]:
    file = settings.file
    read_from = file.name if file else "the process environment alone"
    yield Finding("settings", f"{settings.environment}, read from {read_from}")
    if file is not None and file.name == ".env" and _others_can_read(file):
        yield Finding("settings", ".env can be read by others on this machine", "chmod 600 .env")
    if settings.lacks_secret_key:
        yield Finding("settings", STAND_IN, f"Set it to what this prints: {MAKE_A_KEY}")


def _others_can_read(file: Path) -> bool:
    return sys.platform != "win32" and bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _is_read_only(file: Path) -> bool:
    """Say whether a file is there that this user may not write to; root may, whatever its mode."""
    return file.exists() and not (file.stat().st_mode & stat.S_IWUSR and os.access(file, os.W_OK))


def _look_at_database(database: Database, settings: Settings) -> Iterator[Finding]:
    place = name_of(settings.database_url)
    try:
        if database.file is not None:
            yield from _look_at_file(database.file)
            if not database.file.exists():
                return
        version = schema.schema_version(database.engine)
        yield Finding("database", f"{place} answers")
        schema.require_unicode(database.engine)
        yield from _look_at_schema(database, version)
        if version == SCHEMA_VERSION:
            with database.write() as connection:
                message_log.prove_writable(connection)
            yield Finding("database", "a message can be written")
            yield from _look_at_clock(database)
    except StartupError as error:
        yield problem("database", f"{place} can't be used", str(error))
    except (TypeError, ValueError, DataError) as error:  # put there by hand
        yield problem(
            "database",
            f"{place} has a value that can't be read: {type(error).__name__}",
            "python3 run.py check-data names it.",
        )
    except (OSError, DBAPIError, *TRANSIENT_ERRORS) as error:
        yield problem(
            "database",
            f"{place} can't be used: {describe(error)}",
            "Is it running, is DATABASE_URL right, may this user write there?",
        )


def _look_at_file(file: Path) -> Iterator[Finding]:
    if not file.parent.is_dir():
        yield problem("database", f"there is no folder {file.parent}", "Make it, or DATABASE_URL.")
        return
    if not file.exists():
        yield Finding("database", f"{file} is not there yet: the first start makes it")
    elif _others_can_read(file):
        yield Finding(
            "database", f"{file} can be read by others on this machine", f"chmod 600 {file}"
        )
    for part in filter(_is_read_only, (file, Path(f"{file}-wal"), Path(f"{file}-shm"))):
        yield problem(
            "database",
            f"{part} can't be written to",
            f"Stop the service, give the file to its user, chmod u+w {part}, and start again.",
        )
    free = shutil.disk_usage(file.parent).free
    if free < ENOUGH_BYTES:
        yield problem(
            "database",
            f"{free // 1_000_000} MB are free on its disk",
            "Make room: on a full disk customers are asked to send again, and nothing is recorded.",
        )


def _look_at_schema(database: Database, version: str | None) -> Iterator[Finding]:
    if version == SCHEMA_VERSION:
        yield Finding("schema", f"up to date ({version})")
    elif version is None and not sa.inspect(database.engine).has_table("reviews"):
        yield Finding("schema", "no tables yet: the first start makes them")
    elif version is None and _columns_of_reviews(database) != EARLIER_COLUMNS:
        yield problem(
            "schema",
            "there is a table reviews of another program, with other columns than we know",
            "Rename that table, or use another database.",
        )
    elif version is None or version < SCHEMA_VERSION:
        yield Finding(
            "schema",
            f"{version or 'an earlier program made it'}, this one needs {SCHEMA_VERSION}",
            "The next start brings it up to date; back it up before.",
        )
    else:
        yield problem(
            "schema",
            f"{version}, made by a newer program than this, which knows {SCHEMA_VERSION}",
            "Install the newer program again, or restore the backup made before it.",
        )


EARLIER_COLUMNS = {
    *("id", "contact_number", "user_name", "product_name", "product_review", "status"),
    "created_at",
}
"""The columns of an earlier program's `reviews` table that the first start adopts."""


def _columns_of_reviews(database: Database) -> set[str]:
    return {column["name"] for column in sa.inspect(database.engine).get_columns("reviews")}


def _look_at_clock(database: Database) -> Iterator[Finding]:
    with database.read() as connection:
        before = utc_now()
        if not database.is_sqlite:
            theirs = connection.scalar(sa.text("SELECT clock_timestamp()"))
            yield _compare_clocks("PostgreSQL", theirs, before, utc_now())
        newest = connection.scalar(
            sa.select(sa.func.max(LoggedMessage.received_at)).where(
                LoggedMessage.erased_at.is_(None)
            )
        )
    if newest is not None and newest > utc_now() + CLOCK_TOLERANCE:
        yield problem(
            "clock",
            f"the newest logged message is dated in the future ({newest:%Y-%m-%d %H:%M:%S} UTC)",
            "Set this machine's clock (NTP): it dates reviews and ends idle conversations.",
        )
    elif database.is_sqlite:
        yield Finding("clock", "not behind the newest message in the log")


def _compare_clocks(whose: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    """Compare with a time that was read somewhere between two times of ours."""
    if before - CLOCK_TOLERANCE <= theirs <= after + CLOCK_TOLERANCE:
        return Finding("clock", f"agrees with {whose}'s")
    skew = (theirs - before).total_seconds()
    return problem(
        "clock",
        f"{whose}'s is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
        "Keep both in step (NTP): clocks date reviews and end idle conversations.",
    )


def _look_at_store(settings: Settings) -> Iterator[Finding]:
    kind = settings.conversation_store
    if kind != "redis":
        yield Finding("store", kind)
    else:
        client = RedisCache(settings.redis_url or "")
        try:
            before = utc_now()
            theirs = client.ask_time()
            yield Finding("store", "redis answers")
            yield _compare_clocks("Redis", theirs, before, utc_now())
        except ConnectionError as error:
            yield problem(
                "store",
                f"redis can't be used: {error}",
                "Is it running, is REDIS_URL right? Until then the log of messages stands in.",
            )
        finally:
            client.close()


def _look_at_signature(settings: Settings, ask_public_url: bool) -> Iterator[Finding]:
    if not settings.twilio_auth_token:
        yield Finding(
            "signature",
            "not checked: anyone who reaches /webhook is believed",
            "Set TWILIO_AUTH_TOKEN before anybody else can reach it.",
        )
    elif not ask_public_url:
        yield Finding(
            "signature", "checked; to try it through PUBLIC_URL: python3 run.py doctor --signature"
        )
    elif settings.public_url is None:
        yield problem("signature", "PUBLIC_URL is not set", "Set it to the address Twilio calls.")
    else:
        for number, token in enumerate(settings.twilio_auth_token, start=1):
            found = _try_signature(settings, settings.public_url, f"token {number}", token, 204)
            yield found
            if found.is_problem and found.advice != REFUSED:
                return  # nor would anything else be answered
        yield _try_signature(settings, settings.public_url, "a forged signature", "forged", 403)


def _try_signature(
    settings: Settings, public_url: str, what: str, token: str, expected: int
) -> Finding:
    """Send what changes nothing, a delivery status of no message of ours, as Twilio would."""
    form = {
        "MessageSid": new_sid(),
        "AccountSid": settings.twilio_account_sid or ACCOUNT_SID,
        "MessageStatus": "sent",
    }
    path = f"{STATUS_CALLBACK}?review={NO_REVIEW}"
    parts = urlsplit(public_url)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with httpx.Client(base_url=public_url, timeout=ASKING_SECONDS, trust_env=False) as client:
            response = Simulator(client, token, public_url).post(path, form)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return problem(
            "signature",
            f"{place} can't be reached: {describe(error)}",
            "Is its name known, its certificate valid, the proxy or tunnel running?",
        )
    status = response.status_code
    if status == expected:
        verdict = "believed" if expected == 204 else "refused"
        return Finding("signature", f"{what} is {verdict} at {place}")
    if expected == 403:
        advice = "Whatever answers there checks no signature: it is not this installation."
    elif status == 403:
        advice = REFUSED
    elif response.has_redirect_location:
        where = urljoin(public_url + path, response.headers["location"]).partition("?")[0]
        advice = (
            "Twilio loses its form on the way: set PUBLIC_URL to"
            f" {where.removesuffix(STATUS_CALLBACK)}"
        )
    elif status >= 500:
        advice = "Does the service run behind the proxy, and is its database there?"
    else:
        advice = "Something else answers there: look at host, port and prefix of PUBLIC_URL."
    return problem("signature", f"{what} is answered {status} at {place}", advice)


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py doctor", description=__doc__)
    parser.add_argument(
        "--signature", action="store_true", help="send a signed request through PUBLIC_URL"
    )
    options = parser.parse_args()
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.exit(f"{error}")
    problems = 0
    for finding in examine(settings, options.signature):
        mark = "PROBLEM" if finding.is_problem else "advice" if finding.advice else "ok"
        tell(f"{mark:8}{finding.subject:10} {finding.text}")
        if finding.advice:
            tell(f"{'':19}{finding.advice}")
        problems += finding.is_problem
    tell(f"Problems: {problems or 'none'}.")
    sys.exit(1 if problems else 0)


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is what people run it for


if __name__ == "__main__":
    main()
