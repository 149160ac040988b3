"""Jobs that are not done, looked up by what a maintainer knows of them."""

from __future__ import annotations

from sqlmodel import col, select

from readvault.db.tables import Job
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House


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


def needs_attention(house: House, job_id: str) -> bool:
    """Whether nobody tries this job again until a maintainer has looked after it."""
    with house.sessions.read() as session:
        return session.exec(select(Job.state).where(Job.id == job_id)).first() == JobState.NEEDS_ATTENTION
