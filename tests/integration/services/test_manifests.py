"""Manifests: the bytes that were approved, for everybody after release, without what is the group's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import Manifest, ManifestFile, StoredObject
from readvault.domain import manifest as manifests
from readvault.domain.actor import Actor
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import Gone, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release.interventions import intervene
from readvault.services.release.manifests import as_published, manifest, private_manifest, results
from readvault.services.release.public_files import public_files
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, BOB, MAINTAINER, organism
from tests.integration.services.published import make_current, processed_again, released
from tests.integration.services.scenes import ORGANISM, claimed, entry, group, processed, result

UNKNOWN = AccessionVersion("LOC_NOBODY", 1)
SAME_FILE = Annotation(Reason.FILE_IN_OTHER_ENTRY, "The entry LOC_OTHER has the same file.", file="smith.fastq")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _with_private_parts(house: House, group_id: int) -> tuple[AccessionVersion, str]:
    """A processed entry whose manifest has originals, a warning about another entry and a file that stays closed."""
    name, job_id = entry(house, group_id)
    claim = claimed(house, job_id)
    made = result(house, claim, warnings=(SAME_FILE,))
    key = house.store.write("vault/closed", b"original")  # type: ignore[attr-defined]
    closed = jobs.StagedFile("rawReads", "smith.fastq", 8, _sha256(b"original"), key, may_be_public=False)
    private = made.manifest[manifests.PRIVATE]
    private["inputs"] = [{"category": "rawReads", "size": 5, "sha256": _sha256(b"reads")}]
    private["files"] = [{"category": "rawReads", "name": "smith.fastq", "size": 8, "sha256": _sha256(b"original")}]
    return name, jobs.register(house, claim, replace(made, files=(*made.files, closed)))


def test_everybody_reads_the_approved_bytes_after_release(house: House) -> None:
    name, digest = released(house, group(house, "alice"))
    for actor in (None, BOB, ALICE, MAINTAINER):
        found = manifest(house, actor, ORGANISM, name)
        assert (_sha256(found.body), found.digest, found.redacted) == (digest, digest, False)
        assert found.pipeline_version == 1


def test_before_release_it_exists_for_the_group_and_maintainers_only(house: House) -> None:
    name, digest = processed(house, group(house, "alice"))
    for actor in (ALICE, MAINTAINER):
        assert _sha256(manifest(house, actor, ORGANISM, name).body) == digest
    for actor in (None, BOB):
        with pytest.raises(NotFound) as unreleased:
            manifest(house, actor, ORGANISM, name)
        with pytest.raises(NotFound) as unknown:
            manifest(house, actor, ORGANISM, UNKNOWN)
        assert str(unreleased.value) == str(unknown.value)


def test_an_entry_without_result_has_no_manifest(house: House) -> None:
    name, _ = entry(house, group(house, "alice"))
    with pytest.raises(NotFound):
        manifest(house, ALICE, ORGANISM, name)


def test_of_another_organism_there_is_none(house: House, tmp_path: Any) -> None:
    both = replace(house, organisms={**house.organisms, "rsv-b": organism(tmp_path, "rsv-b")})
    name, _ = released(both, group(both, "alice"))
    with pytest.raises(NotFound):
        manifest(both, None, "rsv-b", name)


def test_a_public_manifest_tells_nothing_of_originals_other_entries_and_closed_files(house: House) -> None:
    name, digest = _with_private_parts(house, group(house, "alice"))
    assert approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)]) == [name]
    found = manifest(house, None, ORGANISM, name)
    assert _sha256(found.body) == digest
    public = found.body.decode() + json.dumps(results(house, None, ORGANISM, name))
    for secret in ("smith", "LOC_OTHER", _sha256(b"reads"), _sha256(b"original")):
        assert secret not in public
    own = private_manifest(house, ALICE, ORGANISM, name)
    assert json.loads(found.body)["privateSha256"] == _sha256(own)
    for secret in ("LOC_OTHER", _sha256(b"reads"), _sha256(b"original")):
        assert secret in own.decode()
    for actor in (None, BOB):
        with pytest.raises(NotFound):
            private_manifest(house, actor, ORGANISM, name)


def _row(body: dict[str, Any]) -> Manifest:
    text = json.dumps(body)
    return Manifest(id=1, accession="LOC_A", version=1, pipeline_version=1, digest="0" * 64, body=text,
                    processing_result="NO_ISSUES", errors=[], warnings=[], processed_data={}, created_at=0)  # fmt: skip


def test_a_manifest_from_before_is_told_without_what_is_private_and_says_so() -> None:
    inputs = [{"category": "rawReads", "size": 5, "sha256": "f" * 64}]
    files = [{"category": "consensus", "name": "c.fasta", "size": 1, "sha256": "a" * 64}]
    old = {"schema": 1, "files": files, "warnings": [{"message": "LOC_OTHER"}], "errors": [], "screened": True,
           "provenance": {"tools": {"minimap2": "2.31"}, "inputs": inputs}}  # fmt: skip
    text = as_published(_row(old), [])
    told = json.loads(text.body)
    assert (text.redacted, told["redacted"], told["manifestDigest"]) == (True, True, "0" * 64)
    assert told["provenance"] == {"tools": {"minimap2": "2.31"}}
    assert told["files"] == []
    assert "LOC_OTHER" not in text.body.decode()


def test_reads_that_no_complete_screen_has_seen_are_no_public_files(house: House) -> None:
    """Whatever a row says: here nobody screened, and the file is marked as public all the same."""
    _, job_id = entry(house, group(house, "alice"))
    claim = claimed(house, job_id)
    jobs.register(house, claim, result(house, claim, screened=False))
    with house.sessions.begin() as session:
        (number,) = session.exec(select(Manifest.id)).all()
        (stored,) = session.exec(select(StoredObject.id)).all()
        session.add(ManifestFile(manifest_id=number, category="alignment", name="a.bam", file_id="x",
                                 stored_object_id=stored))  # fmt: skip
    with house.sessions.read() as session:
        files = public_files(session, [number or 0])[number or 0]
    assert [file.category for file in files] == ["consensus"]


def test_each_pipeline_version_keeps_its_manifest(house: House) -> None:
    name, first = released(house, group(house, "alice"))
    second = processed_again(house, name, b">main\nTTTT\n")
    with pytest.raises(NotFound):
        manifest(house, None, ORGANISM, name, 2)
    assert manifest(house, ALICE, ORGANISM, name, 2).digest == second
    assert manifest(house, ALICE, ORGANISM, name).digest == first
    make_current(house, name, second)
    for actor in (None, ALICE):
        assert manifest(house, actor, ORGANISM, name).digest == second
        assert manifest(house, actor, ORGANISM, name, 1).digest == first
    with pytest.raises(NotFound):
        manifest(house, ALICE, ORGANISM, name, 3)


def test_the_results_are_listed_with_files_whose_urls_stay(house: House) -> None:
    name, first = released(house, group(house, "alice"))
    second = processed_again(house, name, b">main\nTTTT\n")
    assert [each["manifestDigest"] for each in results(house, None, ORGANISM, name)["results"]] == [first]
    old, new = results(house, ALICE, ORGANISM, name)["results"]
    (file,) = old["files"]
    assert file == {
        "category": "consensus",
        "name": "consensus.fasta",
        "size": 11,
        "sha256": _sha256(b">main\nACGT\n"),
        "url": f"http://127.0.0.1:8079/files/released/{name.accession}/1/1/consensus/consensus.fasta",
    }
    assert (old["isCurrent"], new["isCurrent"], new["manifestDigest"]) == (True, False, second)
    assert (new["publishedAtTimestamp"], new["files"][0]["url"]) == (None, None)
    make_current(house, name, second)
    assert [each["isCurrent"] for each in results(house, None, ORGANISM, name)["results"]] == [False, True]


def test_what_was_withdrawn_is_gone_with_its_reason_except_for_maintainers(house: House) -> None:
    name, digest = released(house, group(house, "alice"))
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "looked at once more")
    assert manifest(house, None, ORGANISM, name).digest == digest
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "a mix-up of samples")
    for actor in (None, BOB, ALICE):
        with pytest.raises(Gone, match="a mix-up of samples"):
            manifest(house, actor, ORGANISM, name)
        with pytest.raises(Gone):
            results(house, actor, ORGANISM, name)
    assert manifest(house, MAINTAINER, ORGANISM, name).digest == digest


def test_a_token_for_something_else_sees_no_unreleased_manifest(house: House) -> None:
    name, _ = processed(house, group(house, "alice"))
    narrow = Actor("alice", scopes=frozenset({"upload"}))
    with pytest.raises(NotFound):
        manifest(house, narrow, ORGANISM, name)
