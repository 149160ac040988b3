"""Jobs: claim one, do it, write its result exactly once.

Every write of a worker is fenced: it happens only while the job is running under the attempt that
the worker claimed. Whoever lost that gets LeaseLost, stops, and has written nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import Session, col, select

from readvault.counters import ATTEMPTS_GIVEN_UP
from readvault.db import audit
from readvault.db.clock import now
from readvault.db.erased import erased_among, is_erased
from readvault.db.tables import EntryFile, EntryVersion, Job, Pull, StoredObject, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, LeaseLost, NotFound, ProcessingFailure
from readvault.domain.lanes import Lane
from readvault.domain.status import JobKind, JobState
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.processing.registration import ProcessedVersion, register
from readvault.services.processing.stored_objects import StagedFile
from readvault.services.queue.fence import (
    Claim,
    entry_of,
    finish,
    hand_back,
    held,
    is_finished_by,
    lease_ran_out,
    subject_of,
    take_back,
)
from readvault.services.queue.sizes import lane_of

__all__ = [
    "Claim",
    "Inputs",
    "ProcessedVersion",
    "SealedFile",
    "StagedFile",
    "claim",
    "complete",
    "give_up",
    "inputs_of",
    "record_hashes",
    "register",
    "retry",
    "set_aside",
    "stored",
]


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A submitted file that can't change any more. `label` is the submitter's own name for it.

    `sha256` is what an earlier fetch computed, or None; `declared_sha256` is the submitter's word.
    """

    file_id: str
    category: str
    label: str
    stored: StoredVersion
    declared_sha256: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was submitted: files in the submitter's order, metadata, sequences by FASTA ID."""

    files: tuple[SealedFile, ...]
    metadata: dict[str, str]
    sequences: dict[str, str]
    submission_id: str
    submitter: str


def claim(house: House, job_id: str, worker: str, ready: Container[str], *, lane: Lane | None = None) -> Claim | None:
    """Take a job, or None when there is nothing to do: it is done, leased, not due or needs attention.

    Jobs that need a host index are taken only of organisms in `ready`; in the place of a small job
    (`lane`) no bigger one is taken. Of racing claimers exactly one wins. A job whose lease has run out
    is taken back from its dead worker first.

    A job is done under the rules that this worker has, so the claim takes on their pipeline version:
    the organism's file may have changed since the job was written. A reprocessing that wants a newer
    version than this worker has is left to others.
    """
    with house.sessions.read() as session:
        job = session.get(Job, job_id)
    if job is None or job.kind == JobKind.EXTERNAL_PROCESSING:  # those are claimed by external pipelines
        return None
    processes = job.kind == JobKind.PROCESS_SUBMISSION
    if (processes or job.kind in (JobKind.REPAIR, JobKind.SCREEN)) and job.organism not in ready:
        return None
    if processes and job.organism not in house.organisms:  # its file went in this very moment
        return None
    if job.state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    if lane is Lane.SMALL and lane_of(house.settings.worker, job.input_bytes) is not Lane.SMALL:
        return None
    version = house.organism(job.organism).pipeline.version if processes else job.pipeline_version
    if job.reprocessing_id is not None and version < job.pipeline_version:
        return None
    with house.sessions.begin() as session:
        take_back(session, house.settings.worker, col(Job.id) == job_id, lease_ran_out())
        claimed = session.execute(
            update(Job)
            .where(col(Job.id) == job_id, col(Job.state) == JobState.QUEUED.value, col(Job.not_before) <= now())
            .values(
                state=JobState.RUNNING.value,
                attempt=col(Job.attempt) + 1,
                pipeline_version=version,
                lease_owner=worker,
                lease_until=now() + house.settings.worker.lease,
            )
            .returning(Job)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).scalar_one_or_none()
        if claimed is None:
            return None
        group_id = _group_of(session, claimed)
        failpoint("claim-before-commit")
        return Claim(
            job_id=claimed.id,
            attempt=claimed.attempt,
            kind=JobKind(claimed.kind),
            organism=claimed.organism,
            accession_version=entry_of(claimed),
            pipeline_version=claimed.pipeline_version,
            worker=worker,
            group_id=group_id,
            runs_alone=claimed.runs_alone,
            input_bytes=claimed.input_bytes,
        )


def _group_of(session: Session, job: Job) -> int:
    if job.kind == JobKind.IMPORT:
        return session.exec(select(Pull.group_id).where(Pull.job_id == job.id)).one()
    return session.get_one(EntryVersion, (job.accession, job.version)).group_id


def inputs_of(house: House, claim: Claim) -> Inputs:
    """What was submitted for the claimed job.

    Raises ProcessingFailure for a file that isn't sealed, LeaseLost when the entry was deleted meanwhile.
    """
    key = claim.accession_version
    with house.sessions.read() as session:
        entry = session.get(EntryVersion, (key.accession, key.version))
        if entry is None:
            raise LeaseLost(f"job {claim.job_id}: {key} was deleted")
        rows = session.exec(
            select(EntryFile, UploadedFile)
            .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
            .where(EntryFile.accession == key.accession, EntryFile.version == key.version)
            .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
        ).all()
        gone = erased_among(session, ((uploaded.key, uploaded.version_id) for _, uploaded in rows))
    if gone:
        raise ProcessingFailure("fetch", f"{len(gone)} originals were shredded on purpose: it can't be processed again")
    return Inputs(
        files=tuple(_sealed(entry_file, uploaded) for entry_file, uploaded in rows),
        metadata=dict(entry.submitted_metadata),
        sequences=dict(entry.submitted_sequences),
        submission_id=entry.submission_id,
        submitter=entry.submitter,
    )


def _sealed(entry_file: EntryFile, uploaded: UploadedFile) -> SealedFile:
    if uploaded.sealed_at is None or uploaded.size is None:
        raise ProcessingFailure("fetch", "an original is not sealed")
    return SealedFile(
        file_id=uploaded.id,
        category=entry_file.category,
        label=entry_file.name,
        stored=StoredVersion(uploaded.key, uploaded.version_id, uploaded.size),
        declared_sha256=uploaded.declared_sha256,
        sha256=uploaded.sha256,
    )


def record_hashes(house: House, claim: Claim, hashes: Mapping[str, str]) -> None:
    """Keep the SHA-256 (hexadecimal, by file ID) that our own fetch computed; they never change afterwards.

    Raises LeaseLost, and ProcessingFailure when a file had another SHA-256 before.
    """
    with house.sessions.begin() as session:
        # Files before the job, as in an edit, and by ID: two that share files lock them in one order.
        locked = {each: session.get_one(UploadedFile, each, with_for_update=True) for each in sorted(hashes)}
        held(session, claim)
        for file_id, uploaded in locked.items():
            if uploaded.sha256 is None:
                uploaded.sha256 = hashes[file_id]
            elif uploaded.sha256 != hashes[file_id]:
                raise ProcessingFailure("fetch", "integrity: an original had another SHA-256 when it was first read")
        failpoint("hashes-before-commit")
    failpoint("hashes-after-commit")


def stored(house: House, claim: Claim, sha256: str) -> StoredVersion | None:
    """Where the group's vault has these bytes already, or None."""
    with house.sessions.read() as session:
        known = session.exec(
            select(StoredObject).where(
                StoredObject.group_id == claim.group_id,
                StoredObject.sha256 == sha256,
                ~is_erased(col(StoredObject.key), col(StoredObject.version_id)),
            )
        ).one_or_none()
    return None if known is None else StoredVersion(known.key, known.version_id, known.size)


def complete(house: House, claim: Claim) -> None:
    """End a job that has no result of its own. Raises LeaseLost; ending it twice is a success."""
    with house.sessions.begin() as session:
        job = session.get(Job, claim.job_id, with_for_update=True)
        if job is not None and is_finished_by(job, claim):
            return
        finish(session, held(session, claim))
        failpoint("complete-before-commit")
    failpoint("complete-after-commit")


def give_up(
    house: House,
    claim: Claim,
    cause: str,
    *,
    counted: bool,
    alone: bool = False,
    waits: bool | None = None,
    keeps_run: bool = False,
) -> None:
    """Put the job back. `cause` is read by maintainers: no file name, no URL, no read.

    Counted (our failure, or the death of the job's own child): it is tried again after
    `worker.retry_after` and needs attention after `worker.max_attempts`. Uncounted (this worker
    drains, its nursery died): it is due at once, up to `worker.max_handbacks` times; where it `waits`
    (S3 is out of reach), as long in between as after a failure. `alone`: it next runs with nothing
    beside it. `keeps_run`: the dispatcher asks what became of the run before it delivers the job again.
    Raises LeaseLost.
    """
    limits = house.settings.worker
    with house.sessions.begin() as session:
        job = held(session, claim)
        if counted:
            job.failures += 1
            exhausted = job.failures >= limits.max_attempts
        else:
            job.handbacks += 1
            exhausted = job.handbacks > limits.max_handbacks
        waits = counted if waits is None else waits
        times = job.failures if counted else job.handbacks
        wait = limits.retry_after[min(times, len(limits.retry_after)) - 1] if waits and limits.retry_after else 0.0
        job.runs_alone = job.runs_alone or alone
        state = JobState.NEEDS_ATTENTION if exhausted else JobState.QUEUED
        hand_back(session, job, state, cause, wait=wait, keeps_run=keeps_run)
        failpoint("give-up-before-commit")
    ATTEMPTS_GIVEN_UP.labels(claim.kind, "failed" if counted else "handed back").inc()
    failpoint("give-up-after-commit")


def set_aside(house: House, claim: Claim, cause: str) -> None:
    """Let a job need attention at once, because trying again can't help. Raises LeaseLost."""
    with house.sessions.begin() as session:
        hand_back(session, held(session, claim), JobState.NEEDS_ATTENTION, cause)


def retry(house: House, actor: Actor, job_id: str) -> None:
    """Queue a job that needs attention once more, with fresh counts. For maintainers.

    Raises Forbidden, NotFound, and Conflict when the job doesn't need attention.
    """
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        job = session.get(Job, job_id, with_for_update=True)
        if job is None:
            raise NotFound("There is no such job.")
        if job.state != JobState.NEEDS_ATTENTION:
            raise Conflict(f"The job is {job.state}; only one that needs attention can be retried.")
        job.failures = job.handbacks = 0
        hand_back(session, job, JobState.QUEUED, job.last_error or "")
        audit.append(session, actor.name, "retry job", subject_of(job), {"job": job_id})
