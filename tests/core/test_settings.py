"""Which file is read, what is refused, and that every problem is named at once."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.paths import ROOT
from core.settings import Settings, SettingsError, local_environ

SAFE = {
    "DATABASE_URL": "sqlite:///./safe.db",
    "TWILIO_AUTH_TOKEN": "token-in-the-process",
    "PUBLIC_URL": "https://reviews.example.com",
    "API_KEY": "a key of enough characters",
}
"""What production insists on, as the process environment may have it."""

NAMES = {name.upper() for name in Settings.model_fields} - {"FILE"}


def local(**values: str) -> Settings:
    return Settings.model_validate(
        {"environment": "local", "database_url": "sqlite:///./test.db", **values}
    )


def production(**values: str) -> Settings:
    """Read a production's settings from the process environment alone."""
    given = {name.upper(): value for name, value in values.items()}
    return Settings.load({"ENVIRONMENT": "production", **SAFE, **given}, ROOT / "tests")


def refusal(**values: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        local(**values)
    return caught.value


def write_files(folder: Path, **says: str) -> None:
    """Write `.env` and `.env.local`; each says "" or an ENVIRONMENT, and "-" is no such file."""
    for name, environment in ((".env", says["own"]), (".env.local", says["shipped"])):
        if environment != "-":
            line = f"ENVIRONMENT={environment}\n" if environment else ""
            folder.joinpath(name).write_text(f"{line}TWILIO_ACCOUNT_SID=from {name}\n")


@pytest.mark.parametrize(
    ("process", "own", "shipped", "file", "environment"),
    [
        # ENVIRONMENT in the process, in .env and in .env.local
        ("-", "production", "local", ".env", "production"),
        ("-", "local", "local", ".env", "local"),
        ("-", "", "local", ".env", "production"),
        ("-", "-", "local", ".env.local", "local"),
        ("-", "-", "", ".env.local", "local"),
        ("-", "-", "production", ".env.local", "production"),
        ("-", "-", "-", None, "production"),
        ("local", "local", "local", ".env", "local"),
        ("local", "-", "local", ".env.local", "local"),
        ("local", "local", "-", ".env", "local"),
        ("local", "-", "-", None, "local"),
        ("production", "production", "local", ".env", "production"),
        ("production", "local", "local", ".env", "production"),
        ("production", "", "local", ".env", "production"),
        # Production must not get the shipped file's database because its own file is missing.
        ("production", "-", "local", None, "production"),
        ("production", "-", "-", None, "production"),
        # Empty means unset, and hides what the file says.
        ("", "production", "local", ".env", "production"),
        ("", "local", "local", ".env", "production"),
        ("", "-", "local", ".env.local", "local"),
    ],
)
def test_one_file_is_read(
    tmp_path: Path, process: str, own: str, shipped: str, file: str | None, environment: str
) -> None:
    write_files(tmp_path, own=own, shipped=shipped)
    environ = SAFE if process == "-" else {**SAFE, "ENVIRONMENT": process}
    settings = Settings.load(environ, tmp_path)
    assert settings.environment == environment
    assert settings.file == (tmp_path / file if file else None)
    assert settings.twilio_account_sid == (f"from {file}" if file else None)


@pytest.mark.parametrize("name", ["another.env", ".env.local"])
@pytest.mark.parametrize("environment", ["-", "production"])
def test_the_file_that_env_file_names_is_read_before_all(
    tmp_path: Path, name: str, environment: str
) -> None:
    write_files(tmp_path, own="production", shipped="local")
    tmp_path.joinpath("another.env").write_text(f"TWILIO_ACCOUNT_SID=from {name}\n")
    environ = SAFE if environment == "-" else {**SAFE, "ENVIRONMENT": environment}
    for named in (name, str(tmp_path / name)):
        settings = Settings.load({**environ, "ENV_FILE": named}, tmp_path)
        assert settings.file == tmp_path / name
        assert settings.twilio_account_sid == f"from {name}"


def test_a_named_file_that_is_missing_is_not_passed_over(tmp_path: Path) -> None:
    write_files(tmp_path, own="local", shipped="local")
    with pytest.raises(SettingsError, match=r"none\.env can't be read: No such file"):
        Settings.load({**SAFE, "ENV_FILE": "none.env"}, tmp_path)


@pytest.mark.parametrize("own", ["production", ""])
def test_the_process_cannot_make_a_file_for_production_local(tmp_path: Path, own: str) -> None:
    """Else its data would be open to everybody who reaches the server."""
    write_files(tmp_path, own=own, shipped="local")
    with pytest.raises(SettingsError, match=r"ENVIRONMENT is local, but \.env is for production"):
        Settings.load({**SAFE, "ENVIRONMENT": "local"}, tmp_path)


@pytest.mark.parametrize(
    ("own", "file"),
    [("production", ".env.local"), ("", ".env.local"), ("-", ".env.local"), ("local", ".env")],
)
@pytest.mark.parametrize("process", ["-", "local", "production"])
def test_a_local_start_passes_over_a_file_for_production(
    tmp_path: Path, process: str, own: str, file: str
) -> None:
    write_files(tmp_path, own=own, shipped="local")
    environ = SAFE if process == "-" else {**SAFE, "ENVIRONMENT": process}
    settings = Settings.load(local_environ(environ, tmp_path), tmp_path)
    assert (settings.environment, settings.file) == ("local", tmp_path / file)


def test_a_local_start_goes_by_the_file_that_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, own="production", shipped="local")
    environ = local_environ({**SAFE, "ENV_FILE": ".env"}, tmp_path)
    with pytest.raises(SettingsError, match="is for production"):
        Settings.load(environ, tmp_path)


def test_the_process_environment_wins_over_the_file(tmp_path: Path) -> None:
    tmp_path.joinpath(".env.local").write_text(
        "DATABASE_URL=sqlite:///./file.db\nLOG_LEVEL=ERROR\n"
    )
    settings = Settings.load({"DATABASE_URL": "sqlite:///./process.db"}, tmp_path)
    assert settings.database_url == "sqlite:///./process.db"
    assert settings.log_level == "ERROR"


def test_an_empty_value_in_the_process_hides_the_one_in_the_file(tmp_path: Path) -> None:
    tmp_path.joinpath(".env").write_text(
        "".join(f"{name}={value}\n" for name, value in SAFE.items())
    )
    assert Settings.load({}, tmp_path).api_key == SAFE["API_KEY"]
    with pytest.raises(SettingsError, match="API_KEY must have 16"):
        Settings.load({"API_KEY": ""}, tmp_path)


def test_an_empty_value_in_the_file_means_unset(tmp_path: Path) -> None:
    tmp_path.joinpath(".env.local").write_text(
        "DATABASE_URL=sqlite:///./test.db\nAPI_KEY=\nPUBLIC_URL=\nCONVERSATION_TTL_HOURS=\n"
    )
    settings = Settings.load({}, tmp_path)
    assert (settings.api_key, settings.public_url) == (None, None)
    assert settings.conversation_ttl_hours == 24


def test_a_file_is_taken_literally_whatever_editor_wrote_it(tmp_path: Path) -> None:
    password = "p$HOME${HOME}#1"
    tmp_path.joinpath(".env.local").write_bytes(
        f"\ufeffDATABASE_URL=postgresql://user:{password}@host/name\r\nLOG_LEVEL=debug\r\n".encode()
    )
    settings = Settings.load({}, tmp_path)
    assert settings.database_url == f"postgresql://user:{password}@host/name"
    assert settings.log_level == "DEBUG"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath(".env").write_bytes(b"API_KEY=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env is not a text file in UTF-8"):
        Settings.load({}, tmp_path)


@pytest.mark.parametrize("environment", ["", "local", "production"])
@pytest.mark.parametrize("make", [lambda file: file.symlink_to("gone"), Path.mkdir])
def test_a_file_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, make: Callable[[Path], None], environment: str
) -> None:
    """Else a secret that is not there yet would make a server for everybody of a production one."""
    shutil.copy(ROOT / ".env.local", tmp_path)
    make(tmp_path / ".env")
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        Settings.load({"ENVIRONMENT": environment}, tmp_path)
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        local_environ({"ENVIRONMENT": environment}, tmp_path)


@pytest.mark.parametrize("word", ["prod", "LOCAL", "test", "dev"])
def test_an_unknown_environment_is_named_and_not_guessed(tmp_path: Path, word: str) -> None:
    shutil.copy(ROOT / ".env.local", tmp_path)
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ENVIRONMENT": word}, tmp_path)
    assert [problem.split()[0] for problem in caught.value.problems] == ["ENVIRONMENT"]
    assert "'local' or 'production'" in str(caught.value)


def test_production_names_every_problem_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.model_validate({"cors_origins": "*", "conversation_ttl_hours": "NaN"})
    named = {problem.split()[0].partition("=")[0] for problem in caught.value.problems}
    assert named == {*SAFE, "CORS_ORIGINS", "CONVERSATION_TTL_HOURS"}
    assert all(problem in str(caught.value) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_AUTH_TOKEN", ""),
        ("TWILIO_AUTH_TOKEN", ","),
        ("TWILIO_AUTH_TOKEN", " , "),
        ("PUBLIC_URL", ""),
        ("PUBLIC_URL", "http://reviews.example.com"),
        ("API_KEY", ""),
        ("API_KEY", "k" * 15),
        ("API_KEY", "к" * 16),
        ("API_KEY", "k" * 16 + " "),
        ("SECRET_KEY", "s" * 31),
        ("SECRET_KEY", "s" * 31 + "," + "t" * 32),
        ("SECRET_KEY", "s" * 32 + "," + "t" * 15),
        ("SECRET_KEY", "к" * 32),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example, *"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "a.example"),
        ("CORS_ORIGINS", "https://a.example/page"),
    ],
)
def test_production_refuses_what_is_unsafe(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        production(**{name.lower(): value})
    [problem] = caught.value.problems
    assert problem.startswith(name)


def test_production_starts_with_what_is_safe() -> None:
    assert production().conversation_store == "database"
    assert production(conversation_store="memory").conversation_store == "memory"
    assert production(api_key="k" * 16, cors_origins="https://a.example").api_key == "k" * 16


def test_production_refuses_one_key_that_both_opens_and_seals() -> None:
    with pytest.raises(SettingsError) as caught:
        production(api_key="k" * 32, secret_key="k" * 32)
    assert caught.value.problems == ["SECRET_KEY must not begin with API_KEY, which programs know"]
    assert (
        production(api_key="k" * 32, secret_key="s" * 32 + "," + "k" * 32).lacks_secret_key is False
    )


def test_the_advice_on_a_short_secret_key_makes_one_that_is_long_enough() -> None:
    with pytest.raises(SettingsError) as caught:
        production(secret_key="short")
    [problem] = caught.value.problems
    advised = problem.partition("makes one: ")[2]
    words = [sys.executable, *shlex.split(advised)[1:]]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert production(secret_key=made).secret_key == (made,)


def test_without_a_secret_key_the_api_key_stands_in() -> None:
    for settings in (production(), production(secret_key=" , ")):
        assert settings.lacks_secret_key
        assert settings.cookie_keys == (SAFE["API_KEY"],)
        assert settings.pseudonym_keys == (SAFE["API_KEY"], "")
    assert not local().lacks_secret_key
    assert (local().cookie_keys, local().pseudonym_keys) == ((), ("",))


def test_the_first_secret_key_seals_and_all_keys_of_before_are_recognised() -> None:
    new, old = "n" * 32, "o" * 16
    settings = production(secret_key=f"{new}, {old}")
    assert settings.cookie_keys == (new, old)
    assert settings.pseudonym_keys == (new, old, SAFE["API_KEY"], "")


def test_reviews_are_shown_to_every_page_nowhere() -> None:
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS \* would show the reviews to every web"):
        local(cors_origins="*")


def test_a_local_environment_needs_a_database_only() -> None:
    assert local().conversation_store == "memory"
    with pytest.raises(SettingsError) as caught:
        Settings.model_validate({"environment": "local"})
    assert caught.value.problems == ["DATABASE_URL is not set"]


@pytest.mark.parametrize(
    ("own", "place"), [("ENVIRONMENT=production", ".env and the process"), (None, "the process")]
)
def test_a_refusal_names_the_file_and_the_command_that_runs_locally(
    tmp_path: Path, own: str | None, place: str
) -> None:
    if own:
        tmp_path.joinpath(".env").write_text(own)
    with pytest.raises(SettingsError) as caught:
        Settings.load({}, tmp_path)
    assert f"(read from {place} environment)" in str(caught.value)
    assert "python3 run.py" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example//", "https://a.example"),
        ("https://a.example/bot/", "https://a.example/bot"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("https://a.example#rc=5", "https://a.example"),
        ("https://a.example/bot/#rc=5&rp=all", "https://a.example/bot"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("HTTPS://a.example", "https://a.example"),
    ],
)
def test_a_public_url_is_cut_to_scheme_host_and_prefix(given: str, meant: str) -> None:
    assert local(public_url=given).public_url == meant


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://a.example/webhook", "without /webhook at its end"),
        ("https://a.example/bot/webhook/", "without /webhook at its end"),
        ("https://a.example/webhook#rc=5", "without /webhook at its end"),
        ("https://my_bot.example", "underscore"),
        ("https://a.example/?x=1", "scheme, host and optional prefix"),
        ("https://a.example/?", "scheme, host and optional prefix"),
        ("a.example", "scheme, host and optional prefix"),
        ("ftp://a.example", "scheme, host and optional prefix"),
        ("https://", "scheme, host and optional prefix"),
        ("https://a.example:port", "is not a URL"),
        ("https://a.example:99999", "is not a URL"),
        ("https://[a.example", "is not a URL"),
    ],
)
def test_a_public_url_that_twilio_cannot_call_is_named(url: str, why: str) -> None:
    [problem] = refusal(public_url=url).problems
    assert problem.startswith("PUBLIC_URL ")
    assert why in problem


def test_several_tokens_count_while_one_replaces_another() -> None:
    assert local(twilio_auth_token="new, old,,").twilio_auth_token == ("new", "old")
    assert local(twilio_auth_token="only").twilio_auth_token == ("only",)


@pytest.mark.parametrize(("hours", "seconds"), [("24", 86400), ("0.5", 1800), ("8760", 31536000)])
def test_conversations_end_after_hours_and_fractions_of_them(hours: str, seconds: int) -> None:
    assert local(conversation_ttl_hours=hours).conversation_ttl.total_seconds() == seconds


@pytest.mark.parametrize("hours", ["0", "-1", "NaN", "inf", "-inf", "1e9", "a day"])
def test_hours_that_are_none_are_named(hours: str) -> None:
    [problem] = refusal(conversation_ttl_hours=hours).problems
    assert problem.startswith("CONVERSATION_TTL_HOURS")


@pytest.mark.parametrize(
    "url", ["postgres://u:p@host/name", "postgresql://host/name", "sqlite:///./test.db"]
)
def test_a_database_url_is_kept_as_it_is(url: str) -> None:
    assert local(database_url=url).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite://", "sqlite:///", "sqlite:///:memory:"),
        *("mysql://u:p4ssw0rd@host/name", "redis://:p4ssw0rd@host", "postgresql+nothing"),
        *("p4ssw0rd", "/var/lib/p4ssw0rd.db", "postgresql://u:p4ssw0rd@host:port/name"),
        *("sqlite:////tmp/p4ssw0rd%00.db", "postgresql://u:p4ssw0rd%00@host/name"),
    ],
)
def test_a_database_url_that_keeps_nothing_is_named_and_not_quoted(url: str) -> None:
    error = refusal(database_url=url)
    [problem] = error.problems
    assert problem.startswith("DATABASE_URL ")
    assert "p4ssw0rd" not in str(error)


@pytest.mark.parametrize("setting", ["conversation_store", "log_level"])
def test_an_unknown_word_is_named_with_the_known_ones(setting: str) -> None:
    [problem] = refusal(**{setting: "nonsense"}).problems
    assert problem.startswith(f"{setting.upper()} must be '")


def test_secrets_are_never_in_what_settings_print() -> None:
    settings = production(database_url="postgresql://user:p4ssw0rd@host/name", secret_key="s" * 32)
    for secret in ("p4ssw0rd", "s" * 32, SAFE["TWILIO_AUTH_TOKEN"], SAFE["API_KEY"]):
        assert secret not in f"{settings!r} {settings}"


def test_the_example_file_mentions_every_setting_and_nothing_else() -> None:
    text = ROOT.joinpath(".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^#? ?([A-Z][A-Z_]*)=", text, re.M)) == NAMES


def test_the_shipped_file_is_local_with_memory_and_sqlite(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.local", tmp_path)
    settings = Settings.load({}, tmp_path)
    assert (settings.environment, settings.conversation_store) == ("local", "memory")
    assert settings.database_url == "sqlite:///./test.db"
