"""The jobs that new, revised and edited accession versions need: readvault's own, or an external pipeline's."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from itertools import batched
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.names import among
from readvault.db.tables import Job, PartialResult
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind, JobState

PAGE = 500


def first_kind(organism: Organism) -> JobKind:
    """Who looks at a submission first: an external pipeline where it stands instead of readvault's steps."""
    external = organism.pipeline.external
    instead = external is not None and external.mode == "instead"
    return JobKind.EXTERNAL_PROCESSING if instead else JobKind.PROCESS_SUBMISSION


def job_rows(organism: Organism, versions: Iterable[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    """One row of `job` for each of `versions` (with `accession` and `version`), for a bulk insert."""
    same = {
        "kind": first_kind(organism).value,
        "organism": organism.name,
        "pipeline_version": organism.pipeline.version,
        "created_at": now,
        "not_before": now,
    }
    return [
        {"id": str(uuid.uuid4()), "accession": each["accession"], "version": each["version"], **same}
        for each in versions
    ]


def release_job(organism: str, name: AccessionVersion, pipeline_version: int, now: float) -> Job:
    """The job that does what follows a release, also once more: of the result of this pipeline version."""
    return Job(
        id=str(uuid.uuid4()),
        kind=JobKind.RELEASE.value,
        organism=organism,
        accession=name.accession,
        version=name.version,
        pipeline_version=pipeline_version,
        created_at=now,
        not_before=now,
    )


def call_off(session: Session, names: Iterable[AccessionVersion]) -> None:
    """End all processing of these accession versions that is queued or under way, and drop what parts of it made.

    For what was edited or deleted: a worker's or a pipeline's late result is then refused. Lock the
    entries first.
    """
    now = clock.read(session)
    processing = [kind.value for kind in JobKind if kind is not JobKind.RELEASE]
    for page in batched(names, PAGE):
        session.execute(
            update(Job)
            .where(
                among(Job, page),
                col(Job.kind).in_(processing),
                col(Job.state) != JobState.DONE.value,
            )
            .values(
                state=JobState.DONE.value, finished_at=now, attempt=col(Job.attempt) + 1,
                lease_owner=None, lease_until=None, last_error="called off",
            )
            .execution_options(synchronize_session=False)
        )  # fmt: skip
        session.execute(
            delete(PartialResult).where(among(PartialResult, page)).execution_options(synchronize_session=False)
        )
