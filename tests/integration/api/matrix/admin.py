"""What maintainers do by hand."""

from __future__ import annotations

from sqlmodel import select

from readvault.db.tables import Job
from readvault.domain.status import JobState
from tests.integration.api.matrix.cells import Call, Row, role
from tests.integration.api.matrix.scene import Scene
from tests.integration.services import scenes

REASON = {"reason": "a reason that says something"}


def _of_released(step: str | None = None) -> object:
    def make(scene: Scene) -> Call:
        name = scene.released.name
        path = {"accession": name.accession, "version": name.version, **({"step": step} if step else {})}
        return Call(path=path, json=REASON)

    return make


def _job(scene: Scene) -> str:
    name = scene.processed.name
    with scene.house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.version == name.version)
        return session.exec(query).one()


def stuck(scene: Scene) -> None:
    scenes.change(scene.house, _job(scene), state=JobState.NEEDS_ATTENTION.value, last_error="fetch: the disk")


def of_job(scene: Scene) -> Call:
    return Call(path={"job_id": _job(scene)})


ROWS = [
    Row("GET", "/admin/organisms", role("maintainer", 200)),
    Row("POST", "/admin/entries/{accession}/{version}/{step}", role("maintainer", 200), _of_released("withdraw")),
    Row(
        "POST",
        "/admin/entries/{accession}/{version}/{step}",
        role("maintainer", 422),
        lambda scene: Call(path={"step": "suppress"}, json=REASON),
        note="unreleased",
    ),
    Row(
        "POST",
        "/admin/entries/{accession}/{version}/{step}",
        role("maintainer", 404),
        lambda scene: Call(path={"step": "withdraw", "accession": "LOC_NONE"}, json=REASON),
        note="unknown",
    ),
    Row(
        "POST",
        "/admin/entries/{accession}/{version}/originals",
        role("maintainer", 200),
        lambda scene: Call(json=REASON),
        opens_originals={"maintainer"},
    ),
    Row("GET", "/admin/entries/{accession}/{version}/interventions", role("maintainer", 200)),
    Row("GET", "/admin/jobs", role("maintainer", 200), prepare=stuck),
    Row("POST", "/admin/jobs/{job_id}/retry", role("maintainer", 204), of_job, prepare=stuck),
    Row("POST", "/admin/jobs/{job_id}/retry", role("maintainer", 409), of_job, note="done"),
    Row(
        "POST",
        "/admin/jobs/{job_id}/retry",
        role("maintainer", 404),
        lambda scene: Call(path={"job_id": "none"}),
        note="unknown",
    ),
    Row("GET", "/admin/audit", role("maintainer", 200)),
    Row(
        "GET",
        "/admin/file-access",
        role("maintainer", 200),
        lambda scene: Call(params={"file": scene.processed.original_file}),
    ),
]
