"""Requests made from the API's own description, right and wrong ones, by schemathesis."""

from collections import Counter
from contextlib import suppress
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def operations(client: TestClient) -> list[Any]:
    """List the operations that the app describes."""
    schema: Any = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    return [found.ok() for found in schema.get_all_operations()]


def ask(operation: Any, mode: GenerationMode, count: int, key: dict[str, str]) -> Counter[str]:
    """Send so many requests and count the answers; raises where the description has no such one."""
    counts: Counter[str] = Counter()

    @seed(1)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(headers=key)
        counts[f"answered {response.status_code}"] += 1
        case.validate_response(response, checks=CHECKS)
        assert "Traceback" not in response.text

    send_one_after_another: Any = send
    with suppress(Unsatisfiable):  # where there is nothing that could be wrong
        send_one_after_another()
    return counts
