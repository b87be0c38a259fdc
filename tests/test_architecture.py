"""The rooms and who may enter which: the list of files is the architecture."""

import ast
import importlib.metadata
import sys
from graphlib import TopologicalSorter

import pytest

from tests.servers import ROOT

ALLOWED = {
    "conversation": "",
    "settings": "",
    "models": "",
    "schema": "",
    "database": "logs schema",
    "logs": "",
    "witness": "conversation",
    "simulator": "witness",
    "login_cookie": "",
    "access": "login_cookie",
    "run": "",
    "command": "",
    "reviews": "models database conversation",
    "redis_client": "logs",
    "listing": "models database reviews",
    "csv_export": "",
    "forgetting": "database schema models message_log reviews stores whatsapp settings",
    "retention": "database models message_log",
    "api_filters": "listing reviews whatsapp",
    "api_answers": "csv_export listing reviews whatsapp services",
    "message_log": "models database conversation",
    "reconciling": "conversation message_log models",
    "only_process": "database schema",
    "entry": "conversation",
    "waiting_room": "conversation entry",
    "stores": "models database conversation only_process reconciling redis_client",
    "recorder": "conversation database stores reviews message_log reconciling entry waiting_room",
    "collector": "conversation database schema stores recorder entry waiting_room",
    "replayed": "conversation message_log reviews",
    "whole_log": "models replayed reviews whatsapp",
    "foundations": "database models",
    "checker": "models database schema foundations message_log replayed settings whatsapp whole_log"
    " witness",
    "signature": "",
    "forms": "",
    "whatsapp": "conversation forms signature",
    "services": "database schema stores collector whatsapp",
    "webhooks": "access database reviews entry whatsapp services",
    "api": "api_answers api_filters csv_export forgetting listing message_log"
    " whatsapp access services",
    "api_docs": "access settings",
    "delivery": "reviews whatsapp",
    "pages": "access delivery settings",
    "login": "access forms login_cookie pages services",
    "funnel": "database listing models",
    "live": "access api_filters database listing pages services",
    "dashboard": "access api api_filters database forgetting funnel listing message_log pages"
    " reviews services whatsapp",
    "phone": "access conversation database pages phone_records services settings simulator"
    " whatsapp",
    "phone_records": "conversation models stores",
    "main": "settings database stores collector retention whatsapp access services"
    " webhooks api api_docs login dashboard live phone",
    "backup": "checker database foundations schema settings",
    "doctor": "csv_export database message_log models redis_client schema settings simulator"
    " whatsapp",
    "terminal": "conversation settings simulator whatsapp witness",
}
"""What each room may import of ours; `logs` is open to all but those that import nothing."""

STANDARD_LIBRARY_ONLY = ["conversation", "run", "command"]


def imports_of(room: str) -> set[str]:
    """Read the top-level names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(ROOT.joinpath(f"{room}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "our rooms are no package"
            names.add((node.module or "").partition(".")[0])
    return names


def test_every_room_is_in_the_table() -> None:
    assert {file.stem for file in ROOT.glob("*.py")} == set(ALLOWED)


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
