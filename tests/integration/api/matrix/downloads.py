"""Downloads that name the pipeline version. Those of Loculus's kind are in files.py."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody
from tests.integration.api.matrix.scene import Scene

_STABLE = "/files/released/{accession}/{version}/{pipeline_version}/{category}/{name}"


def _released(scene: Scene) -> Call:
    return Call(path=dict(scene.released.wire))


def _original(scene: Scene) -> Call:
    return Call(path={**scene.released.wire, "category": "rawReads", "name": "canary-a-released-reads.fastq"})


ROWS = [
    row
    for method in ("GET", "HEAD")
    for row in (
        Row(method, _STABLE, anybody(307), _released, note="released"),
        Row(method, _STABLE, anybody(404), note="unreleased, for its group too"),
        Row(method, _STABLE, anybody(404), _original, note="an original of a released entry"),
    )
]
