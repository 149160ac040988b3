"""What an external pipeline gets to do: each accession version to one pipeline at a time, for a while.

Pipelines can't renew a lease, so a claim holds for the organism's `external.timeout`. Parallel
pipelines never get the same one: rows that another one is claiming are skipped, and one open job
for each accession version and pipeline version is all that the database accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, exists, func, literal_column, select, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.clock import now
from readvault.db.names import among
from readvault.db.tables import EntryFile, Job, OrganismState
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.organism.pipeline import External
from readvault.domain.status import JobState
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.processing import chain, external_missing, pipeline_versions
from readvault.services.queue.fence import hand_back, take_back

MAX_ENTRIES = 100_000
PAGE = 500
SETTLED = 60.0
"""Seconds after which every transaction that was under way when something changed has ended."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a pipeline has claimed, in order; `etag` is what was there before, None of it changed when `unchanged`."""

    names: tuple[AccessionVersion, ...]
    etag: str
    unchanged: bool


def claim(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    count: int,
    pipeline_version: int,
    if_none_match: str | None = None,
) -> Claimed:
    """Claim up to `count` accession versions that this version of the pipeline has no result for.

    Raises BadRequest for more than 100,000, Unprocessable for an old pipeline version or an organism
    without external pipeline, Forbidden. URLs that are given for what was claimed are written down
    here, before they are given.
    """
    if count > MAX_ENTRIES:
        raise BadRequest(f"You can extract at max {MAX_ENTRIES} sequence entries at once.")
    with house.sessions.read() as session:
        authorize(session, actor, Action.PREPROCESS)
    assert actor is not None
    organism = house.organism(organism_name)
    external = external_of(organism)
    missing = _missing(house, organism, external, count, pipeline_version)
    with house.sessions.begin() as session:
        counts = pipeline_versions.settle(session, organism, pipeline_version)
        if counts > organism.pipeline.version:  # new entries come with a job of the file's version
            pipeline_versions.call_off_older(session, organism.name, counts)
        etag, _ = _etag(session, organism)
        matches = _is_among(etag, if_none_match)
        ours = _jobs_of(organism, pipeline_version)
        returned = take_back(session, house.settings.worker, *ours, col(Job.lease_until) < now())
        holder = {"lease_owner": f"pipeline {actor.name}", "lease_until": clock.read(session) + external.timeout}
        names = _queued(session, external, ours, count, holder)
        left = missing[: count - len(names)]
        names += external_missing.take(session, organism, external, pipeline_version, left, holder)
        names.sort()
        if names or returned:
            pipeline_versions.note_change(session, organism.name)
        access_log.note_all(session, actor.name, _files_of(session, external, names, pipeline_version), "pipeline")
    return Claimed(tuple(names), etag, unchanged=matches and not names)


def _missing(
    house: House, organism: Organism, external: External, count: int, pipeline_version: int
) -> list[AccessionVersion]:
    """What has neither a job nor a result of this version, as far as jobs that wait leave room for it.

    Looked for before the transaction that claims, because it may take a while where there is much.
    """
    ours = _jobs_of(organism, pipeline_version)
    with house.sessions.read() as session:
        if pipeline_version < pipeline_versions.current(session, organism):
            return []
        room = count - len(session.execute(_waiting(external, ours, count)).all())
        if room <= 0:
            return []
        known = session.get(OrganismState, organism.name) is not None
        etag, quiet = _etag(session, organism) if known else ("", False)
    quiet_at = etag if quiet else None
    return external_missing.found(house, organism, external, pipeline_version, room, quiet_at=quiet_at)


def _jobs_of(organism: Organism, version: int) -> tuple[ColumnElement[bool], ...]:
    return (col(Job.organism) == organism.name, col(Job.pipeline_version) == version, external_missing.STILL_OPEN)


def _is_among(etag: str, if_none_match: str | None) -> bool:
    return if_none_match is not None and etag in (each.strip() for each in if_none_match.split(","))


def external_of(organism: Organism) -> External:
    """The organism's external pipeline; raises Unprocessable when it has none."""
    if organism.pipeline.external is None:
        raise Unprocessable(f"No external pipeline is configured for organism {organism.name}.")
    return organism.pipeline.external


def _etag(session: Session, organism: Organism) -> tuple[str, bool]:
    """What changes with all that pipelines could notice, and whether it has been as it is for a while."""
    newest = session.execute(
        select(func.max(col(Job.created_at))).where(
            col(Job.organism) == organism.name, literal_column("(job.kind = 'external-processing')", Boolean)
        )
    ).scalar_one()
    state = session.get_one(OrganismState, organism.name)
    etag = f'"{state.current_pipeline_version}-{state.processing_revision}-{newest or 0.0:.6f}"'
    return etag, newest is None or clock.read(session) - newest > SETTLED


def _waiting(external: External, ours: Sequence[ColumnElement[bool]], count: int) -> Select[tuple[str]]:
    """The IDs of jobs that wait, by accession and version."""
    waiting = (
        select(col(Job.id))
        .where(*ours, col(Job.state) == JobState.QUEUED.value, col(Job.not_before) <= now())
        .order_by(col(Job.accession), col(Job.version))
        .limit(count)
    )
    if external.mode == "after":
        begun = exists().where(chain.is_part_of(Job, col(Job.pipeline_version))).correlate(Job)
        waiting = waiting.where(begun)
    return waiting


def _queued(
    session: Session, external: External, ours: Sequence[ColumnElement[bool]], count: int, holder: dict[str, Any]
) -> list[AccessionVersion]:
    """Claim jobs that wait; those that another pipeline is claiming are skipped."""
    waiting = _waiting(external, ours, count).with_for_update(skip_locked=True)
    claimed: list[AccessionVersion] = []
    for page in batched(session.execute(waiting).scalars().all(), PAGE):
        rows = session.execute(
            update(Job)
            .where(col(Job.id).in_(page))
            .values(state=JobState.RUNNING.value, attempt=col(Job.attempt) + 1, **holder)
            .returning(col(Job.accession), col(Job.version))
            .execution_options(synchronize_session=False)
        )
        claimed += [AccessionVersion(*row) for row in rows]
    return claimed


def _files_of(
    session: Session, external: External, names: Sequence[AccessionVersion], version: int
) -> list[tuple[AccessionVersion, list[tuple[str, str]]]]:
    """The files of which URLs will be given: (file ID, category) for each accession version."""
    given: dict[AccessionVersion, list[tuple[str, str]]] = {name: [] for name in names}
    for page in batched(names, PAGE):
        if external.mode == "after":
            for name, part in chain.first_parts(session, page, version).items():
                given[name] = [(file["fileId"], file["category"]) for file in part.files]
            continue
        named = among(EntryFile, page)
        for file in session.execute(select(EntryFile).where(named)).scalars():
            given[AccessionVersion(file.accession, file.version)].append((file.file_id, file.category))
    return list(given.items())


def set_aside(house: House, names: Sequence[AccessionVersion], pipeline_version: int) -> None:
    """Let claimed accession versions need attention, because files of theirs are damaged; their repair queues them."""
    with house.sessions.begin() as session:
        jobs = session.execute(
            select(Job)
            .where(
                among(Job, names),
                col(Job.pipeline_version) == pipeline_version,
                col(Job.state) == JobState.RUNNING.value,
                external_missing.STILL_OPEN,
            )
            .order_by(col(Job.id))
            .with_for_update()
        ).scalars().all()  # fmt: skip
        for job in jobs:
            hand_back(session, job, JobState.NEEDS_ATTENTION, f"extract: {damage.IS_DAMAGED}")
