"""Submitting."""

from __future__ import annotations

from tests.houses import tsv
from tests.integration.api.matrix.cells import Call, Row, members
from tests.integration.api.matrix.scene import Scene


def _metadata(*rows: dict[str, str]) -> dict[str, tuple[str, bytes]]:
    return {"metadataFile": ("metadata.tsv", tsv(*rows))}


def _reads(scene: Scene) -> Call:
    row = {"id": "s1", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fastq:{scene.open_file}"}
    return Call(data={"groupId": str(scene.group_id)}, files=_metadata(row))


ROWS = [
    Row("POST", "/{organism}/submit", members(200), _reads),
]
