"""How much each job reads: it decides in which lane the job waits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import batched
from typing import Any

from sqlalchemy import ScalarSelect, func, select, update
from sqlmodel import Session, col

from readvault.config import WorkerSettings
from readvault.db.tables import EntryFile, Job, UploadedFile
from readvault.domain.lanes import Lane

PAGE = 5000


def lane_of(limits: WorkerSettings, input_bytes: int) -> Lane:
    """The lane of a job that reads so many bytes."""
    return Lane.of(input_bytes, large=limits.large_bytes, huge=limits.huge_bytes)


def submitted_bytes(accession: Any, version: Any) -> ScalarSelect[int]:
    """The size of what was submitted for an accession version (two columns or values), as an SQL expression."""
    size = func.coalesce(UploadedFile.size, UploadedFile.declared_size, 0)
    return (
        select(func.coalesce(func.sum(size), 0))
        .join(EntryFile, col(EntryFile.file_id) == col(UploadedFile.id))
        .where(col(EntryFile.accession) == accession, col(EntryFile.version) == version)
        .scalar_subquery()
    )


def note_sizes(session: Session, job_ids: Iterable[str]) -> None:
    """Write down how much these jobs read. Call it once the jobs and the files of their entries are in the database."""
    for page in batched(job_ids, PAGE):
        session.execute(
            update(Job)
            .where(col(Job.id).in_(page))
            .values(input_bytes=submitted_bytes(col(Job.accession), col(Job.version)))
            .execution_options(synchronize_session=False)
        )


def bytes_of(session: Session, file_ids: Iterable[str]) -> int:
    """The size of these files."""
    size = func.coalesce(UploadedFile.size, UploadedFile.declared_size, 0)
    return sum(
        session.scalar(select(func.coalesce(func.sum(size), 0)).where(col(UploadedFile.id).in_(page))) or 0
        for page in batched(file_ids, PAGE)
    )
