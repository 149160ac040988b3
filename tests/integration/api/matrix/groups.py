"""Groups and their members."""

from __future__ import annotations

from tests.houses import GROUP
from tests.integration.api.matrix.cells import Call, Row, anybody, members, users
from tests.integration.api.matrix.scene import Scene

_BODY = GROUP.model_dump(by_alias=True)


def _details(_scene: Scene) -> Call:
    return Call(json=_BODY)


def _somebody(_scene: Scene) -> Call:
    return Call(path={"name": "bob"})


def _member(_scene: Scene) -> Call:
    return Call(path={"name": "alice"})


ROWS = [
    Row("POST", "/groups", users(200), _details),
    Row("PUT", "/groups/{group_id}", members(200), _details),
    # Which groups there are is told to every token: a program has to find its own.
    Row("GET", "/groups", users(200, small_token=200)),
    Row("GET", "/groups/{group_id}", anybody(200)),
    Row("GET", "/user/groups", users(200, small_token=200)),
    Row("PUT", "/groups/{group_id}/users/{name}", members(204), _somebody),
    Row("DELETE", "/groups/{group_id}/users/{name}", members(204), _member),
    Row("PUT", "/groups/{group_id}", users(404), lambda _: Call(path={"group_id": 4711}, json=_BODY), note="unknown"),
    Row("GET", "/groups/{group_id}", anybody(404), lambda _: Call(path={"group_id": 4711}), note="unknown"),
]
