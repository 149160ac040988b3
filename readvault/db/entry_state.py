"""What an accession version is right now, as SQL: its status, and the manifest that stands for it.

The one place where the status is derived: released → APPROVED_FOR_RELEASE; a current manifest (or a
revocation, which has nothing to process) → PROCESSED; its job runs → IN_PROCESSING; else RECEIVED.
A version that is processed again keeps its result, and its status, until the new one is registered.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, case, exists, func, literal_column, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from readvault.db.tables import (
    ComparedResult,
    CurrentResult,
    EntryVersion,
    Job,
    Manifest,
    OrganismState,
    PartialResult,
    Release,
)
from readvault.domain.reprocessing import NOT_STANDING
from readvault.domain.status import JobKind, JobState, Status

_candidate = aliased(Manifest)


def current_manifest_id() -> ColumnElement[int | None]:
    """The manifest that processing last made: not superseded, of the newest pipeline version that counts yet.

    A result that was found worse than the one before it counts from when a maintainer accepts it.
    """
    held_back = exists().where(
        col(ComparedResult.manifest_id) == col(_candidate.id),
        col(ComparedResult.state).in_([state.value for state in NOT_STANDING]),
    )
    return (
        select(col(_candidate.id))
        .where(
            col(_candidate.accession) == col(EntryVersion.accession),
            col(_candidate.version) == col(EntryVersion.version),
            col(_candidate.superseded_at).is_(None),
            or_(col(EntryVersion.is_revocation), _counts_yet(col(_candidate.pipeline_version))),
            ~held_back.correlate(_candidate),
        )
        .order_by(col(_candidate.pipeline_version).desc())
        .limit(1)
        .correlate(EntryVersion)
        .scalar_subquery()
    )


def _counts_yet(pipeline_version: SQLColumnExpression[int]) -> ColumnElement[bool]:
    """Whether a version is not newer than the one that is current; without external pipelines all count at once."""
    current = (
        select(col(OrganismState.current_pipeline_version))
        .where(col(OrganismState.organism) == col(EntryVersion.organism))
        .correlate(EntryVersion)
        .scalar_subquery()
    )
    return pipeline_version <= func.coalesce(current, pipeline_version)


def _is_in_processing() -> ColumnElement[bool]:
    """Whether somebody works on it: a worker, an external pipeline, or, after the first part of a chain, nobody yet."""
    running = exists().where(
        col(Job.accession) == col(EntryVersion.accession),
        col(Job.version) == col(EntryVersion.version),
        or_(
            and_(
                col(Job.kind).in_((JobKind.PROCESS_SUBMISSION.value, JobKind.EXTERNAL_PROCESSING.value)),
                col(Job.state) == JobState.RUNNING.value,
            ),
            and_(col(Job.kind) == JobKind.REGISTER_EXTERNAL.value, col(Job.state) != JobState.DONE.value),
        ),
        _counts_yet(col(Job.pipeline_version)),
    )
    begun = exists().where(
        col(PartialResult.accession) == col(EntryVersion.accession),
        col(PartialResult.version) == col(EntryVersion.version),
        _counts_yet(col(PartialResult.pipeline_version)),
    )
    return or_(running.correlate(EntryVersion), begun.correlate(EntryVersion))


def _published_since() -> ColumnElement[int | None]:
    """The manifest that was last published in place of the approved one, if any was."""
    return (
        select(col(CurrentResult.manifest_id))
        .where(
            col(CurrentResult.accession) == col(EntryVersion.accession),
            col(CurrentResult.version) == col(EntryVersion.version),
        )
        .order_by(col(CurrentResult.id).desc())
        .limit(1)
        .correlate(EntryVersion)
        .scalar_subquery()
    )


def is_open() -> ColumnElement[bool]:
    """Whether the accession version is not released, in the words of the partial index over those.

    SQLAlchemy writes `released = 0` for SQLite, and `= 1` behind a typed expression; SQLite sees the index in neither.
    """
    return literal_column("(NOT entry_version.released)")


def status() -> ColumnElement[str]:
    """The derived status, in a query made by `with_state`."""
    return case(
        (col(Release.accession).is_not(None), Status.APPROVED_FOR_RELEASE.value),
        (or_(col(Manifest.id).is_not(None), col(EntryVersion.is_revocation)), Status.PROCESSED.value),
        (_is_in_processing(), Status.IN_PROCESSING.value),
        else_=Status.RECEIVED.value,
    )


def with_state(query: Select[Any]) -> Select[Any]:
    """Join each entry version with its release and with the manifest that stands for it, if any."""
    release = and_(
        col(Release.accession) == col(EntryVersion.accession), col(Release.version) == col(EntryVersion.version)
    )
    manifest = col(Manifest.id) == func.coalesce(_published_since(), col(Release.manifest_id), current_manifest_id())
    return query.select_from(EntryVersion).outerjoin(Release, release).outerjoin(Manifest, manifest)
