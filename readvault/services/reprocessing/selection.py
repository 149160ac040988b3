"""The entries that an order is about, as SQL: what is chosen, can be processed again, and has no such result yet."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import JSON, ColumnElement, and_, cast, exists, func, literal, or_, type_coerce
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.erased import is_erased, is_tombstone
from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, Job, Manifest, PartialResult, UploadedFile
from readvault.domain.status import JobKind, JobState
from readvault.services.entries.visibility import is_withdrawn
from readvault.services.reprocessing.choices import Choice

_newer = aliased(Manifest)
_later = aliased(EntryVersion)
_PROCESSING = (
    JobKind.PROCESS_SUBMISSION.value,
    JobKind.EXTERNAL_PROCESSING.value,
    JobKind.REGISTER_EXTERNAL.value,
)


def chosen(session: Session, organism: str, pipeline_version: int, choice: Choice) -> ColumnElement[bool]:
    """SQL, in a query made by `entry_state.with_state`: whether an entry has a result that this order may outdo.

    Without regard to whether it can be done: `has_its_originals`, `is_at_rest`.
    """
    return and_(
        col(EntryVersion.organism) == organism,
        ~col(EntryVersion.is_revocation),
        col(Manifest.id).is_not(None),
        ~_has_result_of(pipeline_version),
        ~is_withdrawn(),
        ~is_tombstone(),
        *_of_choice(session, choice),
    )


def has_its_originals() -> ColumnElement[bool]:
    """SQL over EntryVersion: whether no original was shredded: without it nothing can be processed again."""
    gone = exists().where(
        _same(EntryFile),
        col(UploadedFile.id) == col(EntryFile.file_id),
        is_erased(col(UploadedFile.key), col(UploadedFile.version_id)),
    )
    return ~gone.correlate(EntryVersion)


def is_at_rest() -> ColumnElement[bool]:
    """SQL over EntryVersion: whether nothing is processing it, or waits to, or failed to."""
    busy = exists().where(_same(Job), col(Job.kind).in_(_PROCESSING), col(Job.state) != JobState.DONE.value)
    return ~busy.correlate(EntryVersion)


def _has_result_of(pipeline_version: int) -> ColumnElement[bool]:
    """Whether there is a result of this pipeline version or a newer one: what was decided of it stays decided."""
    result = exists().where(
        col(_newer.accession) == col(EntryVersion.accession),
        col(_newer.version) == col(EntryVersion.version),
        col(_newer.superseded_at).is_(None),
        col(_newer.pipeline_version) >= pipeline_version,
    )
    part = exists().where(
        _same(PartialResult), col(PartialResult.source) == "readvault",
        col(PartialResult.pipeline_version) >= pipeline_version,
    )  # fmt: skip
    return or_(result.correlate(EntryVersion), part.correlate(EntryVersion))


def _of_choice(session: Session, choice: Choice) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.names:
        conditions.append(among(EntryVersion, choice.names))
    if choice.group_ids:
        conditions.append(col(EntryVersion.group_id).in_(choice.group_ids))
    if choice.released != "any":
        conditions.append(~entry_state.is_open() if choice.released == "released" else entry_state.is_open())
    if choice.versions == "latest":
        conditions.append(_is_latest())
    if choice.results:
        conditions.append(col(Manifest.processing_result).in_([result.value for result in choice.results]))
    if choice.platforms:
        platform = _of_body(session, "metadata", "platform")
        conditions.append(platform.in_([platform_.value for platform_ in choice.platforms]))
    conditions += _between(col(EntryVersion.submitted_at), choice.submitted_from, choice.submitted_until)
    conditions += _between(col(Manifest.created_at), choice.processed_from, choice.processed_until)
    if choice.tool is not None:
        version = _of_body(session, "provenance", "tools", choice.tool)
        conditions.append(version.is_not(None) if choice.tool_version is None else version == choice.tool_version)
    return conditions


def _is_latest() -> ColumnElement[bool]:
    """Whether no later version of the accession is released."""
    later = exists().where(
        col(_later.accession) == col(EntryVersion.accession),
        col(_later.version) > col(EntryVersion.version),
        col(_later.released),
    )
    return ~later.correlate(EntryVersion)


def _between(column: Any, first: date | None, last: date | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if first is not None:
        conditions.append(column >= _midnight(first))
    if last is not None:
        conditions.append(column < _midnight(last) + timedelta(days=1).total_seconds())
    return conditions


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def _of_body(session: Session, *path: str) -> ColumnElement[Any]:
    """A text in the manifest's public document."""
    if session.get_bind().dialect.name == "postgresql":
        return func.json_extract_path_text(cast(col(Manifest.body), JSON), *map(literal, path))
    found: ColumnElement[Any] = type_coerce(col(Manifest.body), JSON)[path].as_string()
    return found


def _same(table: Any) -> ColumnElement[bool]:
    return and_(col(table.accession) == col(EntryVersion.accession), col(table.version) == col(EntryVersion.version))
