"""Requests that schemathesis makes up from our own description, once per role: no server error, answers as described.

READVAULT_SCHEMATHESIS_EXAMPLES sets how many are made up for each operation, role and way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from tests.integration.api.matrix.scene import Scene

EXAMPLES = int(os.environ.get("READVAULT_SCHEMATHESIS_EXAMPLES", "1"))
ROLES = ("anonymous", "same_group", "pipeline", "maintainer")
CHECKS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
WAYS = {
    "on what there is": (GenerationMode.POSITIVE, True),
    "on anything": (GenerationMode.POSITIVE, False),
    "against the description": (GenerationMode.NEGATIVE, False),
}

CELLS = [
    (role, way)
    for role in ROLES
    for way in WAYS
    # A maintainer gets furthest; who may at all is the access matrix' matter.
    if EXAMPLES >= 10 or way == "on what there is" or (role, way) == ("maintainer", "against the description")
]


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """What is made up for a stream of lines."""
    if isinstance(value, bytes | str):
        return value.encode() if isinstance(value, str) else value
    listed = value if isinstance(value, list) else [value]
    return "".join(json.dumps(each) + "\n" for each in listed).encode()


@pytest.mark.slow
@pytest.mark.parametrize(("role", "way"), CELLS)
def test_nothing_made_up_is_a_server_error(role: str, way: str, scene: Scene, client: TestClient) -> None:
    mode, on_what_there_is = WAYS[way]
    faults: list[str] = []
    described = schemathesis.openapi.from_dict(client.get("/api-docs").json())
    asked = 0
    for found in described.get_all_operations():
        operation = found.ok()
        known = {name: value for name, value in scene.values.items() if f"{{{name}}}" in operation.path}
        scene.restore()
        try:
            strategy = operation.as_strategy(
                mode, path_parameters={name: str(value) for name, value in known.items()} if on_what_there_is else None
            )
            ask = _asking(client, scene.headers(role) or {}, _ours(scene) if on_what_there_is else {})
            _given(strategy, ask)
            asked += 1
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing can be wrong about a request without parameters
        except (AssertionError, FailureGroup, ExceptionGroup) as fault:
            faults.append(f"{operation.method.upper()} {operation.path}: {_told(fault)}")
    assert not faults, "\n\n".join(faults)
    assert asked > 10


def _given(strategy: Any, ask: Callable[[Case], None]) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES < 10,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def asked(case: Case) -> None:
        ask(case)

    asked()


def _asking(client: TestClient, headers: dict[str, str], ours: dict[str, Any]) -> Callable[[Case], None]:
    def ask(case: Case) -> None:
        _replace(case.body, ours)
        _replace(case.query, ours)
        try:
            prepared = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
            content = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
            kept = {name: value for name, value in prepared.headers.items() if name.lower() != "authorization"}
            sent = {**kept, **headers}
            request = client.build_request(str(prepared.method), str(prepared.url), headers=sent, content=content)
        except (UnicodeError, ValueError):
            return  # what no client can send
        response = client.send(request)
        case.validate_response(response, checks=CHECKS)

    return ask


def _ours(scene: Scene) -> dict[str, Any]:
    """What a request must name to get anywhere."""
    return {"groupId": scene.group_id, **scene.processed.wire, "fileId": scene.open_file}


def _replace(value: Any, ours: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ours and each is not None:
                value[key] = ours[key]
            else:
                _replace(each, ours)
    elif isinstance(value, list):
        for each in value:
            _replace(each, ours)


def _told(fault: BaseException) -> str:
    if isinstance(fault, BaseExceptionGroup):
        return " | ".join(_told(each) for each in fault.exceptions)
    return f"{type(fault).__name__}: {fault}"[:1500]
