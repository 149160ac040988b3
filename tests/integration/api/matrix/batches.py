"""Batches: listed, shown as a table, sent back."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, members, secret, users
from tests.integration.api.matrix.scene import Scene


def _no(scene: Scene) -> Call:
    chosen = {**scene.processed.wire, "manifestDigest": scene.processed.digest}
    return Call(json={"accessionVersions": [chosen], "reason": "the wells were swapped"})


ROWS = [
    Row("GET", "/{organism}/batches", users(200)),
    Row(
        "GET",
        "/{organism}/batches",
        members(200),
        lambda scene: Call(params={"groupIdsFilter": scene.group_id}),
        note="of a group",
    ),
    Row("GET", "/{organism}/batches/{batch_id}", secret(200)),
    Row("GET", "/{organism}/batches/{batch_id}", secret(200), lambda _: Call(params={"format": "tsv"}), note="TSV"),
    Row("POST", "/{organism}/batches/{batch_id}/send-back", secret(200), _no),
    Row("POST", "/{organism}/send-back", members(200), _no),
]
