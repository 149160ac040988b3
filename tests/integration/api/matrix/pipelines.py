"""External pipelines: only programs with their roles, and maintainers, get in."""

from __future__ import annotations

import json

from tests.integration.api.matrix.cells import Call, Row, role
from tests.integration.api.matrix.scene import Scene
from tests.integration.services import pipeline_scenes

ASKED = {"numberOfSequenceEntries": "10", "pipelineVersion": "1"}


def _attached(scene: Scene) -> None:
    pipeline_scenes.attach(scene.house)


def _ask(_scene: Scene) -> Call:
    return Call(data=ASKED)


def _send(scene: Scene) -> Call:
    line = {"accession": scene.processed.name.accession, "version": 1, "data": {"metadata": {}}}
    return Call(params={"pipelineVersion": 1}, content=json.dumps(line).encode())


def _tell(_scene: Scene) -> Call:
    return Call(params={"externalMetadataUpdater": "ena"}, content=b"")


ROWS = [
    Row("POST", "/{organism}/extract-unprocessed-data", role("pipeline", 200), _ask, prepare=_attached,
        shows={"pipeline"}, opens_originals={"pipeline", "maintainer"}),
    Row("POST", "/{organism}/extract-unprocessed-data", role("pipeline", 422), _ask, note="no external pipeline"),
    # What isn't awaited is refused, but only after it is clear that the caller may send anything at all.
    Row("POST", "/{organism}/submit-processed-data", role("pipeline", 422), _send, prepare=_attached),
    Row("POST", "/{organism}/submit-external-metadata", role("external_updater", 204), _tell),
    Row("GET", "/admin/pipeline-statistics", role("maintainer", 200)),
    Row("GET", "/admin/current-pipeline-versions", role("maintainer", 200)),
]  # fmt: skip
