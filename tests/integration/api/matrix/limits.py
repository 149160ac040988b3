"""How much may be uploaded."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, members, role
from tests.integration.api.matrix.scene import Scene


def _of_group(scene: Scene) -> Call:
    return Call(path={"scope": f"group:{scene.group_id}"})


def _changed(scene: Scene) -> Call:
    return Call(path={"scope": f"group:{scene.group_id}"}, json={"reason": "a large study", "bytesTotal": 10**13})


ROWS = [
    Row("GET", "/groups/{group_id}/limits", members(200)),
    Row("GET", "/admin/limits", role("maintainer", 200)),
    Row("GET", "/admin/limits/{scope}", role("maintainer", 200), _of_group),
    Row("PUT", "/admin/limits/{scope}", role("maintainer", 200), _changed),
]
