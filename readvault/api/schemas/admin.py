"""The wire shapes of what maintainers do and see."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import Wire, when
from readvault.db.tables import AuditEntry, FileAccess
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import LONGEST_REASON
from readvault.services.entries.visibility import Intervened
from readvault.services.processing import attention
from readvault.services.release.originals import OpenedFile
from readvault.services.trail import LARGEST_PAGE

RowId = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Reason(Wire):
    """Why, in the maintainer's words. Of a withdrawal everybody reads it."""

    reason: Annotated[Text, Field(min_length=1, max_length=2 * LONGEST_REASON)]


class InterventionInfo(Wire):
    """What holds for an accession version since a maintainer's step."""

    accession: str
    version: int
    visibility: str
    reason: str
    actor: str
    at: str

    @classmethod
    def of(cls, name: AccessionVersion, found: Intervened) -> InterventionInfo:
        """As it goes over the wire."""
        return cls(
            accession=name.accession,
            version=name.version,
            visibility=found.state.value,
            reason=found.reason,
            actor=found.actor,
            at=when(found.at),
        )


class OriginalInfo(Wire):
    """An original file with a URL that lives for minutes."""

    file_id: str
    category: str
    name: str
    size: int
    sha256: str | None
    url: str

    @classmethod
    def of(cls, file: OpenedFile) -> OriginalInfo:
        """As it goes over the wire."""
        return cls(
            file_id=file.file_id,
            category=file.category,
            name=file.name,
            size=file.size,
            sha256=file.sha256,
            url=file.url,
        )


class AuditQuery(Wire):
    """Which rows of the audit log: all that are given must fit."""

    actor: Text | None = None
    action: Text | None = None
    subject: Text | None = None
    before: RowId | None = None
    size: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 100


class AuditRow(Wire):
    """One row of the audit log."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    sha256: str

    @classmethod
    def of(cls, row: AuditEntry) -> AuditRow:
        """As it goes over the wire."""
        return cls(
            id=row.id or 0,
            at=when(row.at),
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            details=row.details,
            sha256=row.sha256,
        )


class AuditPage(Wire):
    """Rows, newest first. `next` is the `before` of the next page, null at the end."""

    entries: list[AuditRow]
    next: int | None


class JobQuery(Wire):
    """Which page of the jobs that need attention: those after the job `after`."""

    after: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    size: Annotated[int, Field(ge=1, le=attention.LARGEST_PAGE)] = 100


class JobInfo(Wire):
    """A job that is not tried again until a maintainer has looked after its cause; one that pulls has no entry."""

    id: str
    kind: str
    organism: str
    accession: str | None
    version: int | None
    created_at: str
    reason: str
    failures: int
    handbacks: int

    @classmethod
    def of(cls, job: attention.WaitingJob) -> JobInfo:
        """As it goes over the wire."""
        return cls(
            id=job.id,
            kind=job.kind,
            organism=job.organism,
            accession=job.accession,
            version=job.version,
            created_at=when(job.created_at),
            reason=job.last_error or "",
            failures=job.failures,
            handbacks=job.handbacks,
        )


class JobPage(Wire):
    """Jobs, oldest first. `next` is the `after` of the next page, null at the end."""

    jobs: list[JobInfo]
    next: str | None


class FileQuery(Wire):
    """A file: its ID, or `accession.version/category/name`."""

    file: Annotated[Text, Field(min_length=1, max_length=1000)]


class ReadInfo(Wire):
    """One URL that was given out for a file that was not public."""

    at: str
    actor: str
    file_id: str
    accession: str
    version: int
    category: str
    purpose: str
    reason: str | None
    audit_id: int

    @classmethod
    def of(cls, row: FileAccess) -> ReadInfo:
        """As it goes over the wire."""
        return cls(
            at=when(row.at),
            actor=row.actor,
            file_id=row.file_id,
            accession=row.accession,
            version=row.version,
            category=row.category,
            purpose=row.purpose,
            reason=row.reason,
            audit_id=row.audit_id,
        )
