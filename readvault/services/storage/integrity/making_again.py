"""Lost processed files are made again from the sealed originals, if the pipeline still makes the same bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import EntryVersion, FixityCheck, Job, ManifestFile, StoredObject
from readvault.db.tables import Manifest as ManifestRow
from readvault.domain.status import JobKind, JobState
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.queue.new_jobs import first_kind
from readvault.services.queue.sizes import submitted_bytes
from readvault.services.storage.integrity import pin_moves
from readvault.services.storage.integrity.pinned import Pinned, pinned_at

ORIGINAL = "no other copy is known; the group can upload the same file again"
NOBODY = "no other copy is known, and no result of readvault's own steps holds this file"


def wish(house: House, pinned: Pinned) -> str:
    """Queue a job that makes a lost processed file again, once per damage; what stands in the way until then."""
    with house.sessions.begin() as session:
        results = _results_with(session, pinned.key)
        if not results:
            return ORIGINAL if _is_original(session, pinned.key) else NOBODY
        moved_on = ""
        check = session.get(FixityCheck, pinned.key)
        since = clock.read(session) if check is None or check.damaged_since is None else check.damaged_since
        tried: list[Job] = []
        for organism, accession, version, pipeline_version in results:
            rules = house.organisms.get(organism)
            if rules is None or first_kind(rules) != JobKind.PROCESS_SUBMISSION:
                moved_on = moved_on or f"readvault's steps don't make this file for organism {organism} here"
                continue
            chained = rules.pipeline.external is not None
            ours = rules.pipeline.version
            if ours != pipeline_version and not (chained and ours <= pipeline_version):
                moved_on = (
                    f"it was made by pipeline version {pipeline_version}, and organism {organism} is at {ours} now"
                )
                continue
            earlier = _job_for(session, accession, version, since)
            if earlier is None:
                again = _new_job(organism, accession, version, ours, clock.read(session))
                again.input_bytes = session.scalar(select(submitted_bytes(accession, version))) or 0
                session.add(again)
                return f"it is being made again from the originals of {accession}.{version}"
            tried.append(earlier)
        return _of_tried(tried) or moved_on


def put_back_made(house: House, group_id: int, outputs: Iterable[tuple[str, Path]]) -> int:
    """Put back those of the outputs (SHA-256 and path) that the group's vault has lost; how many."""
    restored = 0
    for sha256, path in outputs:
        with house.sessions.read() as session:
            stored = session.execute(
                select(col(StoredObject.key)).where(
                    col(StoredObject.group_id) == group_id, col(StoredObject.sha256) == sha256
                )
            ).scalar_one_or_none()
            lost = stored is not None and bool(damage.damaged_among(session, [stored]))
        pinned = pinned_at(house, stored) if stored is not None and lost else None
        if pinned is not None:
            restored += pin_moves.put_back(house, pinned, path, sha256, pin_moves.MADE)
    return restored


def still_lost(house: House, accession: str, version: int, pipeline_version: int) -> int:
    """How many files are known to be damaged of the results that a pipeline version, or a chain on it, has made."""
    with house.sessions.read() as session:
        keys = session.execute(
            select(col(StoredObject.key))
            .join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
            .join(ManifestRow, col(ManifestRow.id) == col(ManifestFile.manifest_id))
            .where(
                col(ManifestRow.accession) == accession,
                col(ManifestRow.version) == version,
                col(ManifestRow.pipeline_version) >= pipeline_version,
            )
        ).scalars()
        return len(damage.damaged_among(session, keys))


def _of_tried(jobs: list[Job]) -> str:
    for job in jobs:
        name = f"{job.accession}.{job.version}"
        if job.state == JobState.NEEDS_ATTENTION:
            return f"the job that makes it again from {name} needs attention: {job.last_error}"
        if job.state != JobState.DONE:
            return f"it is being made again from the originals of {name}"
    return f"it was made again from {jobs[0].accession}.{jobs[0].version}, with other bytes" if jobs else ""


def _results_with(session: Session, key: str) -> list[tuple[str, str, int, int]]:
    """(organism, accession, version, pipeline version) of the results that hold an object; published ones first."""
    query = (
        select(
            col(EntryVersion.organism),
            col(ManifestRow.accession),
            col(ManifestRow.version),
            col(ManifestRow.pipeline_version),
        )
        .select_from(ManifestRow)
        .join(
            EntryVersion,
            (col(EntryVersion.accession) == col(ManifestRow.accession))
            & (col(EntryVersion.version) == col(ManifestRow.version)),
        )
        .join(ManifestFile, col(ManifestFile.manifest_id) == col(ManifestRow.id))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(col(StoredObject.key) == key)
        .distinct()
        .order_by(col(ManifestRow.pipeline_version).desc(), col(ManifestRow.accession), col(ManifestRow.version))
        .limit(50)
    )
    return [tuple(row) for row in session.execute(query)]


def _is_original(session: Session, key: str) -> bool:
    return session.execute(select(col(StoredObject.id)).where(col(StoredObject.key) == key).limit(1)).first() is None


def _job_for(session: Session, accession: str, version: int, since: float) -> Job | None:
    """The job that has tried to mend this damage, or will: all files of a version are made by one."""
    to_come = col(Job.state).in_((JobState.QUEUED.value, JobState.RUNNING.value))
    return session.execute(
        select(Job)
        .where(
            col(Job.accession) == accession,
            col(Job.version) == version,
            col(Job.kind) == JobKind.REPAIR.value,
            to_come | (col(Job.created_at) >= since),
        )
        .order_by(to_come.desc(), col(Job.created_at).desc())
        .limit(1)
    ).scalar_one_or_none()


def _new_job(organism: str, accession: str, version: int, pipeline_version: int, now: float) -> Job:
    return Job(
        id=str(uuid.uuid4()),
        kind=JobKind.REPAIR.value,
        organism=organism,
        accession=accession,
        version=version,
        pipeline_version=pipeline_version,
        created_at=now,
        not_before=now,
    )
