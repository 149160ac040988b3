"""A maintainer's wish to process an accession version, made from a form."""

from __future__ import annotations

import uuid

from sqlalchemy import or_
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.erased import refuse_erased
from readvault.db.tables import CurrentResult, EntryVersion, Job, Manifest, Release
from readvault.domain.errors import Conflict, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import pipeline_versions
from readvault.services.queue.fence import hand_back
from readvault.services.queue.new_jobs import first_kind
from readvault.services.queue.sizes import submitted_bytes


def process_again(house: House, accession_version: AccessionVersion, reason: str, actor: str) -> str:
    """Find the open job of an accession version, or make a new one; its ID.

    A job that needs attention is queued again. Raises NotFound for an unknown accession version,
    Unprocessable for a revocation, and Conflict for a released result: it never changes, only a
    newer pipeline version makes another.
    """
    with house.sessions.begin() as session:
        place = (accession_version.accession, accession_version.version)
        refuse_erased(session, accession_version)
        entry = session.get(EntryVersion, place, with_for_update=True)  # two wishes at once make one job
        if entry is None:
            raise NotFound(f"There is no accession version {accession_version}.")
        if entry.is_revocation:
            raise Unprocessable(f"Accession version {accession_version} is a revocation.")
        organism = house.organism(entry.organism)
        kind, pipeline_version = first_kind(organism), organism.pipeline.version
        if kind == JobKind.EXTERNAL_PROCESSING:
            pipeline_version = pipeline_versions.current(session, organism)
        if _is_released(session, entry, pipeline_version):
            raise Conflict(f"{accession_version} is released with pipeline version {pipeline_version}.")
        job = _unfinished(session, entry, kind) or _new_job(session, entry, kind, pipeline_version)
        if job.state == JobState.NEEDS_ATTENTION:
            job.failures = job.handbacks = 0
            hand_back(session, job, JobState.QUEUED, job.last_error or "")
        session.add(job)
        audit.append(session, actor, "process again", str(accession_version), {"reason": reason, "job": job.id})
        return job.id


def _unfinished(session: Session, entry: EntryVersion, kind: JobKind) -> Job | None:
    return session.exec(
        select(Job)
        .where(
            Job.accession == entry.accession,
            Job.version == entry.version,
            col(Job.kind).in_((kind.value, JobKind.REGISTER_EXTERNAL.value)),
            Job.state != JobState.DONE.value,
        )
        .with_for_update()  # else a claim of this moment would be undone
    ).first()


def _is_released(session: Session, entry: EntryVersion, pipeline_version: int) -> bool:
    approved = select(Release.manifest_id).where(Release.manifest_id == col(Manifest.id))
    since = select(CurrentResult.manifest_id).where(CurrentResult.manifest_id == col(Manifest.id))
    found = session.exec(
        select(Manifest.id).where(
            Manifest.accession == entry.accession,
            Manifest.version == entry.version,
            Manifest.pipeline_version == pipeline_version,
            or_(approved.exists(), since.exists()),
        )
    ).first()
    return found is not None


def _new_job(session: Session, entry: EntryVersion, kind: JobKind, pipeline_version: int) -> Job:
    now = clock.read(session)
    return Job(
        id=str(uuid.uuid4()),
        kind=kind.value,
        organism=entry.organism,
        accession=entry.accession,
        version=entry.version,
        pipeline_version=pipeline_version,
        created_at=now,
        not_before=now,
        input_bytes=session.scalar(select(submitted_bytes(entry.accession, entry.version))) or 0,
    )
