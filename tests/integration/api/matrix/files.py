"""Uploads and downloads."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody, members, secret
from tests.integration.api.matrix.scene import Scene


def _declared(scene: Scene) -> Call:
    return Call(json={"groupId": scene.group_id, "files": [{"name": "r.fastq", "size": 4, "sha256": "1" * 64}]})


def _undeclared(scene: Scene) -> Call:
    return Call(params={"groupId": scene.group_id})


def _in_form(scene: Scene) -> Call:
    return Call(data={"groupId": str(scene.group_id), "numberFiles": "2"})


def _parts(scene: Scene) -> Call:
    return Call(path={"file_id": scene.multipart_file}, json={"numbers": [1]})


def _completed(scene: Scene) -> Call:
    return Call(json=[{"fileId": scene.multipart_file, "etags": ['"0"']}])


def _released(scene: Scene) -> Call:
    return Call(path=dict(scene.released.wire))


def _original(scene: Scene) -> Call:
    return Call(path={**scene.released.wire, "category": "rawReads", "name": "canary-a-released-reads.fastq"})


_GET = "/files/get/{accession}/{version}/{category}/{name}"

ROWS = [
    Row("POST", "/files/request-uploads", members(200, pipeline=200), _declared),
    Row("POST", "/files/request-upload", members(200, pipeline=200), _undeclared),
    Row("POST", "/files/request-upload", members(200, pipeline=200), _in_form, note="in a form"),
    Row("POST", "/files/request-multipart-upload", members(200, pipeline=200), _undeclared),
    Row("POST", "/files/complete-multipart-upload", secret(422, pipeline=422), _completed, note="a part is missing"),
    Row("GET", "/files/{file_id}", secret(200, pipeline=200), shows={"pipeline"}),
    Row("POST", "/files/{file_id}/parts", secret(200, pipeline=200), _parts),
    Row("DELETE", "/files/{file_id}", secret(204, pipeline=204)),
    *(
        row
        for method in ("GET", "HEAD")
        for row in (
            Row(method, _GET, members(307), note="unreleased"),
            Row(method, _GET, anybody(307), _released, note="released"),
            Row(method, _GET, anybody(404), _original, note="an original of a released entry"),
        )
    ),
]
