"""The modules and what each may import: the list of files is the architecture."""

import ast
import importlib.metadata
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.servers import ROOT

ALLOWED = {
    "conversation": "",
    "settings": "",
    "models": "",
    "schema": "db.utf8_check logs",
    "db": "",
    "db.utf8_check": "",
    "db.sqlite_files": "logs",
    "database": "db.sqlite_files logs schema",
    "logs": "",
    "witness": "conversation",
    "simulator": "witness",
    "login_cookie": "",
    "access": "login_cookie",
    "run": "",
    "command": "",
    "reviews": "models database conversation storage.batch",
    "listing": "models database reviews",
    "csv_export": "",
    "forgetting": "core.pseudonym database schema models message_log reviews settings"
    " storage.contact_state whatsapp",
    "retention": "database models message_log storage.contact_state",
    "api_filters": "listing reviews whatsapp",
    "api_answers": "csv_export listing reviews whatsapp services",
    "message_log": "models database conversation storage.batch",
    "core": "",
    "core.pseudonym": "",
    "storage": "",
    "storage.batch": "conversation",
    "storage.contact_state": "",
    "storage.end_cache": "conversation",
    "entry": "conversation",
    "waiting_room": "conversation entry",
    "recorder": "conversation core.pseudonym database storage.batch storage.contact_state"
    " storage.end_cache reviews message_log entry waiting_room",
    "collector": "conversation database schema reviews storage.end_cache recorder entry"
    " waiting_room",
    "audit": "",
    "audit.conversation_checks": "conversation models",
    "audit.cross_checks": "conversation core.pseudonym models reviews whatsapp",
    "foundations": "database db.utf8_check models",
    "checker": "models database schema foundations settings storage.batch whatsapp witness"
    " audit.conversation_checks audit.cross_checks",
    "signature": "",
    "forms": "",
    "whatsapp": "conversation core.pseudonym forms signature",
    "core.shutdown": "",
    "services": "core.shutdown database schema collector whatsapp",
    "webhooks": "access database reviews entry whatsapp services",
    "api": "api_answers api_filters csv_export forgetting listing message_log"
    " whatsapp access services",
    "api_docs": "access settings",
    "delivery": "reviews whatsapp",
    "pages": "access delivery settings",
    "login": "access forms login_cookie pages services",
    "funnel": "conversation database listing models",
    "live": "access api_filters core.shutdown database listing pages services",
    "dashboard": "access api api_filters database forgetting funnel listing message_log pages"
    " reviews services whatsapp",
    "phone": "access conversation database pages phone_records services settings simulator"
    " whatsapp",
    "phone_records": "conversation database models storage.batch",
    "main": "settings database storage.end_cache collector retention whatsapp access services"
    " core.shutdown webhooks api api_docs login dashboard live phone",
    "backup": "checker database foundations schema settings",
    "doctor": "database message_log models storage.end_cache schema settings simulator whatsapp",
    "terminal": "conversation settings simulator whatsapp witness",
}
"""What each module may import of ours; `logs` is open to all but those that import nothing."""

PACKAGES = ["audit", "core", "db", "storage"]

STANDARD_LIBRARY_ONLY = ["conversation", "run", "command"]


def file_of(room: str) -> Path:
    file = ROOT.joinpath(*room.split(".")).with_suffix(".py")
    return file if file.exists() else file.with_suffix("") / "__init__.py"


def imports_of(room: str) -> set[str]:
    """Read the modules that a file imports, wherever in it: ours by their whole names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file_of(room).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [module if module in ALLOWED else str(node.module) for module in modules]
        else:
            continue
        names |= {module if module in ALLOWED else module.partition(".")[0] for module in modules}
    return names


def test_every_room_is_in_the_table() -> None:
    packages = [file for name in PACKAGES for file in ROOT.joinpath(name).glob("*.py")]
    rooms = {file.stem for file in ROOT.glob("*.py")} | set(PACKAGES)
    rooms |= {f"{file.parent.name}.{file.stem}" for file in packages if file.stem != "__init__"}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    allowed = set(ALLOWED[room].split())
    assert imports_of(room) & set(ALLOWED) <= (allowed | {"logs"} if allowed else allowed)


def test_imports_form_no_circle() -> None:
    rooms = {room: set(allowed.split()) for room, allowed in ALLOWED.items()}
    assert list(TopologicalSorter(rooms).static_order())


@pytest.mark.parametrize("room", STANDARD_LIBRARY_ONLY)
def test_a_pure_room_needs_the_standard_library_only(room: str) -> None:
    assert imports_of(room) <= set(sys.stdlib_module_names)


def test_the_tests_and_migrations_are_imported_by_no_room() -> None:
    assert not [room for room in ALLOWED if imports_of(room) & {"tests", "migrations", "bench"}]


def test_no_file_or_folder_is_named_after_a_package() -> None:
    packages = {*importlib.metadata.packages_distributions(), *sys.stdlib_module_names}
    packages |= {"redis", "alembic", "twilio", "dotenv", "prometheus_client"}
    ours = {file.stem for file in ROOT.glob("*.py")}
    ours |= {folder.parent.name for folder in ROOT.glob("*/*.py")}
    assert ours & packages == set()
