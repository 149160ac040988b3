"""Every route × every kind of caller: the code that its row says, and no canary of a foreign group.

The rows stand in matrix/; its docstring says how to add one.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.web.mounting import add_pages
from tests.conftest import MigratedDatabases
from tests.integration.api import matrix
from tests.integration.api.matrix import scene as scenes
from tests.integration.api.matrix.cells import CALLERS, Call, Row
from tests.integration.api.matrix.scene import Scene
from tests.integration.api.matrix.web import as_browser

MODULES = [
    importlib.import_module(f"{matrix.__name__}.{module.name}") for module in pkgutil.iter_modules(matrix.__path__)
]
ROWS: list[Row] = [row for module in MODULES for row in getattr(module, "ROWS", [])]
CELLS = [pytest.param(row, caller, id=f"{row} {caller}") for row in ROWS for caller in CALLERS]
OF_OURS = ("same_group", "small_token")
"""Callers who are members of group A."""


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, migrated_databases: MigratedDatabases, issuer: EmbeddedIssuer
) -> Iterator[Scene]:
    made = scenes.build(tmp_path_factory.mktemp("matrix"), migrated_databases.sqlite(), issuer)
    yield made
    made.house.sessions.close()


@pytest.fixture(scope="module")
def app(built: Scene, issuer: EmbeddedIssuer) -> FastAPI:
    identity = Identity(issuer)
    return add_pages(create_app(built.house, identity), built.house, identity)


@pytest.fixture
def scene(built: Scene) -> Scene:
    """The scene as new."""
    built.restore()
    return built


@pytest.fixture(scope="module")
def client(app: FastAPI, portal: BlockingPortal) -> TestClient:
    opened = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    opened.portal = portal
    return opened


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that the app answers, described or not; HEAD of a GET that nobody asked for isn't one."""
    found: set[tuple[str, str]] = set()
    for route in iter_route_contexts(app.routes):
        assert route.path is not None, f"what {route.name} answers can't be seen by the matrix"
        assert route.methods, route.path
        described = isinstance(route.original_route, APIRoute)
        found |= {(method, route.path) for method in route.methods if described or method != "HEAD"}
    return found


def test_every_route_has_a_row(app: FastAPI) -> None:
    missing = routes(app) - {(row.method, row.path) for row in ROWS}
    assert not missing, f"routes without a row in tests/integration/api/matrix: {sorted(missing)}"


def test_every_row_has_a_route_and_its_own_name(app: FastAPI) -> None:
    assert {(row.method, row.path) for row in ROWS} <= routes(app)
    assert len({str(row) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("row", "caller"), CELLS)
def test_cell(row: Row, caller: str, scene: Scene, client: TestClient) -> None:
    headers = scene.headers(caller)
    if headers is None:
        pytest.skip("there are no machine tokens yet")
    row.prepare(scene)
    call = row.make(scene)
    if row.path.startswith("/web"):
        headers, call = as_browser(headers, call)
    response = client.request(
        row.method,
        _filled(row.path, {**scene.values, **call.path}),
        params=call.params,
        json=call.json,
        data=call.data,
        files=call.files,
        content=call.content,
        headers={**headers, **call.headers},
    )
    told = f"{response.status_code} {dict(response.headers)} {response.text[:2000]}"
    assert response.status_code == row.expected[caller], told
    answered = _readable(response)
    leaked = {secret for secret in _secrets(scene, row, caller) - _sent(row, scene, call) if secret in answered}
    assert not leaked, f"{caller} reads {leaked} in {told}"


def _secrets(scene: Scene, row: Row, caller: str) -> set[str]:
    """What this caller must not see."""
    ours, theirs = scene.ours.canaries, scene.theirs.canaries
    if caller in OF_OURS:
        return theirs.private | theirs.originals
    if caller == "other_group":
        return set() if caller in row.shows else ours.private | ours.originals
    hidden: set[str] = set()
    if caller not in row.opens_originals:
        hidden |= ours.originals | theirs.originals
    if caller != "maintainer" and caller not in row.shows:
        hidden |= ours.private | theirs.private
    return hidden


def _sent(row: Row, scene: Scene, call: Call) -> set[str]:
    """What the caller said first."""
    said = _filled(row.path, {**scene.values, **call.path}) + json.dumps(
        [call.params, call.json, call.data, dict(call.headers)], default=str
    )
    said += (call.content or b"").decode(errors="replace")
    said += "".join(str(part) for part in (call.files or {}).values())
    return {word for word in scene.ours.canaries.private | scene.theirs.canaries.private if word in said}


def _readable(response: Any) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
    return f"{headers}\n{_body_of(response)}"


def _body_of(response: Any) -> str:
    if response.content[:4] == b"PK\x03\x04":
        import io
        import zipfile

        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            return "\n".join(f"{name}\n{archive.read(name).decode()}" for name in archive.namelist())
    return str(response.text)


def _filled(path: str, values: Any) -> str:
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: str(values[match[1]]), path)


def test_the_canaries_are_there_to_be_found(scene: Scene, client: TestClient) -> None:
    """Else no cell could ever find a leak."""
    found: set[str] = set()
    headers = scene.headers("same_group")
    for placed in (scene.received, scene.processed, scene.released):
        path = f"/{scenes.scenes.ORGANISM}/review/{placed.name.accession}/{placed.name.version}"
        answered = _readable(client.get(path, headers=headers))
        found |= {word for word in scene.ours.canaries.private | scene.ours.canaries.originals if word in answered}
    assert found >= scene.ours.canaries.originals
    assert len(found) >= 10 + len(scene.ours.canaries.originals)


def test_a_cell_starts_with_the_scene_as_it_was(scene: Scene, client: TestClient) -> None:
    headers = scene.headers("same_group")

    def state() -> Any:
        return client.get(f"/files/{scene.open_file}", headers=headers).json()["state"]

    before = state()
    client.delete(f"/files/{scene.open_file}", headers=headers)
    assert state() != before
    scene.restore()
    assert state() == before
