"""What maintainers do by hand."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, role
from tests.integration.api.matrix.scene import Scene

REASON = {"reason": "a reason that says something"}


def _of_released(step: str | None = None) -> object:
    def make(scene: Scene) -> Call:
        name = scene.released.name
        path = {"accession": name.accession, "version": name.version, **({"step": step} if step else {})}
        return Call(path=path, json=REASON)

    return make


ROWS = [
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
    Row("GET", "/admin/audit", role("maintainer", 200)),
    Row(
        "GET",
        "/admin/file-access",
        role("maintainer", 200),
        lambda scene: Call(params={"file": scene.processed.original_file}),
    ),
]
