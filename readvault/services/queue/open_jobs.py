"""Jobs that are not done, looked up by what a maintainer knows of them."""

from __future__ import annotations

from sqlmodel import col, select

from readvault.db import audit, clock
from readvault.db.tables import Job
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.queue.fence import hand_back, subject_of


def open_job_of(house: House, accession_version: AccessionVersion, kind: JobKind) -> str | None:
    """The oldest job of this kind that an accession version has and that is not done; its ID."""
    query = select(Job.id).where(
        Job.accession == accession_version.accession,
        Job.version == accession_version.version,
        Job.kind == kind.value,
        Job.state != JobState.DONE.value,
    )
    with house.sessions.read() as session:
        return session.exec(query.order_by(col(Job.created_at)).limit(1)).first()


def make_due(house: House, job_id: str, actor: str) -> None:
    """Let an open job be claimed at once: one that waits for its next attempt, or needs attention.

    Of the latter the counts begin anew. Nothing happens to a job that is under way, done or unknown.
    """
    with house.sessions.begin() as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None or job.state not in (JobState.QUEUED, JobState.NEEDS_ATTENTION):
            return
        if job.state == JobState.QUEUED:
            job.not_before = min(job.not_before, clock.read(session))
            return
        job.failures = job.handbacks = 0
        hand_back(session, job, JobState.QUEUED, job.last_error or "")
        audit.append(session, actor, "retry job", subject_of(job), {"job": job_id})


def needs_attention(house: House, job_id: str, *, last_run: str | None = None) -> bool:
    """Whether nobody tries this job again until a maintainer has looked after it.

    With `last_run` only if that is the run that it was given to last.
    """
    with house.sessions.read() as session:
        job = session.get(Job, job_id)
        if job is None or job.state != JobState.NEEDS_ATTENTION:
            return False
        return last_run is None or job.run_id == last_run
