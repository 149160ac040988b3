"""Listing entries and reading what is released."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody, members, users

ROWS = [
    Row("GET", "/{organism}/get-sequences", users(200), note="of all one's groups"),
    Row(
        "GET",
        "/{organism}/get-sequences",
        members(200),
        lambda scene: Call(params={"groupIdsFilter": scene.group_id}),
        note="of group A",
    ),
    Row("GET", "/{organism}/get-released-data", anybody(200)),
]
