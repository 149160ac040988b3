"""Erasures: maintainers only, and never the one who asked alone."""

from __future__ import annotations

from collections.abc import Callable

from readvault.services.storage.erasing import erasure
from tests.houses import MAINTAINER
from tests.integration.api.matrix.cells import Call, Row, role
from tests.integration.api.matrix.scene import Scene

REASON = "a reason that says something"


def _request(scene: Scene) -> Call:
    return Call(json={"accessionVersions": [str(scene.released.name)], "reason": REASON})


def _asked_by(name: str) -> Callable[[Scene], Call]:
    """Confirm what somebody of that name asked for."""

    def make(scene: Scene) -> Call:
        asker = type(MAINTAINER)(name, MAINTAINER.roles)
        row, _ = erasure.request(scene.house, asker, [scene.released.name], REASON)
        body = {"objects": row.objects, "code": row.code}
        return Call(path={"erasure_id": row.id}, json=body)

    return make


def _look(scene: Scene) -> Call:
    row, _ = erasure.request(scene.house, MAINTAINER, [scene.released.name], REASON)
    return Call(path={"erasure_id": row.id})


NOBODYS = {"objects": 1, "code": "0" * 64}
CONFIRM = "/admin/erasures/{erasure_id}/confirm"
ROWS = [
    Row("POST", "/admin/erasures", role("maintainer", 201), _request),
    Row(
        "POST",
        "/admin/erasures",
        role("maintainer", 404),
        lambda scene: Call(json={"accessionVersions": ["LOC_NONE.1"], "reason": REASON}),
        note="unknown",
    ),
    Row("GET", "/admin/erasures", role("maintainer", 200)),
    Row("GET", "/admin/erasures/{erasure_id}", role("maintainer", 200), _look),
    Row("POST", CONFIRM, role("maintainer", 202), _asked_by("somebody else"), note="asked for by another"),
    Row("POST", CONFIRM, role("maintainer", 403), _asked_by(MAINTAINER.name), note="asked for by the same"),
    Row("POST", CONFIRM, role("maintainer", 404), lambda scene: Call(path={"erasure_id": 99}, json=NOBODYS), note="no"),
]
