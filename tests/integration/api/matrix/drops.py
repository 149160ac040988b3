"""Drop links. No account opens what only a link's holder may do, and a holder's token opens nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.integration.api.matrix.cells import Call, Row, anybody, members
from tests.integration.api.matrix.scene import Scene

WISH = {"label": "sequencing centre", "expiresInDays": 7}
FILE = {"name": "a.fastq", "size": "4"}
NOBODYS = {**anybody(404), "anonymous": 401}


def _form(data: Mapping[str, str]) -> Call:
    return Call(data=data)


def _held(scene: Scene, data: Mapping[str, str] | None = None) -> Call:
    """With the token of group B's link, so that a file of group A is a foreign one."""
    return Call(data=data, headers={"Authorization": f"Bearer {scene.theirs.link_token}"})


def _as_user(scene: Scene) -> Call:
    return Call(json=WISH, headers={"Authorization": f"Bearer {scene.ours.link_token}"})


_LOGIN = {"anonymous": 303}
_PAGE = "/web/groups/{group_id}/drops"


def _button(action: str, **fields: str) -> Callable[[Scene], Call]:
    values = {"label": "x", "days": "7", "gigabytes": "1", "objects": "2", **fields}
    return lambda scene: Call(
        data={"action": action, "link": scene.ours.link, "file": scene.ours.dropped_file, **values}
    )


_FILE = "/drop/files/{object_name}"

ROWS = [
    Row("POST", "/groups/{group_id}/drop-links", members(200), lambda _: Call(json=WISH)),
    Row("POST", "/groups/{group_id}/drop-links", anybody(401), _as_user, note="with a link's token"),
    Row("GET", "/groups/{group_id}/drop-links", members(200)),
    Row("DELETE", "/groups/{group_id}/drop-links/{link_id}", members(204)),
    Row("GET", "/groups/{group_id}/dropped-files", members(200)),
    Row("DELETE", "/groups/{group_id}/dropped-files/{object_name}", members(204)),
    Row("GET", "/drop", NOBODYS),
    Row("GET", "/drop", anybody(200), _held, note="with a link's token"),
    Row("POST", "/drop/files", NOBODYS, lambda _: _form(FILE)),
    Row("POST", "/drop/files", anybody(200), lambda scene: _held(scene, FILE), note="with a link's token"),
    Row("POST", "/drop/forms", NOBODYS, lambda _: _form({"name": "a.fastq"})),
    Row("POST", "/drop/forms", anybody(200), lambda scene: _held(scene, {"name": "a.fastq"}), note="with a token"),
    Row("GET", _FILE, NOBODYS),
    Row("GET", _FILE, anybody(404), _held, note="another link's"),
    Row("POST", f"{_FILE}/url", NOBODYS),
    Row("POST", f"{_FILE}/url", anybody(404), _held, note="another link's"),
    Row("POST", f"{_FILE}/parts", NOBODYS, lambda _: _form({"numbers": "1"})),
    Row("POST", f"{_FILE}/parts", anybody(404), lambda scene: _held(scene, {"numbers": "1"}), note="another link's"),
    Row("POST", f"{_FILE}/complete", NOBODYS),
    Row("POST", f"{_FILE}/complete", anybody(404), _held, note="another link's"),
    Row("GET", "/web/drop", anybody(200)),
    Row("GET", _PAGE, {**members(200), **_LOGIN}),
    Row("POST", _PAGE, {**members(200), **_LOGIN}, _button("make"), note="make"),
    Row("POST", _PAGE, {**members(303), **_LOGIN}, _button("revoke"), note="revoke"),
    Row("POST", _PAGE, {**members(303), **_LOGIN}, _button("discard"), note="discard"),
    Row("POST", _PAGE, {**members(400), **_LOGIN}, _button("make", days="many"), note="nonsense"),
]
