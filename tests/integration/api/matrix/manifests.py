"""Manifests: for the group before release, for everybody after it, and never with what is the group's own."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody, secret
from tests.integration.api.matrix.scene import Scene


def _released(scene: Scene) -> Call:
    return Call(path=dict(scene.released.wire))


def _received(scene: Scene) -> Call:
    return Call(path=dict(scene.received.wire))


def _of_ours(scene: Scene) -> Call:
    names = [each.name.accession for each in (scene.received, scene.processed, scene.released)]
    return Call(params={"accession": ",".join(names), "fields": "country"})


def _table(scene: Scene) -> Call:
    return Call(params={"format": "tsv", "fields": "country,submissionId"})


def _private_question(scene: Scene) -> Call:
    return Call(params={"country": "canary-a-processed-country"})


UNRELEASED = secret(200, anonymous=404, small_token=404)

ROWS = [
    Row("GET", "/{organism}/manifest/{accession}/{version}", UNRELEASED, note="unreleased"),
    Row("GET", "/{organism}/manifest/{accession}/{version}", anybody(200), _released, note="released"),
    Row("GET", "/{organism}/manifest/{accession}/{version}", anybody(404), _received, note="unprocessed"),
    Row("GET", "/{organism}/manifest/{accession}/{version}/private", secret(200, small_token=404), note="unreleased"),
    Row(
        "GET",
        "/{organism}/manifest/{accession}/{version}/private",
        secret(200, small_token=404),
        _released,
        note="released",
    ),
    Row("GET", "/{organism}/manifests/{accession}/{version}", UNRELEASED, note="unreleased"),
    Row("GET", "/{organism}/manifests/{accession}/{version}", anybody(200), _released, note="released"),
    Row("GET", "/{organism}/manifests", anybody(200)),
    Row("GET", "/{organism}/manifests", anybody(200), _of_ours, note="by accession"),
    Row("GET", "/{organism}/manifests", anybody(200), _table, note="as a table"),
    Row("GET", "/{organism}/manifests", anybody(200), _private_question, note="asked by what is not released"),
]
