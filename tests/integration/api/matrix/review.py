"""Reviewing and approving."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, members
from tests.integration.api.matrix.scene import Scene


def _approval(scene: Scene) -> Call:
    chosen = {**scene.processed.wire, "manifestDigest": scene.processed.digest}
    return Call(json={"scope": "ALL", "accessionVersionsFilter": [chosen]})


ROWS = [
    Row("GET", "/{organism}/get-data-to-edit/{accession}/{version}", members(200)),
    Row("GET", "/{organism}/review/{accession}/{version}", members(200)),
    Row("POST", "/{organism}/approve-processed-data", members(200), _approval),
]
