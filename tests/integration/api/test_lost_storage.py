"""Requests that lose the storage on the way, at each thing that they ask of it: 503, nothing half done, and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, inspect, select, table
from sqlmodel import col

from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.errors import StoreUnavailable
from readvault.services.house import House
from tests.integration.api.matrix.cells import Row
from tests.integration.api.matrix.scene import Scene
from tests.integration.api.problems import assert_problem
from tests.integration.api.test_access_matrix import ROWS, _filled

ASKED = {
    "POST /admin/entries/{accession}/{version}/originals": "maintainer",
    "POST /admin/erasures": "maintainer",
    "POST /files/request-uploads (with a key)": "same_group",
    "POST /files/request-multipart-upload": "same_group",
    "GET /files/{file_id}": "same_group",
    "GET /files/get/{accession}/{version}/{category}/{name} (unreleased)": "same_group",
    "POST /{organism}/submit": "same_group",
    "POST /{organism}/revise (with a new file)": "same_group",
}
"""Who asks for what of the access matrix: requests that ask the storage for something, of every kind."""
FAILING = (1, 2)
"""At which question of a request; the first one must be asked."""
WRITTEN_FIRST = {"audit_log", "file_access"}
"""Who opens what is written down before the first URL is signed."""
GIVEN_BACK = {"upload_usage", "uploaded_file"}
"""What nobody got an answer about is expired, not deleted: S3 may have begun it."""
ROWS_BY_NAME = {str(row): row for row in ROWS}


def ask(client: TestClient, scene: Scene, row: Row, caller: str) -> Any:
    headers: Any = scene.headers(caller)
    call = row.make(scene)
    return client.request(
        row.method,
        _filled(row.path, {**scene.values, **call.path}),
        params=call.params,
        json=call.json,
        data=call.data,
        files=call.files,
        content=call.content,
        headers={**headers, **call.headers},
    )


def rows_in(house: House) -> dict[str, int]:
    """How many rows each table has that a request may not leave half done, and how many uploads are open."""
    names = set(inspect(house.sessions.engine).get_table_names()) - WRITTEN_FIRST - GIVEN_BACK
    unsealed = select(func.count()).select_from(UploadedFile).where(col(UploadedFile.sealed_at).is_(None))
    with house.sessions.read() as session:
        counts = {name: session.execute(select(func.count()).select_from(table(name))).scalar_one() for name in names}
        counts["open uploads"] = session.execute(
            unsealed.where(col(UploadedFile.expires_at) > clock.now())
        ).scalar_one()
        return counts


@pytest.mark.parametrize("name", ASKED)
def test_a_request_that_loses_the_storage_is_told_to_come_again_and_then_does_it_all(
    scene: Scene, client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    row, caller = ROWS_BY_NAME[name], ASKED[name]
    for failing in FAILING:
        scene.restore()
        row.prepare(scene)
        before, asked = rows_in(scene.house), iter(range(1, 100))
        came: list[int] = []

        def call(step: str, asked: Iterator[int] = asked, failing: int = failing, came: list[int] = came) -> None:
            if next(asked) == failing:
                came.append(failing)
                raise StoreUnavailable(step, "secret-canary is out of reach")

        with monkeypatch.context() as broken:
            broken.setattr(scene.store, "_call", call)
            answer = ask(client, scene, row, caller)
        if not came:
            assert failing > 1, "it asks the storage for nothing"
            return
        assert "secret-canary" not in assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert rows_in(scene.house) == before
        assert ask(client, scene, row, caller).status_code == row.expected[caller]
