"""Which version of an external pipeline counts, and when a newer one takes its place.

Loculus's rule: a newer version becomes current once every accession version that the current one
processed without error has a result without error of the newer one too. It never goes back.
"""

from __future__ import annotations

import uuid
from itertools import batched
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    and_,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col

from readvault.db import audit, clock, records
from readvault.db.tables import CurrentResult, EntryVersion, Job, Manifest, OrganismState, Release, Withholding
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind, JobState, ProcessingResult
from readvault.services.authorization import Action, authorize
from readvault.services.entries import released_state
from readvault.services.house import House
from readvault.services.processing import still_withheld
from readvault.services.queue.fence import SYSTEM

PAGE = 500
_newer = aliased(Manifest)
_before = aliased(CurrentResult)


def current(session: Session, organism: Organism) -> int:
    """The pipeline version whose results count."""
    state = session.get(OrganismState, organism.name)
    found = None if state is None else state.current_pipeline_version
    return organism.pipeline.version if found is None else found


def settle(session: Session, organism: Organism, asked: int) -> int:
    """The version that counts, written down when a pipeline asks for the first time.

    Raises Unprocessable, in Loculus's words, when the asking pipeline's version is an older one.
    """
    state = session.get(OrganismState, organism.name)
    if state is None or state.current_pipeline_version is None:
        table = columns_of(OrganismState)
        first = organism.pipeline.version
        values = {"organism": organism.name, "released_revision": 0, "released_changed_at": 0.0}
        new = insert_into(session, table).values(**values, current_pipeline_version=first)
        kept = func.coalesce(table.c.current_pipeline_version, first)
        session.execute(new.on_conflict_do_update(index_elements=["organism"], set_={"current_pipeline_version": kept}))
        session.expire_all()
    counts = current(session, organism)
    if asked < counts:
        raise Unprocessable(
            f"The processing pipeline version {asked} is not accepted anymore."
            f" The current pipeline version is {counts}."
        )
    return counts


def note_change(session: Session, organism: str) -> None:
    """Note that a pipeline took work or sent results. Locks the organism's row: call it late."""
    session.execute(
        update(OrganismState)
        .where(col(OrganismState.organism) == organism)
        .values(processing_revision=col(OrganismState.processing_revision) + 1)
        .execution_options(synchronize_session=False)
    )


def upgrade(house: House, organism_name: str) -> int | None:
    """Make the newest version current that can be; the version, or None when nothing changed.

    From the commit on its results stand: what is released gets the new result, and the old one stays
    downloadable. Older pipelines are refused, and what they had to do is called off.
    """
    with house.sessions.read() as session:
        if _next(session, house.organism(organism_name)) is None:
            return None
    with house.sessions.begin() as session:
        state = session.get(OrganismState, organism_name, with_for_update=True)
        following = _next(session, house.organism(organism_name))
        if state is None or following is None:
            return None
        before = current(session, house.organism(organism_name))
        state.current_pipeline_version = following
        session.flush()
        call_off_older(session, organism_name, following)
        released = publish_results(session, organism_name, following)
        records.organism_changed(session, organism_name)
        details = {"from": before, "to": following, "releasedResults": released}
        audit.append(session, SYSTEM, "pipeline version becomes current", organism_name, details)
    return following


def upgrade_all(house: House) -> int:
    """Look at every organism with an external pipeline; how many got another current version.

    Also publishes what was approved in the very moment in which a version became current.
    """
    changed = 0
    for organism in house.organisms.values():
        if organism.pipeline.external is None:
            _forget(house, organism.name)
            continue
        changed += upgrade(house, organism.name) is not None
        with house.sessions.read() as session:
            counts = current(session, organism)
        if counts > organism.pipeline.version:
            with house.sessions.begin() as session:
                publish_results(session, organism.name, counts)
    return changed


def _forget(house: House, organism: str) -> None:
    """Without an external pipeline the organism's file alone says which version counts."""
    settled = (col(OrganismState.organism) == organism, col(OrganismState.current_pipeline_version).is_not(None))
    with house.sessions.read() as session:
        if session.execute(select(col(OrganismState.organism)).where(*settled)).first() is None:
            return  # no write transaction at every pass
    with house.sessions.begin() as session:
        forgotten = update(OrganismState).where(*settled).values(current_pipeline_version=None)
        session.execute(forgotten.execution_options(synchronize_session=False))


def publish_results(session: Session, organism: str, version: int) -> int:
    """Let the results of the current version stand for what is released with an older one; how many.

    What follows a publication (locks, a record) is a job for each, as after an approval.
    """
    standing = func.coalesce(_published(), col(Release.manifest_id))
    older = aliased(Manifest)
    at = clock.read(session)
    these = (
        col(EntryVersion.organism) == organism,
        col(EntryVersion.released),
        *_is_good(_newer, version),
        col(older.pipeline_version) < version,
        # Once only: a maintainer may have gone back to the older one since.
        ~exists().where(col(_before.manifest_id) == col(_newer.id)).correlate(_newer),
    )

    def joined(query: Select[Any]) -> Select[Any]:
        query = query.join(Release, _same(Release, _newer)).join(EntryVersion, _same(EntryVersion, _newer))
        return query.join(older, col(older.id) == standing).where(*these)

    pairs = joined(select(col(older.id), col(_newer.id)).select_from(_newer))
    withheld = session.execute(pairs.where(exists().where(_same(Withholding, _newer)).correlate(_newer))).all()
    still_withheld.carry_over(session, (tuple(pair) for pair in withheld), at)
    found = session.execute(
        insert(CurrentResult)
        .from_select(
            ["accession", "version", "manifest_id", "since", "actor", "reason"],
            joined(
                select(
                    col(_newer.accession),
                    col(_newer.version),
                    col(_newer.id),
                    literal(at),
                    literal(SYSTEM),
                    literal(f"pipeline version {version} became current"),
                )
            ),
        )
        .returning(col(CurrentResult.accession), col(CurrentResult.version))
    ).all()
    for page in batched(found, PAGE):
        same = {"kind": JobKind.RELEASE.value, "organism": organism, "pipeline_version": version,
                "created_at": at, "not_before": at}  # fmt: skip
        session.execute(
            insert(Job),
            [{"id": str(uuid.uuid4()), "accession": name, "version": number, **same} for name, number in page],
        )
    if found:
        records.changed(session, (tuple(row) for row in found))
        released_state.changed(session, organism, at)
    return len(found)


def statistics(house: House, actor: Actor | None) -> dict[str, dict[int, int]]:
    """For each organism how many results each pipeline version has. For maintainers."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        rows = session.execute(
            select(col(EntryVersion.organism), col(Manifest.pipeline_version), func.count())
            .join(EntryVersion, _same(EntryVersion, Manifest))
            .where(col(Manifest.superseded_at).is_(None), ~col(EntryVersion.is_revocation))
            .group_by(col(EntryVersion.organism), col(Manifest.pipeline_version))
        ).all()
    counts: dict[str, dict[int, int]] = {name: {} for name in house.organisms}
    for organism, version, count in sorted(rows):
        counts.setdefault(organism, {})[version] = count
    return counts


def current_versions(house: House, actor: Actor | None) -> dict[str, int]:
    """For each organism the pipeline version that counts. For maintainers."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return {name: current(session, organism) for name, organism in house.organisms.items()}


def _next(session: Session, organism: Organism) -> int | None:
    """The newest version with results that has one without error for all that the current version has."""
    counts = current(session, organism)
    newer = (
        select(col(Manifest.pipeline_version))
        .join(EntryVersion, _same(EntryVersion, Manifest))
        .where(
            col(EntryVersion.organism) == organism.name,
            col(Manifest.pipeline_version) > counts,
            col(Manifest.superseded_at).is_(None),
            col(Manifest.processing_result) != ProcessingResult.HAS_ERRORS.value,
        )
        .distinct()
    )
    for version in sorted(session.execute(newer).scalars(), reverse=True):
        lacking = (
            select(col(Manifest.id))
            .join(EntryVersion, _same(EntryVersion, Manifest))
            .where(
                col(EntryVersion.organism) == organism.name,
                ~col(EntryVersion.is_revocation),
                *_is_good(Manifest, counts),
                ~exists().where(_same(_newer, Manifest), *_is_good(_newer, version)).correlate(Manifest),
            )
            .limit(1)
        )
        if session.execute(lacking).first() is None:
            return int(version)
    return None


def call_off_older(session: Session, organism: str, version: int) -> None:
    """End what pipelines older than the current version had to do: nobody may do it any more.

    What somebody is busy with at this moment is left to the next call.
    """
    older = select(col(Job.id)).where(
        col(Job.organism) == organism,
        col(Job.pipeline_version) < version,
        literal_column("(job.kind = 'external-processing' AND job.state <> 'done')", Boolean),
    )
    session.execute(
        update(Job)
        .where(col(Job.id).in_(older.with_for_update(skip_locked=True)))
        .values(
            state=JobState.DONE.value,
            finished_at=clock.read(session),
            lease_owner=None,
            lease_until=None,
            last_error=f"pipeline version {version} became current",
        )
        .execution_options(synchronize_session=False)
    )


def _published() -> ColumnElement[int | None]:
    return (
        select(col(CurrentResult.manifest_id))
        .where(_same(CurrentResult, Release))
        .order_by(col(CurrentResult.id).desc())
        .limit(1)
        .correlate(Release)
        .scalar_subquery()
    )


def _same(one: type[SQLModel], other: type[SQLModel]) -> ColumnElement[bool]:
    """Whether two rows are about the same accession version."""
    return and_(one.accession == other.accession, one.version == other.version)  # type: ignore[attr-defined]


def _is_good(table: type[Manifest], version: int) -> tuple[ColumnElement[bool], ...]:
    return (
        col(table.pipeline_version) == version,
        col(table.superseded_at).is_(None),
        col(table.processing_result) != ProcessingResult.HAS_ERRORS.value,
    )
