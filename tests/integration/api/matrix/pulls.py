"""Pulls from a submitter's own S3. Their IDs are secret."""

from __future__ import annotations

import uuid

from readvault.db.tables import ReferencedFile, UploadedFile
from readvault.domain.pulls import PullState
from readvault.domain.referenced import key_of
from readvault.services.pulls.asked import WantedPull, WantedSource
from readvault.services.pulls.requests import request_pull
from tests.integration.api.matrix.cells import Call, Row, members, secret
from tests.integration.api.matrix.scene import Scene

_URL = "https://bucket.s3.eu-central-1.amazonaws.com/canary-a-pulled.fastq"


def _pull(scene: Scene) -> str:
    """A pull of group A that waits for its challenge object."""
    wanted = WantedPull((WantedSource(_URL),))
    view = request_pull(scene.house, scene.ours.submitter, scene.group_id, wanted)
    assert view.state is PullState.AWAITS_PROOF
    assert view.challenge is not None
    scene.ours.canaries.private |= {view.pull.id, view.challenge.name, view.challenge.content}
    return view.pull.id


def _one(scene: Scene) -> Call:
    return Call(path={"pull_id": _pull(scene)})


def _asked(scene: Scene) -> Call:
    return Call(json={"groupId": scene.group_id, "urls": [{"url": f"{_URL}?X-Amz-Signature=1", "size": 5}]})


def _listed(scene: Scene) -> Call:
    _pull(scene)
    return Call(params={"groupId": scene.group_id})


def reference(scene: Scene) -> str:
    """A file of group A that stays in its bucket; its ID."""
    file_id = str(uuid.uuid4())
    place = f"canary-place-{file_id}"
    with scene.house.sessions.begin() as session:
        session.add(
            UploadedFile(
                id=file_id, batch_id="pull", group_id=scene.group_id, uploader=scene.ours.submitter.name,
                key=key_of("pull", file_id), requested_at=0.0, expires_at=9e9,
            )
        )  # fmt: skip
        session.flush()
        endpoint = "https://s3.eu-central-1.amazonaws.com"
        row = ReferencedFile(
            file_id=file_id, endpoint=endpoint, region="eu-central-1", bucket="lab-reads", place=place, etag='"e"',
            referenced_at=0.0,
        )  # fmt: skip
        session.add(row)
    scene.ours.canaries.private |= {file_id, place}
    return file_id


def _referenced(scene: Scene) -> Call:
    reference(scene)
    return Call(params={"groupId": scene.group_id})


def _renewed(scene: Scene) -> Call:
    reference(scene)
    keys = {"accessKey": "AKIA", "secretKey": "secret"}
    return Call(json={"groupId": scene.group_id, "bucket": "lab-reads", "region": "eu-central-1", **keys})


ROWS = [
    Row("POST", "/pulls", members(200), _asked),
    Row("GET", "/pulls", members(200), _listed),
    Row("GET", "/pulls/references", members(200), _referenced),
    Row("PUT", "/pulls/references/credentials", members(200), _renewed),
    Row("GET", "/pulls/{pull_id}", secret(200), _one),
    Row("POST", "/pulls/{pull_id}/start", secret(200), _one),
    Row("DELETE", "/pulls/{pull_id}", secret(200), _one),
]
