"""What an external pipeline gets to do: each accession version to one pipeline at a time, for a while.

Pipelines can't renew a lease, so a claim holds for the organism's `external.timeout`. Parallel
pipelines never get the same one: rows that another one is claiming are skipped, and one open job
for each accession version and pipeline version is all that the database accepts.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_, exists, func, literal_column, select, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.clock import now
from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, Job, Manifest, OrganismState
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.organism.pipeline import External
from readvault.domain.status import JobKind, JobState
from readvault.services import access_log
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.processing import chain, pipeline_versions
from readvault.services.queue.fence import take_back

MAX_ENTRIES = 100_000
PAGE = 500
SETTLED = 60.0
"""Seconds after which every transaction that was under way when something changed has ended."""
STILL_OPEN = literal_column("(job.kind = 'external-processing' AND job.state <> 'done')", Boolean)
"""In the words of the partial indexes: a database doesn't see their condition in a bound parameter."""


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
    with house.sessions.begin() as session:
        counts = pipeline_versions.settle(session, organism, pipeline_version)
        if counts > organism.pipeline.version:  # new entries come with a job of the file's version
            pipeline_versions.call_off_older(session, organism.name, counts)
        etag, quiet = _etag(session, organism)
        matches = if_none_match is not None and etag in (each.strip() for each in if_none_match.split(","))
        ours = (col(Job.organism) == organism.name, col(Job.pipeline_version) == pipeline_version, STILL_OPEN)
        returned = take_back(session, house.settings.worker, *ours, col(Job.lease_until) < now())
        holder = {"lease_owner": f"pipeline {actor.name}", "lease_until": clock.read(session) + external.timeout}
        names = _queued(session, external, ours, count, holder)
        if len(names) < count and not (matches and quiet):
            names += _missing(session, organism, external, pipeline_version, count - len(names), holder)
        names.sort()
        if names or returned:
            pipeline_versions.note_change(session, organism.name)
        access_log.note_all(session, actor.name, _files_of(session, external, names, pipeline_version), "pipeline")
    return Claimed(tuple(names), etag, unchanged=matches and not names)


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


def _queued(
    session: Session,
    external: External,
    ours: Sequence[ColumnElement[bool]],
    count: int,
    holder: dict[str, Any],
) -> list[AccessionVersion]:
    """Claim jobs that wait, by accession and version."""
    waiting = (
        select(col(Job.id))
        .where(*ours, col(Job.state) == JobState.QUEUED.value, col(Job.not_before) <= now())
        .order_by(col(Job.accession), col(Job.version))
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    if external.mode == "after":
        begun = exists().where(chain.is_part_of(Job, col(Job.pipeline_version))).correlate(Job)
        waiting = waiting.where(begun)
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


def _missing(
    session: Session, organism: Organism, external: External, version: int, count: int, holder: dict[str, Any]
) -> list[AccessionVersion]:
    """Claim what has neither a result of this pipeline version nor a job for it: what an upgrade goes through."""
    about = and_(col(Job.accession) == col(EntryVersion.accession), col(Job.version) == col(EntryVersion.version))
    has_job = exists().where(about, col(Job.pipeline_version) == version, STILL_OPEN).correlate(EntryVersion)
    being_registered = exists().where(
        about,
        col(Job.pipeline_version) == version,
        col(Job.kind) == JobKind.REGISTER_EXTERNAL.value,
        col(Job.state) != JobState.DONE.value,
    )
    has_result = exists().where(
        col(Manifest.accession) == col(EntryVersion.accession),
        col(Manifest.version) == col(EntryVersion.version),
        col(Manifest.pipeline_version) == version,
        col(Manifest.superseded_at).is_(None),
    )
    lacking = (
        select(col(EntryVersion.accession), col(EntryVersion.version))
        .where(
            col(EntryVersion.organism) == organism.name,
            ~col(EntryVersion.is_revocation),
            ~has_job,
            ~being_registered.correlate(EntryVersion),
            ~has_result.correlate(EntryVersion),
        )
        .order_by(col(EntryVersion.accession), col(EntryVersion.version))
        .limit(count)
        .with_for_update(key_share=True, skip_locked=True, of=EntryVersion)
    )
    if external.mode == "after":
        lacking = lacking.where(exists().where(chain.is_part_of(EntryVersion, version)).correlate(EntryVersion))
    at = clock.read(session)
    same = {"kind": JobKind.EXTERNAL_PROCESSING.value, "organism": organism.name, "pipeline_version": version,
            "created_at": at, "not_before": at, "state": JobState.RUNNING.value, "attempt": 1,
            "failures": 0, "handbacks": 0, "runs_alone": False, "deliveries": 0, **holder}  # fmt: skip
    table = columns_of(Job)
    claimed: list[AccessionVersion] = []
    for page in batched(session.execute(lacking).all(), PAGE):
        rows = [{"id": str(uuid.uuid4()), "accession": name, "version": number, **same} for name, number in page]
        # A pipeline beside us may have made the same job a moment ago: then it is that one's.
        made = (
            insert_into(session, table)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(table.c.accession, table.c.version)
        )
        claimed += [AccessionVersion(*row) for row in session.execute(made)]
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
