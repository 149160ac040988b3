"""Who sees what (the table of the design), cell by cell over the API: what a file is × what became of the entry.

A file counts as readable for a caller when any way gives a URL of it: Loculus's download, the download
that names the pipeline version, or the review.
"""

from __future__ import annotations

import hashlib

import pytest
from fastapi.testclient import TestClient

from readvault.domain import manifest
from readvault.domain.errors import ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult
from readvault.services.processing import jobs
from readvault.services.processing.jobs import ProcessedVersion, StagedFile
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE
from tests.integration.api.matrix import scene as scenes
from tests.integration.api.matrix.cells import CALLERS
from tests.integration.api.matrix.scene import Scene

ORGANISM = scenes.scenes.ORGANISM
GROUP = frozenset({"same_group"})
GROUP_AND_MAINTAINER = GROUP | {"maintainer"}
EVERYONE = frozenset(CALLERS)
ORIGINAL = ("rawReads", "reads_0.fastq")
SCREENED = ("dehumanizedReads", "screened.fastq.gz")
CONSENSUS = ("consensus", "consensus.fasta")
UNKNOWN = ("annotations", "unknown.bin")

# What becomes of it:    unreleased            released   suppressed  withdrawn
TABLE = {
    ORIGINAL: (GROUP, GROUP, GROUP, GROUP),
    SCREENED: (GROUP_AND_MAINTAINER, EVERYONE, EVERYONE, frozenset({"maintainer"})),
    CONSENSUS: (GROUP_AND_MAINTAINER, EVERYONE, EVERYONE, frozenset({"maintainer"})),
    UNKNOWN: (GROUP, GROUP, GROUP, frozenset()),
}
STATES = ("unreleased", "released", "suppressed", "withdrawn")
CELLS = [
    pytest.param(what, state, readers, id=f"{what[0]} {state}")
    for what, row in TABLE.items()
    for state, readers in zip(STATES, row, strict=True)
]


@pytest.mark.parametrize(("what", "state", "readers"), CELLS)
def test_who_reads(
    what: tuple[str, str], state: str, readers: frozenset[str], scene: Scene, client: TestClient
) -> None:
    scene.restore()
    name = _placed(scene, screened=True)
    _bring(scene, client, name, state)
    found = {caller for caller in CALLERS if _is_read(client, scene, caller, name, what)}
    # The small token is a member's, for nothing that is asked here: it reads what everybody does.
    assert found == readers


def test_reads_that_no_screen_has_seen_are_not_even_registered(scene: Scene) -> None:
    scene.restore()
    with pytest.raises(ProcessingFailure, match="no complete screen"):
        _placed(scene, screened=False)


def test_a_maintainer_breaks_the_glass_to_read_originals(scene: Scene, client: TestClient) -> None:
    scene.restore()
    name = _placed(scene, screened=True)
    path = f"/admin/entries/{name.accession}/{name.version}/originals"
    for caller in CALLERS:
        answer = client.post(path, json={"reason": "a court asks for them"}, headers=scene.headers(caller))
        expected = {"maintainer": 200, "anonymous": 401}.get(caller, 403)
        assert answer.status_code == expected, caller


def test_what_was_withdrawn_is_gone_with_its_reason(scene: Scene, client: TestClient) -> None:
    scene.restore()
    name = _placed(scene, screened=True)
    _bring(scene, client, name, "withdrawn")
    for path in _downloads(name, SCREENED):
        answer = client.get(path)
        assert answer.status_code == 410
        assert "a reason that says something" in answer.json()["detail"]


def _placed(scene: Scene, *, screened: bool) -> AccessionVersion:
    """A processed entry of group A with a file of each kind."""
    name, job_id = scenes.scenes.entry(scene.house, scene.group_id, files=(b"@r\nACGT\n+\nIIII\n",))
    claim = scenes.scenes.claimed(scene.house, job_id)
    kinds = {SCREENED: True, CONSENSUS: True, UNKNOWN: False}
    files = []
    for (category, label), may_be_public in kinds.items():
        content = f"{name} {category}".encode()
        sha256 = hashlib.sha256(content).hexdigest()
        stored = scene.store.write(f"vault/{scene.group_id}/{sha256}", content)
        files.append(StagedFile(category, label, len(content), sha256, stored, may_be_public=may_be_public))
    listed = [(file.category, file.name, file.size, file.sha256, file.may_be_public) for file in files]
    body = manifest.build(
        name,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata={"date": "2020-01-01"},
        sequences={"main": "ACGT"},
        consensus_source="reads",
        files=[file[:4] for file in listed if file[4]],
        withheld=[file[:4] for file in listed if not file[4]],
        processing_result=ProcessingResult.NO_ISSUES,
        errors=(),
        warnings=(),
        screened=screened,
        provenance={"tools": {}, "parameters": {}, "inputs": []},
    )
    data = {"metadata": {"date": "2020-01-01"}, "unalignedNucleotideSequences": {"main": "ACGT"}}
    jobs.register(scene.house, claim, ProcessedVersion(body, (), (), data, tuple(files)))
    return name


def _bring(scene: Scene, client: TestClient, name: AccessionVersion, state: str) -> None:
    if state == "unreleased":
        return
    approve(scene.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)])
    step = {"suppressed": "suppress", "withdrawn": "withdraw"}.get(state)
    if step is not None:
        path = f"/admin/entries/{name.accession}/{name.version}/{step}"
        body = {"reason": "a reason that says something"}
        assert client.post(path, json=body, headers=scene.headers("maintainer")).status_code == 200


def _downloads(name: AccessionVersion, what: tuple[str, str]) -> list[str]:
    category, label = what
    version = f"{name.accession}/{name.version}"
    return [f"/files/get/{version}/{category}/{label}", f"/files/released/{version}/1/{category}/{label}"]


def _is_read(client: TestClient, scene: Scene, caller: str, name: AccessionVersion, what: tuple[str, str]) -> bool:
    headers = scene.headers(caller)
    answers = [client.get(path, headers=headers) for path in _downloads(name, what)]
    answers += [client.head(path, headers=headers) for path in _downloads(name, what)]
    if any(answer.status_code == 307 for answer in answers):
        return True
    review = client.get(f"/{ORGANISM}/review/{name.accession}/{name.version}", headers=headers)
    if review.status_code != 200:
        return False
    told = review.json()
    files = [*(told["submittedData"]["files"] or {}).get(what[0], [])]
    files += ((told["processedData"] or {}).get("files") or {}).get(what[0], [])
    return any(file["name"] == what[1] and file["url"] is not None for file in files)
