"""What is one's own and what is somebody else's in one request: refused as a whole, and nothing at all changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlmodel import SQLModel

from tests.houses import tsv
from tests.integration.api.matrix import scene as scenes
from tests.integration.api.matrix.scene import Party, Scene

ORGANISM = f"/{scenes.scenes.ORGANISM}"
Ask = Callable[[Party, Party], tuple[str, str, dict[str, Any]]]


def _approve(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = [mine.processed.wire, foreign.processed.wire]
    return "POST", f"{ORGANISM}/approve-processed-data", {"json": {"scope": "ALL", "accessionVersionsFilter": both}}


def _approve_group(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    body = {"scope": "ALL", "groupIdsFilter": [mine.group_id, foreign.group_id]}
    return "POST", f"{ORGANISM}/approve-processed-data", {"json": body}


def _send_back(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    body = {"accessionVersions": [mine.processed.wire, foreign.processed.wire], "reason": "no"}
    return "POST", f"{ORGANISM}/send-back", {"json": body}


def _send_back_batch(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    body = {"accessionVersions": [foreign.processed.wire], "reason": "no"}
    return "POST", f"{ORGANISM}/batches/{mine.batch_id}/send-back", {"json": body}


def _revoke(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = [mine.released.name.accession, foreign.released.name.accession]
    return "POST", f"{ORGANISM}/revoke", {"json": {"accessions": both, "versionComment": "no"}}


def _delete(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = [mine.processed.wire, foreign.processed.wire]
    body = {"scope": "ALL", "accessionVersionsFilter": both}
    return "DELETE", f"{ORGANISM}/delete-sequence-entry-versions", {"json": body}


def _delete_group(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    body = {"scope": "ALL", "groupIdsFilter": [mine.group_id, foreign.group_id]}
    return "DELETE", f"{ORGANISM}/delete-sequence-entry-versions", {"json": body}


def _terms(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = [mine.released.name.accession, foreign.released.name.accession]
    return "PUT", "/data-use-terms", {"json": {"accessions": both, "newDataUseTerms": {"type": "OPEN"}}}


def _submitted_data(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"{ORGANISM}/get-submitted-data", {"json": {"groupId": foreign.group_id}}


def _complete(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = [{"fileId": party.multipart_file, "etags": ['"0"']} for party in (mine, foreign)]
    return "POST", "/files/complete-multipart-upload", {"json": both}


def _submit_their_file(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    row = {"id": "s", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fastq:{foreign.open_file}"}
    files = {"metadataFile": ("m.tsv", tsv(row))}
    return "POST", f"{ORGANISM}/submit", {"data": {"groupId": str(mine.group_id)}, "files": files}


def _submit_their_sealed_file(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    cell = f"r.fastq:{foreign.released.original_file}"
    row = {"id": "s", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": cell}
    files = {"metadataFile": ("m.tsv", tsv(row))}
    return "POST", f"{ORGANISM}/submit", {"data": {"groupId": str(mine.group_id)}, "files": files}


def _revise(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    rows = [
        {"id": f"s{n}", "accession": party.released.name.accession, "date": "2020-01-02", "platform": "ILLUMINA"}
        for n, party in enumerate((mine, foreign))
    ]
    return "POST", f"{ORGANISM}/revise", {"files": {"metadataFile": ("m.tsv", tsv(*rows))}}


def _edit_with_their_file(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    data = {
        "metadata": {"date": "2020-01-01", "platform": "ILLUMINA"},
        "unalignedNucleotideSequences": {},
        "files": {"rawReads": [{"fileId": foreign.processed.original_file, "name": "r.fastq"}]},
    }
    return "POST", f"{ORGANISM}/submit-edited-data", {"json": {**mine.processed.wire, "data": data}}


def _token(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    body = {"name": "t", "scopes": ["upload"], "expiresInDays": 1, "groupId": foreign.group_id}
    return "POST", "/user/tokens", {"json": body}


def _parts(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/files/{foreign.multipart_file}/parts", {"json": {"numbers": [1]}}


def _list(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    return "GET", f"{ORGANISM}/get-sequences", {"params": {"groupIdsFilter": f"{mine.group_id},{foreign.group_id}"}}


def _submitted_metadata(mine: Party, foreign: Party) -> tuple[str, str, dict[str, Any]]:
    both = f"{mine.group_id},{foreign.group_id}"
    return "GET", f"{ORGANISM}/get-submitted-metadata", {"params": {"groupIdsFilter": both}}


ASKED: dict[str, Ask] = {
    ask.__name__.strip("_"): ask
    for ask in (
        _approve,
        _approve_group,
        _send_back,
        _send_back_batch,
        _revoke,
        _delete,
        _delete_group,
        _terms,
        _submitted_data,
        _complete,
        _submit_their_file,
        _submit_their_sealed_file,
        _revise,
        _edit_with_their_file,
        _token,
        _parts,
        _list,
        _submitted_metadata,
    )
}


@pytest.mark.parametrize("name", ASKED)
def test_what_names_somebody_elses_is_refused_whole(name: str, scene: Scene, client: TestClient) -> None:
    scene.restore()
    before = _everything(scene)
    method, path, sent = ASKED[name](scene.theirs, scene.ours)
    answer = client.request(method, path, headers=scene.headers("other_group"), **sent)
    assert answer.status_code in (400, 403, 404, 422), answer.text
    assert _everything(scene) == before
    said = f"{path} {sent}"
    secrets = scene.ours.canaries.private | scene.ours.canaries.originals
    assert not {secret for secret in secrets if secret in answer.text and secret not in said}


@pytest.mark.parametrize("name", ["approve", "send_back", "revoke", "delete", "submit_their_file", "revise"])
def test_the_same_is_done_where_all_is_ones_own(name: str, scene: Scene, client: TestClient) -> None:
    """Else the requests above could be refused for another reason."""
    scene.restore()
    ours = scene.ours
    method, path, sent = ASKED[name](ours, ours)
    if "json" in sent:
        sent = {"json": {key: _once(value) for key, value in sent["json"].items()}}
    if name == "revise":
        row = {"id": "s", "accession": ours.released.name.accession, "date": "2020-01-02", "platform": "ILLUMINA"}
        sent = {"files": {"metadataFile": ("m.tsv", tsv(row))}}
    answer = client.request(method, path, headers=scene.headers("same_group"), **sent)
    assert answer.status_code in (200, 204), answer.text


def _once(value: Any) -> Any:
    return value[:1] if isinstance(value, list) else value


def _everything(scene: Scene) -> dict[str, list[Any]]:
    with scene.house.sessions.read() as session:
        return {
            name: sorted(map(str, session.execute(text(f'SELECT * FROM "{name}"'))))
            for name in SQLModel.metadata.tables
        }
