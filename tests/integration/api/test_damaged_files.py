"""While stored bytes are lost or altered, every route that gives the file answers 503 and says when to ask again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import BlockingPortal
from sqlmodel import col, select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.db.tables import Job
from readvault.domain.status import JobState
from readvault.services.entries import damage
from readvault.services.storage.integrity.pinned import pinned_versions
from readvault.web.mounting import add_pages
from tests.integration.api.matrix.cells import Call
from tests.integration.api.matrix.scene import Scene
from tests.integration.api.matrix.web import as_browser
from tests.integration.services import pipeline_scenes
from tests.integration.services.scenes import ORGANISM

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

CURRENT = "/files/get/{accession}/{version}/consensus/consensus.fasta"
STABLE = "/files/released/{accession}/{version}/1/consensus/consensus.fasta"
PAGE = f"/web/organisms/{ORGANISM}/entries/{{accession}}/{{version}}"
REVIEW = f"/{ORGANISM}/review/{{accession}}/{{version}}"
EDIT = f"/{ORGANISM}/get-data-to-edit/{{accession}}/{{version}}"
ORIGINALS = "/admin/entries/{accession}/{version}/originals"
ROUTES: dict[str, tuple[str, str, str, int]] = {
    "current": ("GET", CURRENT, "anonymous", 307),
    "current, head": ("HEAD", CURRENT, "anonymous", 307),
    "stable": ("GET", STABLE, "anonymous", 307),
    "stable, head": ("HEAD", STABLE, "anonymous", 307),
    "review": ("GET", REVIEW, "same_group", 200),
    "page, processed": ("GET", f"{PAGE}/files/{{processed}}", "same_group", 303),
    "page, original": ("GET", f"{PAGE}/files/{{original}}", "same_group", 303),
    "originals": ("POST", ORIGINALS, "maintainer", 200),
}
"""Method, path, caller, and the status while all is well."""


@pytest.fixture(scope="module")
def client(scene: Scene, issuer: EmbeddedIssuer, portal: BlockingPortal) -> TestClient:
    """The API with its pages."""
    identity = Identity(issuer)
    app = add_pages(create_app(scene.house, identity), scene.house, identity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
    opened = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    opened.portal = portal
    return opened


@pytest.fixture(autouse=True)
def whole(scene: Scene) -> Iterator[None]:
    """Everything is well before and after."""
    scene.restore()
    yield
    scene.restore()


def _note(scene: Scene, state: str | None) -> None:
    for each in list(pinned_versions(scene.house)):
        damage.note(scene.house, each.stored, state)


def _ask(client: TestClient, scene: Scene, method: str, path: str, caller: str) -> Any:
    entry = scene.released
    ids = {"processed": entry.processed_file, "original": entry.original_file}
    headers, call = scene.headers(caller), Call(json={"reason": "a patient's question"} if method == "POST" else None)
    assert headers is not None
    if path.startswith("/web"):
        headers, call = as_browser(headers, call)
    return client.request(method, path.format(**entry.wire, **ids), headers=headers, json=call.json)


@pytest.mark.parametrize("route", ROUTES)
def test_damaged_files_are_given_to_nobody(client: TestClient, scene: Scene, route: str) -> None:
    method, path, caller, well = ROUTES[route]
    assert _ask(client, scene, method, path, caller).status_code == well
    _note(scene, damage.OTHER_BYTES)
    answer = _ask(client, scene, method, path, caller)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert "memory://" not in answer.text + str(answer.headers)
    assert method == "HEAD" or "being restored" in answer.text
    _note(scene, None)
    assert _ask(client, scene, method, path, caller).status_code == well


@pytest.mark.parametrize("path", [PAGE, f"/{ORGANISM}/get-released-data"])
def test_what_gives_no_file_goes_on(client: TestClient, scene: Scene, path: str) -> None:
    _note(scene, damage.MISSING)
    assert _ask(client, scene, "GET", path, "same_group").status_code == 200


def test_an_external_pipeline_gets_what_is_whole(client: TestClient, scene: Scene) -> None:
    """An entry with a damaged original is left out of the answer; its job waits for the repair."""
    pipeline_scenes.attach(scene.house)
    well = pipeline_scenes.received(scene.house, scene.group_id, "LOC_90001")
    harmed = pipeline_scenes.received(scene.house, scene.group_id, "LOC_90002", files=(b"other reads",))
    keys = [each for each in pinned_versions(scene.house) if scene.store.read(each.stored) == b"other reads"]
    damage.note(scene.house, keys[0].stored, damage.MISSING)
    answer = client.post(
        f"/{ORGANISM}/extract-unprocessed-data",
        data={"numberOfSequenceEntries": "10", "pipelineVersion": "1"},
        headers=scene.headers("pipeline"),
    )
    assert answer.status_code == 200
    assert well.accession in answer.text
    assert harmed.accession not in answer.text
    with scene.house.sessions.read() as session:
        jobs = session.exec(select(Job).where(col(Job.accession) == harmed.accession)).all()
    assert [(each.state, damage.IS_DAMAGED in (each.last_error or "")) for each in jobs] == [
        (JobState.NEEDS_ATTENTION, True)
    ]
