"""Readvault's steps first, an external pipeline after them: one version of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import CurrentResult, Manifest, ManifestFile, PartialResult, Release
from readvault.domain import manifest
from readvault.domain.annotations import Annotation
from readvault.domain.errors import Forbidden, Gone, LeaseLost, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import External
from readvault.domain.status import JobKind, JobState, ProcessingResult
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.processing import chain, jobs, pipeline_versions, reprocessing
from readvault.services.processing.jobs import Claim, ProcessedVersion, StagedFile
from readvault.services.release import publication
from readvault.services.release.downloads import file_url, released_file_url
from readvault.services.review.approval import Scope, approve
from readvault.services.screening import withholding
from tests.houses import ALICE, MAINTAINER, PIPELINE, group_of, upload
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services import scenes
from tests.integration.services.scenes import ERROR, ORGANISM, WARNING, claimed, manifests
from tests.integration.services.test_external_pipelines import register_waiting

CONSENSUS = "ACGTACGTACGTACGTACGA"


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house, "after")
    return group_of(house, ALICE)


def ours(
    house: House, claim: Claim, *, errors: tuple[Annotation, ...] = (), warnings: tuple[Annotation, ...] = (),
    called: bool = True,
) -> ProcessedVersion:  # fmt: skip
    """What readvault's steps made: dehumanized reads, a called consensus, figures."""
    content = f"dehumanized reads of {claim.accession_version}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    stored = house.store.write(f"vault/{claim.group_id}/{sha256}", content)  # type: ignore[attr-defined]
    files = (StagedFile("dehumanizedReads", "reads.fastq.gz", len(content), sha256, stored),)
    sequences = {"main": CONSENSUS} if called else {}
    metadata = {"date": "2020-01-01", "totalReads": 1000, "platform": "ILLUMINA"}
    body = manifest.build(
        claim.accession_version,
        organism=claim.organism,
        pipeline_version=claim.pipeline_version,
        metadata=metadata,
        sequences=sequences,
        consensus_source="reads" if called else None,
        files=[(f.category, f.name, f.size, f.sha256) for f in files],
        processing_result=ProcessingResult.of(errors=bool(errors), warnings=bool(warnings)),
        errors=errors,
        warnings=warnings,
        screened=True,
        provenance={"tools": {"minimap2": "2.31"}, "inputs": [{"category": "rawReads", "size": 5, "sha256": "e" * 64}]},
    )
    data = {"metadata": metadata, "unalignedNucleotideSequences": sequences,
            "alignedNucleotideSequences": dict(sequences), "nucleotideInsertions": {"main": []}}  # fmt: skip
    return ProcessedVersion(body, errors, warnings, data, files)


def handed_on(house: House, group_id: int, accession: str = "LOC_1", **changes: Any) -> AccessionVersion:
    """An entry of which readvault's part is done."""
    name, job_id = scenes.entry(house, group_id, accession=accession)
    claim = claimed(house, job_id)
    chain.hand_on(house, claim, ours(house, claim, **changes))
    return name


def test_the_container_gets_the_consensus_and_what_is_dehumanized_never_an_original(
    house: House, group_id: int
) -> None:
    name, job_id = scenes.entry(house, group_id, accession="LOC_1")
    assert scene.ask(house) == []
    claim = claimed(house, job_id)
    assert scene.ask(house) == []
    chain.hand_on(house, claim, ours(house, claim))
    assert scene.look(house, name)["status"] == "IN_PROCESSING"
    (line,) = scene.ask(house)
    assert line["data"]["unalignedNucleotideSequences"] == {"main": CONSENSUS}
    assert line["data"]["metadata"] == {"date": "2020-01-01", "totalReads": "1000", "platform": "ILLUMINA"}
    assert list(line["data"]["files"]) == ["dehumanizedReads"]
    assert "incoming/" not in json.dumps(line)
    assert scene.look(house, name)["status"] == "IN_PROCESSING"


def test_both_parts_become_one_version(house: House, group_id: int, tmp_path: Path) -> None:
    name = handed_on(house, group_id, warnings=(WARNING,))
    (line,) = scene.ask(house)
    passed_on = line["data"]["files"]["dehumanizedReads"][0]
    (new,) = upload(house, PIPELINE, group_id, b"LOCUS")
    scene.answer(
        house,
        scene.sent(
            name,
            metadata={"clade": "20A", "snps": 3, "country": "CH"},
            unalignedNucleotideSequences={"main": None},
            alignedNucleotideSequences={"main": scene.SEQUENCE},
            alignedAminoAcidSequences={"S": "MFK*"},
            warnings=(scene.FAULT,),
            files=(("dehumanizedReads", passed_on["name"], passed_on["fileId"]), ("annotations", "a.embl", new)),
        ),
    )
    assert scene.look(house, name)["status"] == "IN_PROCESSING"
    register_waiting(house, name, tmp_path)
    seen = scene.look(house, name)
    assert (seen["status"], seen["processingResult"]) == ("PROCESSED", "HAS_WARNINGS")
    assert [each["reason"] for each in seen["warnings"]] == ["lowDepth", "externalPipeline"]
    data = seen["processedData"]
    assert data["metadata"] == {
        "date": "2020-01-01", "totalReads": 1000, "platform": "ILLUMINA", "country": "CH", "clade": "20A", "snps": 3,
    }  # fmt: skip
    assert data["unalignedNucleotideSequences"] == {"main": CONSENSUS}
    assert data["alignedNucleotideSequences"] == {"main": scene.SEQUENCE}
    assert data["alignedAminoAcidSequences"] == {"S": "MFK*"}
    assert data["files"]["dehumanizedReads"][0]["fileId"] == passed_on["fileId"]
    (row,) = manifests(house, name)
    body = json.loads(row.body)
    assert (body["consensusSource"], body["screened"]) == ("reads", True)
    assert body["provenance"] == {"tools": {"minimap2": "2.31"}, "external": {"mode": "after", "pipelineVersion": 1}}
    assert json.loads(row.private_body or "")["inputs"][0]["sha256"] == "e" * 64
    assert [file["category"] for file in body["files"]] == ["annotations", "dehumanizedReads"]
    assert scene.public_files(house, row.id or 0) == {"annotations": True, "dehumanizedReads": True}


def test_two_fresh_stacks_give_the_same_digest(house: House, group_id: int) -> None:
    digests = set()
    for accession in ("LOC_1", "LOC_2"):
        name = handed_on(house, group_id, accession)
        scene.ask(house)
        scene.answer(house, scene.sent(name))
        (row,) = manifests(house, name)
        digests.add(row.body.replace(accession, "LOC").partition('"private')[0])
        assert manifest.digest(row.body.encode()) == row.digest
    assert len({body.partition('"files"')[0] for body in digests}) == 1


def test_errors_of_either_part_are_errors_of_the_version(house: House, group_id: int) -> None:
    from_ours = handed_on(house, group_id, "LOC_1", errors=(ERROR,))
    from_theirs = handed_on(house, group_id, "LOC_2")
    scene.ask(house)
    scene.answer(house, scene.sent(from_ours), scene.sent(from_theirs, errors=(scene.FAULT,), metadata={"what": 1}))
    for name, reason in ((from_ours, "noReads"), (from_theirs, "externalPipeline")):
        seen = scene.look(house, name)
        assert (seen["processingResult"], [each["reason"] for each in seen["errors"]]) == ("HAS_ERRORS", [reason])
        assert seen["processedData"]["unalignedNucleotideSequences"]["main"]
        assert seen["processedData"]["metadata"]["totalReads"] == 1000


def test_what_readvault_knows_already_needs_no_repeating(house: House, group_id: int) -> None:
    name = handed_on(house, group_id)
    scene.ask(house)
    scene.answer(house, scene.sent(name, metadata={"clade": "20A"}))
    assert scene.look(house, name)["processedData"]["metadata"]["date"] == "2020-01-01"


def test_without_a_sequence_and_with_errors_there_is_nothing_to_continue(house: House, group_id: int) -> None:
    _, job_id = scenes.entry(house, group_id)
    claim = claimed(house, job_id)
    organism = house.organism(ORGANISM)
    assert not chain.continues(organism, ours(house, claim, errors=(ERROR,), called=False))
    assert chain.continues(organism, ours(house, claim, errors=(ERROR,)))
    assert chain.continues(organism, ours(house, claim, called=False))
    scene.attach(house, "instead")
    assert not chain.continues(house.organism(ORGANISM), ours(house, claim))


def test_a_part_is_handed_on_by_who_holds_the_job_only(house: House, group_id: int) -> None:
    _, job_id = scenes.entry(house, group_id)
    claim = claimed(house, job_id)
    scenes.let_lease_run_out(house, job_id)
    claimed(house, job_id, "another")
    with pytest.raises(LeaseLost):
        chain.hand_on(house, claim, ours(house, claim))
    with house.sessions.read() as session:
        assert session.exec(select(PartialResult)).all() == []


def test_processing_again_starts_the_chain_anew(house: House, group_id: int) -> None:
    name = handed_on(house, group_id)
    scene.ask(house)
    job_id = reprocessing.process_again(house, name, "another index", "maintainer")
    claim = claimed(house, job_id)
    chain.hand_on(house, claim, ours(house, claim, warnings=(WARNING,)))
    with pytest.raises(Unprocessable, match="not awaiting any"):  # it worked on the old part
        scene.answer(house, scene.sent(name))
    assert scene.names_of(scene.ask(house)) == [name]
    scene.answer(house, scene.sent(name))
    assert scene.look(house, name)["processingResult"] == "HAS_WARNINGS"


# Versions


def all_of(house: House, version: int) -> list[AccessionVersion]:
    """Everything that a version has no result for, answered."""
    names = scene.names_of(scene.ask(house, version=version))
    if names:
        scene.answer(house, *map(scene.sent, names), version=version)
    return names


@pytest.fixture
def instead(house: House) -> int:
    scene.attach(house, "instead")
    return group_of(house, ALICE)


def test_a_newer_version_gets_everything_and_becomes_current(house: House, instead: int) -> None:
    names = [scene.received(house, instead, f"LOC_{n}", files=()) for n in (1, 2, 3)]
    assert all_of(house, 1) == names
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(names[0], None)])
    assert scene.names_of(scene.ask(house, 2, version=2)) == names[:2]
    scene.answer(house, *(scene.sent(n, metadata={"date": "2022-02-02"}) for n in names[:2]), version=2)
    assert scene.look(house, names[1])["pipelineVersion"] == 1  # nothing of it shows before it is current
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 1}
    assert all_of(house, 2) == names[2:]
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 2}
    assert pipeline_versions.statistics(house, MAINTAINER) == {ORGANISM: {1: 3, 2: 3}}
    assert scene.look(house, names[1])["processedData"]["metadata"]["date"] == "2022-02-02"
    for ask in (lambda: scene.ask(house), lambda: scene.answer(house, scene.sent(names[1]))):
        with pytest.raises(Unprocessable):
            ask()


def test_an_old_version_is_told_so_in_loculus_words(house: House, instead: int) -> None:
    scene.received(house, instead, "LOC_1", files=())
    all_of(house, 3)
    text = "The processing pipeline version 1 is not accepted anymore. The current pipeline version is 3."
    with pytest.raises(Unprocessable, match=text):
        scene.ask(house)


def test_what_is_released_gets_the_new_result_and_the_old_one_stays(house: House, instead: int) -> None:
    name = scene.received(house, instead, "LOC_1", files=())
    all_of(house, 1)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    all_of(house, 2)
    with house.sessions.read() as session:
        current = session.exec(select(CurrentResult)).one()
        assert session.get_one(Manifest, current.manifest_id).pipeline_version == 2
        release = session.exec(select(Release)).one()
        assert session.get_one(Manifest, release.manifest_id).superseded_at is None
    assert scene.look(house, name)["pipelineVersion"] == 2
    assert [job.pipeline_version for job in scene.external_jobs(house, name, JobKind.RELEASE)] == [1, 2]
    assert pipeline_versions.upgrade_all(house) == 0
    with house.sessions.read() as session:
        assert len(session.exec(select(CurrentResult)).all()) == 1


def test_what_follows_a_publication_is_done_for_each_result(
    house: House, instead: int, tmp_path: Path, store: Any
) -> None:
    """Files are locked, except an original that was passed on and is to be shredded one day."""
    organism = house.organisms[ORGANISM]
    shredded = organism.pipeline.dehumanize.model_copy(
        update={"originals": organism.pipeline.dehumanize.originals.model_copy(update={"shred_after_days": 30})}
    )
    pipeline = organism.pipeline.model_copy(update={"dehumanize": shredded})
    house.organisms[ORGANISM] = organism.model_copy(update={"pipeline": pipeline})  # type: ignore[index]
    name = scene.received(house, instead, "LOC_1", files=(b"reads",))
    for version, content in ((1, b"first"), (2, b"second")):
        [line] = scene.ask(house, version=version)
        original = line["data"]["files"]["rawReads"][0]
        [new] = upload(house, PIPELINE, instead, content)
        files = (("rawReads", original["name"], original["fileId"]), ("annotations", "a.embl", new))
        scene.answer(house, scene.sent(name, files=files), version=version)
        register_waiting(house, name, tmp_path)
        if version == 1:
            approve(house, ALICE, ORGANISM, scope=Scope.ALL)
        due = scene.external_jobs(house, name, JobKind.RELEASE)[-1]
        claim = jobs.claim(house, due.id, "worker", frozenset())
        assert claim is not None
        assert publication.publish(house, claim) == 2
    of_files = [place for place in store.locked if not place[0].startswith(("records/", "manifests/"))]
    locked = {store.read(StoredVersion(key, version_id, 0)) for key, version_id in of_files}
    assert locked == {b"first", b"second"}
    records = sorted(key.rpartition("/")[2][:7] for key in store.versions if key.startswith("records/"))
    assert records == ["release", "result-"]


def test_one_error_of_the_newer_version_holds_it_back_and_one_of_the_older_does_not(house: House, instead: int) -> None:
    good, bad = (scene.received(house, instead, f"LOC_{n}", files=()) for n in (1, 2))
    scene.ask(house)
    scene.answer(house, scene.sent(good), scene.sent(bad, errors=(scene.FAULT,)))
    scene.ask(house, version=2)
    scene.answer(house, scene.sent(good, errors=(scene.FAULT,)), version=2)
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 1}
    scene.ask(house, version=3)
    scene.answer(house, scene.sent(good), version=3)
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 3}
    assert scene.look(house, bad)["pipelineVersion"] == 1


def test_what_is_submitted_after_an_upgrade_goes_to_the_current_version(house: House, instead: int) -> None:
    scene.received(house, instead, "LOC_1", files=())
    all_of(house, 2)
    late = scene.received(house, instead, "LOC_2", files=())
    assert scene.names_of(scene.ask(house, version=2)) == [late]
    scene.answer(house, scene.sent(late), version=2)
    assert scene.look(house, late)["status"] == "PROCESSED"
    assert {job.state for job in scene.external_jobs(house, late)} == {JobState.DONE.value}
    assert scene.ask(house, version=2) == []


def test_a_version_never_goes_back(house: House, instead: int) -> None:
    scene.received(house, instead, "LOC_1", files=())
    all_of(house, 5)
    assert pipeline_versions.upgrade(house, ORGANISM) is None
    assert pipeline_versions.current_versions(house, MAINTAINER) == {ORGANISM: 5}
    with pytest.raises(Forbidden):
        pipeline_versions.statistics(house, ALICE)
    with pytest.raises(Forbidden):
        pipeline_versions.current_versions(house, PIPELINE)


def test_a_newer_container_continues_from_readvaults_part(house: House, group_id: int) -> None:
    name = handed_on(house, group_id)
    all_of(house, 1)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    (line,) = scene.ask(house, version=2)
    assert line["data"]["unalignedNucleotideSequences"] == {"main": CONSENSUS}
    scene.answer(house, scene.sent(name, metadata={"clade": "21K"}), version=2)
    seen = scene.look(house, name)
    assert (seen["pipelineVersion"], seen["processedData"]["metadata"]["clade"]) == (2, "21K")
    with house.sessions.read() as session:
        files = session.exec(select(ManifestFile)).all()
    assert len({file.file_id for file in files}) == 1
    assert len(files) == 2


def test_withheld_reads_stay_withheld_in_what_a_newer_container_makes_of_them(house: House, group_id: int) -> None:
    name = handed_on(house, group_id)
    all_of(house, 1)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    withholding.withhold(house, MAINTAINER, name, 1, "somebody wrote to us")
    assert all_of(house, 2) == [name]
    place = (name.accession, name.version)
    for ask in (
        lambda: file_url(house, None, *place, "dehumanizedReads", "reads.fastq.gz"),
        lambda: released_file_url(house, *place, 2, "dehumanizedReads", "reads.fastq.gz"),
    ):
        with pytest.raises(Gone, match="somebody wrote to us"):
            ask()


def test_a_revocation_is_nobodys_work(house: House, instead: int) -> None:
    scene.received(house, instead, "LOC_1", files=(), is_revocation=True)
    with house.sessions.begin() as session:
        from readvault.db.tables import Job

        session.delete(session.exec(select(Job)).one())
    assert scene.ask(house, version=2) == []


@pytest.mark.parametrize(
    ("mode", "category"), [("instead", "dehumanizedReads"), ("after", "consensus"), ("after", "report")]
)
def test_an_external_pipeline_has_no_category_of_ours(mode: str, category: str) -> None:
    with pytest.raises(ValueError, match="readvault makes"):
        External(mode=mode, files={category: {}})  # type: ignore[arg-type]


def test_jobs_of_workers_and_pipelines_do_not_mix(house: House, group_id: int) -> None:
    name = handed_on(house, group_id)
    (waiting,) = scene.external_jobs(house, name)
    assert waiting.state == JobState.QUEUED
    assert jobs.claim(house, waiting.id, "worker", frozenset({ORGANISM})) is None
    assert scene.external_jobs(house, name, JobKind.REGISTER_EXTERNAL) == []
