"""What maintainers do by hand, always with a reason and always written down."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, Label, Number, UserDep, documented, parameters
from readvault.api.schemas import admin as schemas
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.services import trail
from readvault.services.processing import attention, jobs
from readvault.services.release import interventions, originals

router = APIRouter(prefix="/admin", tags=["maintenance"])


@router.post("/entries/{accession}/{version}/originals")
def open_originals(
    accession: Label, version: Number, asked: schemas.Reason, user: UserDep, house: HouseDep
) -> list[schemas.OriginalInfo]:
    """Break the glass: URLs of an entry's original files, which live for minutes. Reader and reason stay on record."""
    name = AccessionVersion(accession, version)
    return [schemas.OriginalInfo.of(file) for file in originals.open_originals(house, user, name, asked.reason)]


@router.post("/entries/{accession}/{version}/{step}")
def intervene(
    accession: Label, version: Number, step: Step, asked: schemas.Reason, user: UserDep, house: HouseDep
) -> schemas.InterventionInfo:
    """Suppress, withdraw or restore a released version, for everybody and at once."""
    name = AccessionVersion(accession, version)
    return schemas.InterventionInfo.of(name, interventions.intervene(house, user, name, step, asked.reason))


@router.get("/entries/{accession}/{version}/interventions")
def list_interventions(
    accession: Label, version: Number, user: UserDep, house: HouseDep
) -> list[schemas.InterventionInfo]:
    """What maintainers did to a version, oldest first."""
    name = AccessionVersion(accession, version)
    return [schemas.InterventionInfo.of(name, each) for each in interventions.history(house, user, name)]


@router.get("/jobs", openapi_extra=documented(schemas.JobQuery))
def list_jobs(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.JobQuery, parameters(schemas.JobQuery)]
) -> schemas.JobPage:
    """The jobs that need attention and why, oldest first, page by page."""
    waiting = attention.needing_attention(house, user, after=asked.after, size=asked.size)
    following = waiting[-1].id if len(waiting) == asked.size else None
    return schemas.JobPage(jobs=[schemas.JobInfo.of(each) for each in waiting], next=following)


@router.post("/jobs/{job_id}/retry", status_code=204)
def retry_job(job_id: Label, user: UserDep, house: HouseDep) -> None:
    """Queue a job that needs attention once more, with fresh counts."""
    jobs.retry(house, user, job_id)


@router.get("/audit", openapi_extra=documented(schemas.AuditQuery))
def list_audit(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.AuditQuery, parameters(schemas.AuditQuery)]
) -> schemas.AuditPage:
    """The audit log, newest first, page by page."""
    rows = trail.page(
        house,
        user,
        who=asked.actor,
        action=asked.action,
        subject=asked.subject,
        before=asked.before,
        size=asked.size,
    )
    following = rows[-1].id if len(rows) == asked.size else None
    return schemas.AuditPage(entries=[schemas.AuditRow.of(row) for row in rows], next=following)


@router.get("/file-access", openapi_extra=documented(schemas.FileQuery))
def who_read(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.FileQuery, parameters(schemas.FileQuery)]
) -> list[schemas.ReadInfo]:
    """Who got a URL of a file while it was not public, when and what for."""
    return [schemas.ReadInfo.of(row) for row in trail.who_read(house, user, asked.file)]
