"""Submitting, revising, revoking, editing, deleting, and reading what was submitted."""

from __future__ import annotations

from tests.houses import tsv
from tests.integration.api.matrix.cells import Call, Row, members, users
from tests.integration.api.matrix.scene import Scene

_METADATA = {"date": "2020-01-01", "platform": "ILLUMINA"}


def _metadata(*rows: dict[str, str]) -> dict[str, tuple[str, bytes]]:
    return {"metadataFile": ("metadata.tsv", tsv(*rows))}


def _reads(scene: Scene) -> Call:
    row = {"id": "s1", **_METADATA, "files.rawReads": f"r.fastq:{scene.open_file}"}
    return Call(data={"groupId": str(scene.group_id)}, files=_metadata(row))


def _dry_run(scene: Scene) -> Call:
    call = _reads(scene)
    return Call(data={**(call.data or {}), "dryRun": "true"}, files=call.files)


def _revision(scene: Scene) -> Call:
    return Call(files=_metadata({"id": "s1", "accession": scene.released.name.accession, **_METADATA}))


def _revision_with_a_new_file(scene: Scene) -> Call:
    row = {"id": "s1", "accession": scene.released.name.accession, **_METADATA}
    return Call(files=_metadata({**row, "files.rawReads": f"r.fastq:{scene.open_file}"}))


def _revocation(scene: Scene) -> Call:
    return Call(json={"accessions": [scene.released.name.accession]})


def _edit(scene: Scene) -> Call:
    return Call(json={**scene.processed.wire, "data": {"metadata": _METADATA, "unalignedNucleotideSequences": {}}})


def _deletion(scene: Scene) -> Call:
    return Call(json={"scope": "ALL", "accessionVersionsFilter": [scene.received.wire, scene.processed.wire]})


ROWS = [
    Row("POST", "/{organism}/submit", members(200), _reads),
    Row("POST", "/{organism}/submit", members(200), _dry_run, note="dry run"),
    Row("POST", "/{organism}/revise", members(200), _revision),
    Row("POST", "/{organism}/revise", members(200), _revision_with_a_new_file, note="with a new file"),
    Row("POST", "/{organism}/revoke", members(200), _revocation),
    Row("POST", "/{organism}/submit-edited-data", members(204), _edit),
    Row("DELETE", "/{organism}/delete-sequence-entry-versions", members(200), _deletion),
    Row(
        "DELETE",
        "/{organism}/delete-sequence-entry-versions",
        users(200),
        lambda _scene: Call(json={"scope": "ALL"}),
        note="all of one's own",
    ),
    Row("GET", "/{organism}/get-submitted-metadata", users(200), note="of all one's groups"),
    Row(
        "GET",
        "/{organism}/get-submitted-metadata",
        members(200),
        lambda scene: Call(params={"groupIdsFilter": scene.group_id}),
        note="of group A",
    ),
    Row(
        "POST",
        "/{organism}/get-submitted-data",
        members(200),
        lambda scene: Call(json={"groupId": scene.group_id}),
    ),
]
