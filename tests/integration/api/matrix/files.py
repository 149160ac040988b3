"""Uploads and downloads."""

from __future__ import annotations

from dataclasses import replace

from readvault.db import clock
from readvault.db.tables import Job
from readvault.domain.status import JobKind, JobState
from tests.houses import PIPELINE
from tests.integration.api.matrix.cells import Call, Row, anybody, members, secret
from tests.integration.api.matrix.scene import Scene


def _declared(scene: Scene) -> Call:
    return Call(json={"groupId": scene.group_id, "files": [{"name": "r.fastq", "size": 4, "sha256": "1" * 64}]})


def _with_key(scene: Scene) -> Call:
    return replace(_declared(scene), headers={"Idempotency-Key": "one"})


def _unsent(scene: Scene) -> Call:
    return Call(path={"file_id": scene.open_file})


def _multipart(scene: Scene) -> Call:
    return Call(path={"file_id": scene.multipart_file})


def _pipeline_at_work(scene: Scene) -> None:
    """The pipeline has claimed an entry of group A."""
    with scene.house.sessions.begin() as session:
        job = session.get_one(Job, scene.received.job_id)
        job.kind, job.state = JobKind.EXTERNAL_PROCESSING.value, JobState.RUNNING.value
        job.lease_owner, job.lease_until = f"pipeline {PIPELINE.name}", clock.read(session) + 600


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
    Row("POST", "/files/request-uploads", members(200), _declared),
    Row("POST", "/files/request-uploads", members(200), _with_key, note="with a key"),
    Row(
        "POST",
        "/files/request-uploads",
        members(200, pipeline=200),
        _declared,
        note="a pipeline at work",
        prepare=_pipeline_at_work,
    ),
    Row("POST", "/files/request-upload", members(200, pipeline=200), _undeclared),
    Row("POST", "/files/request-upload", members(200, pipeline=200), _in_form, note="in a form"),
    Row("POST", "/files/request-multipart-upload", members(200, pipeline=200), _undeclared),
    Row("POST", "/files/complete-multipart-upload", secret(422), _completed, note="a part is missing"),
    Row("GET", "/files/{file_id}", secret(200)),
    Row("GET", "/files/{file_id}", secret(200), note="a pipeline at work", prepare=_pipeline_at_work),
    Row("POST", "/files/{file_id}/url", secret(200), _unsent),
    Row("POST", "/files/{file_id}/parts", secret(200), _parts),
    Row("POST", "/files/{file_id}/complete", secret(422), _multipart, note="no part is there"),
    Row("DELETE", "/files/{file_id}", secret(204)),
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
