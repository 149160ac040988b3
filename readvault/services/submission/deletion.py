"""Deleting accession versions that were never released; their names are never used again."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import batched

from sqlalchemy import ColumnElement, and_, delete, insert, select
from sqlmodel import Session, SQLModel, col

from readvault.db import audit, clock, entry_state, records
from readvault.db.names import among
from readvault.db.tables import (
    ComparedResult,
    DeletedEntryVersion,
    EntryFile,
    EntryVersion,
    Job,
    Manifest,
    ManifestFile,
    PartialResult,
    SentBack,
)
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.authorization import Action, authorize
from readvault.services.entries.candidates import Candidate, locked
from readvault.services.entries.finding import find_versions, visible_to
from readvault.services.house import House

PAGE = 500
_DELETABLE = (Status.RECEIVED.value, Status.PROCESSED.value)
_TABLES: tuple[type[SQLModel], ...] = (ComparedResult, PartialResult, Manifest, EntryFile, Job, EntryVersion)
"""What goes with a version, in an order that its references allow."""


class Scope(StrEnum):
    """Which accession versions are deleted of those that are asked for."""

    ALL = "ALL"
    PROCESSED_WITH_ERRORS = "PROCESSED_WITH_ERRORS"
    PROCESSED_WITH_WARNINGS = "PROCESSED_WITH_WARNINGS"


_RESULT_OF = {
    Scope.PROCESSED_WITH_ERRORS: ProcessingResult.HAS_ERRORS.value,
    Scope.PROCESSED_WITH_WARNINGS: ProcessingResult.HAS_WARNINGS.value,
}


def delete_versions(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    scope: Scope,
    accession_versions: Sequence[AccessionVersion] | None = None,
    group_ids: Sequence[int] | None = None,
) -> list[AccessionVersion]:
    """Delete accession versions that are received or processed; those that were deleted, sorted.

    With `accession_versions` every one must be deletable: Unprocessable else (unknown, in processing,
    released), Forbidden for a foreign one. Without, everything of the actor's groups that is
    deletable and in the scope goes, and the rest is skipped. An empty list deletes nothing. Uploaded
    files stay the group's.
    """
    house.organism(organism)
    with house.sessions.begin() as session:
        if actor is None or group_ids:
            authorize(session, actor, Action.DELETE, group_ids=group_ids or ())
        assert actor is not None
        if accession_versions == [] or group_ids == []:
            return []
        found = (
            _all(session, actor, organism, group_ids)
            if accession_versions is None
            else _named(session, actor, organism, accession_versions)
        )
        chosen = [each for each in found if _wanted(each, scope, group_ids)]
        _delete(session, actor, organism, chosen)
        for page in batched(chosen, PAGE):
            audit.append(session, actor.name, "delete", organism, {"versions": [str(each.name) for each in page]})
    return [each.name for each in chosen]


def _named(session: Session, actor: Actor, organism: str, wanted: Sequence[AccessionVersion]) -> list[Candidate]:
    find_versions(session, actor, Action.DELETE, organism, wanted)
    found: list[Candidate] = []
    for page in batched(sorted(set(wanted)), PAGE):
        found += _locked(session, among(EntryVersion, page))
    if wrong := [f"{each.name} - {each.status}" for each in found if each.status not in _DELETABLE]:
        raise Unprocessable(
            f"Accession versions are not in one of the states [{', '.join(_DELETABLE)}]: {', '.join(wrong)}"
        )
    if gone := sorted(set(wanted) - {each.name for each in found}):
        raise Unprocessable(f"Accession versions {', '.join(map(str, gone))} do not exist")
    return found


def _all(session: Session, actor: Actor, organism: str, group_ids: Sequence[int] | None) -> list[Candidate]:
    mine = visible_to(session, actor, group_ids, Action.DELETE)
    condition = and_(col(EntryVersion.organism) == organism, entry_state.is_open(), mine)
    return [each for each in _locked(session, condition) if each.status in _DELETABLE]


def _locked(session: Session, condition: ColumnElement[bool]) -> list[Candidate]:
    """The entry versions as they are once no worker can claim, register or be handed them."""
    name = (col(EntryVersion.accession), col(EntryVersion.version))
    # Entries before jobs, as in a registration: two that lock in opposite orders wait for ever.
    session.execute(select(*name).where(condition).order_by(*name).with_for_update(key_share=True)).all()
    its_entry = and_(col(Job.accession) == col(EntryVersion.accession), col(Job.version) == col(EntryVersion.version))
    jobs = select(col(Job.id)).join(EntryVersion, its_entry).where(condition).order_by(col(Job.id))
    session.execute(jobs.with_for_update(of=Job)).all()
    return locked(session, condition)


def _wanted(candidate: Candidate, scope: Scope, group_ids: Sequence[int] | None) -> bool:
    in_scope = scope is Scope.ALL or (candidate.status == Status.PROCESSED and candidate.result == _RESULT_OF[scope])
    return in_scope and (group_ids is None or candidate.group_id in group_ids)


def _delete(session: Session, actor: Actor, organism: str, chosen: Sequence[Candidate]) -> None:
    now = clock.read(session)
    for page in batched(chosen, PAGE):
        names = [each.name for each in page]
        delete_rows(session, names)
        session.execute(
            insert(DeletedEntryVersion),
            [
                {
                    "accession": each.name.accession,
                    "version": each.name.version,
                    "organism": organism,
                    "group_id": each.group_id,
                    "deleted_by": actor.name,
                    "deleted_at": now,
                }
                for each in page
            ],
        )
        records.changed(session, names)


def delete_rows(session: Session, names: Sequence[AccessionVersion]) -> None:
    """Delete all rows of unreleased versions, their uploaded files excepted; lock entries and jobs first."""
    manifests = select(col(Manifest.id)).where(among(Manifest, names))
    _run(session, SentBack, col(SentBack.manifest_id).in_(manifests))
    _run(session, ManifestFile, col(ManifestFile.manifest_id).in_(manifests))
    for table in _TABLES:
        _run(session, table, among(table, names))


def _run(session: Session, table: type[SQLModel], condition: ColumnElement[bool]) -> None:
    session.execute(delete(table).where(condition).execution_options(synchronize_session=False))
