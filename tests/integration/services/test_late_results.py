"""Results that come after something else has happened to their entry: they change nothing and block nobody."""

from __future__ import annotations

import threading

import pytest
from sqlmodel import Session, select

from readvault.db.tables import EntryVersion, Job, OrganismState, UploadedFile
from readvault.domain.errors import Conflict
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs, pipeline_versions, reprocessing
from readvault.services.review.approval import Scope, approve
from readvault.services.uploads import quota
from tests.houses import ALICE, PIPELINE, group_of, upload
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services.life import status
from tests.integration.services.scenes import (
    ORGANISM,
    audit_log,
    claimed,
    entry,
    let_lease_run_out,
    manifests,
    of_next_pipeline,
    result,
)


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house)
    return group_of(house, ALICE)


def _processed(house: House, group_id: int, *accessions: str) -> list[AccessionVersion]:
    names = [scene.received(house, group_id, accession, files=()) for accession in accessions]
    scene.ask(house)
    scene.answer(house, *map(scene.sent, names))
    return names


def test_one_that_was_released_meanwhile_does_not_refuse_the_others(house: House, group_id: int) -> None:
    """Somebody wanted it processed again, somebody else approved it, and the pipeline now says something else."""
    first, second = _processed(house, group_id, "LOC_1", "LOC_2")
    for name in (first, second):
        reprocessing.process_again(house, name, "the pipeline was wrong", "maintainer")
    assert scene.names_of(scene.ask(house)) == [first, second]
    (approved,) = manifests(house, first)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(first, approved.digest)])

    scene.answer(house, *(scene.sent(name, warnings=(scene.FAULT,)) for name in (first, second)))

    assert [row.digest for row in manifests(house, first)] == [approved.digest]
    assert scene.external_jobs(house, first)[-1].state == JobState.NEEDS_ATTENTION
    assert [row.processing_result for row in manifests(house, second)] == ["NO_ISSUES", "HAS_WARNINGS"]
    refused = [row.details["refused"] for row in audit_log(house) if row.action == "submit processed data"]
    assert refused[-1] == [str(first)]


def test_a_result_that_was_published_later_never_changes_either(house: House, group_id: int) -> None:
    """It isn't the one that was approved, but it stands for the entry since a newer version became current."""
    (name,) = _processed(house, group_id, "LOC_1")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    scene.ask(house, version=2)
    scene.answer(house, scene.sent(name, metadata={"date": "2020-01-01", "clade": "20B"}), version=2)
    published = scene.look(house, name)["manifestDigest"]
    with pytest.raises(Conflict, match="is released with pipeline version 2"):
        reprocessing.process_again(house, name, "again", "maintainer")

    with house.sessions.begin() as session:
        job = scene.external_jobs(house, name)[-1]
        job.state = JobState.QUEUED.value
        session.merge(job)
    scene.ask(house, version=2)
    scene.answer(house, scene.sent(name, warnings=(scene.FAULT,)), version=2)
    assert scene.look(house, name)["manifestDigest"] == published
    assert scene.external_jobs(house, name)[-1].state == JobState.NEEDS_ATTENTION


def test_what_an_external_pipeline_made_current_holds_no_longer_without_one(house: House, group_id: int) -> None:
    """A maintainer goes back to readvault's own steps, under a new pipeline version."""
    _processed(house, group_id, "LOC_1")
    alone = of_next_pipeline(house)
    old = alone.organisms[ORGANISM]
    pipeline = old.pipeline.model_copy(update={"external": None})
    alone.organisms[ORGANISM] = old.model_copy(update={"pipeline": pipeline})  # type: ignore[index]
    pipeline_versions.upgrade_all(alone)
    name, job_id = entry(alone, group_id, accession="LOC_2")
    claim = claimed(alone, job_id)
    jobs.register(alone, claim, result(alone, claim))
    assert status(alone, name) == "PROCESSED"
    with alone.sessions.read() as session:
        assert _current(session) is None


def _current(session: Session) -> int | None:
    return session.get_one(OrganismState, ORGANISM).current_pipeline_version


def test_results_with_files_wait_for_their_group_before_they_lock_entries(house: House, group_id: int) -> None:
    """As a revision and an edit do: of two that lock in opposite orders PostgreSQL kills one."""
    (name,) = _processed(house, group_id, "LOC_1")
    scene.ask(house, version=2)
    (file_id,) = upload(house, PIPELINE, group_id, b"LOCUS")
    sent = scene.sent(name, files=(("annotations", "a.embl", file_id),))
    faults: list[Exception] = []

    def answer() -> None:
        try:
            scene.answer(house, sent, version=2)
        except Exception as fault:  # shown below
            faults.append(fault)

    thread = threading.Thread(target=answer)
    with house.sessions.begin() as session:
        quota.lock(session, [group_id], [PIPELINE.name])
        thread.start()
        thread.join(0.5)
        entries = select(EntryVersion).where(EntryVersion.accession == name.accession)
        assert len(session.exec(entries.with_for_update(key_share=True, nowait=True)).all()) == 1
    thread.join(10)
    assert faults == []
    assert len(scene.external_jobs(house, name, JobKind.REGISTER_EXTERNAL)) == 1


def test_hashes_wait_for_files_before_they_lock_their_job(house: House, group_id: int) -> None:
    """An edit locks the files that an entry keeps, and calls its jobs off after that."""
    _, job_id = entry(house, group_id)
    claim = claimed(house, job_id)
    file_id = jobs.inputs_of(house, claim).files[0].file_id
    thread = threading.Thread(target=lambda: jobs.record_hashes(house, claim, {file_id: "a" * 64}))
    with house.sessions.begin() as session:
        session.get_one(UploadedFile, file_id, with_for_update=True)
        thread.start()
        thread.join(0.5)
        assert session.exec(select(Job.id).where(Job.id == job_id).with_for_update(nowait=True)).one() == job_id
    thread.join(10)
    with house.sessions.read() as session:
        assert session.get_one(UploadedFile, file_id).sha256 == "a" * 64


def test_who_takes_jobs_back_waits_for_nobody(house: House, group_id: int) -> None:
    """A late result that is being registered holds its job."""
    held, free = (entry(house, group_id)[1] for _ in range(2))
    for job_id in (held, free):
        claimed(house, job_id)
        let_lease_run_out(house, job_id)
    if house.sessions.dialect == "sqlite":
        assert housekeeping.reap(house) == 2
        return
    with house.sessions.begin() as session:
        session.get_one(Job, held, with_for_update=True)
        assert housekeeping.reap(house) == 1
    assert housekeeping.reap(house) == 1
