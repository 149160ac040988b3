"""What an external pipeline of a version has neither a result nor a job for: what an upgrade goes through.

New entries come with a job, so this is the rare case, and the dear one: it looks at every entry. So it
is found by reading only, goes on where it stopped, and rests when there was nothing more.
"""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from sqlalchemy import Boolean, ColumnElement, exists, literal_column, select, tuple_
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.engine import Sessions
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Job, Manifest
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.organism.pipeline import External
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import chain

PAGE = 500
STILL_OPEN = literal_column("(job.kind = 'external-processing' AND job.state <> 'done')", Boolean)
"""In the words of the partial indexes: a database doesn't see their condition in a bound parameter."""
QUICK = 0.5
"""Seconds: a search that takes no longer needs no rest."""
REST = 20.0
"""How many times its own duration a search rests that found less than was asked for."""


@dataclass(slots=True)
class _Search:
    """How far the search for one organism and pipeline version has come in this process."""

    after: AccessionVersion | None = None
    rests_until: float = 0.0
    nothing_at: str | None = None
    """The ETag under which there was nothing more, when all had been quiet for a while."""


@dataclass(slots=True)
class _Searches:
    by_name: dict[tuple[str, int], _Search] = field(default_factory=dict)


_searches: weakref.WeakKeyDictionary[Sessions, _Searches] = weakref.WeakKeyDictionary()


def found(
    house: House, organism: Organism, external: External, version: int, count: int, *, quiet_at: str | None
) -> list[AccessionVersion]:
    """Up to `count` accession versions without a result of this pipeline version and without a job for one.

    Nothing at all while the search rests: what has come since is found a little later. Nor when
    nothing was left under the same ETag: `quiet_at` is that of now, or None while things still move.
    Only read; `take` looks again.
    """
    of_database = _searches.setdefault(house.sessions, _Searches())
    search = of_database.by_name.setdefault((organism.name, version), _Search())
    started = time.monotonic()
    if started < search.rests_until or (quiet_at is not None and quiet_at == search.nothing_at):
        return []
    with house.sessions.read() as session:
        names = _lacking(session, organism, external, version, count, after=search.after)
        if len(names) < count and search.after is not None:
            names = _lacking(session, organism, external, version, count, after=None)
    took = time.monotonic() - started
    whole = len(names) == count
    search.after = names[-1] if whole else None
    search.nothing_at = None if names else quiet_at
    search.rests_until = 0.0 if whole or took < QUICK else time.monotonic() + REST * took
    return names


def take(
    session: Session,
    organism: Organism,
    external: External,
    version: int,
    names: Sequence[AccessionVersion],
    holder: dict[str, Any],
) -> list[AccessionVersion]:
    """Claim those of the named versions that still lack a result and a job; skip what others are claiming."""
    at = clock.read(session)
    same = {"kind": JobKind.EXTERNAL_PROCESSING.value, "organism": organism.name, "pipeline_version": version,
            "created_at": at, "not_before": at, "state": JobState.RUNNING.value, "attempt": 1,
            "failures": 0, "handbacks": 0, "runs_alone": False, "deliveries": 0, **holder}  # fmt: skip
    table = columns_of(Job)
    claimed: list[AccessionVersion] = []
    for page in batched(names, PAGE):
        still = (
            select(col(EntryVersion.accession), col(EntryVersion.version))
            .where(among(EntryVersion, page), *_conditions(organism, external, version))
            .with_for_update(key_share=True, skip_locked=True, of=EntryVersion)
        )
        rows = [
            {"id": str(uuid.uuid4()), "accession": name, "version": number, **same}
            for name, number in session.execute(still)
        ]
        if not rows:
            continue
        # A pipeline beside us may have made the same job a moment ago: then it is that one's.
        made = insert_into(session, table).values(rows).on_conflict_do_nothing()
        claimed += [
            AccessionVersion(*row) for row in session.execute(made.returning(table.c.accession, table.c.version))
        ]
    return claimed


def _lacking(
    session: Session,
    organism: Organism,
    external: External,
    version: int,
    count: int,
    *,
    after: AccessionVersion | None,
) -> list[AccessionVersion]:
    name = (col(EntryVersion.accession), col(EntryVersion.version))
    query = select(*name).where(*_conditions(organism, external, version)).order_by(*name).limit(count)
    if after is not None:
        # The accession alone as well: SQLite starts there in the index, which it doesn't for the pair.
        place = (name[0] >= after.accession, tuple_(*name) > (after.accession, after.version))
        query = query.where(*place)
    return [AccessionVersion(*row) for row in session.execute(query)]


def _conditions(organism: Organism, external: External, version: int) -> list[ColumnElement[bool]]:
    same_entry = (col(Job.accession) == col(EntryVersion.accession), col(Job.version) == col(EntryVersion.version))
    has_job = exists().where(*same_entry, col(Job.pipeline_version) == version, STILL_OPEN)
    being_registered = exists().where(
        *same_entry,
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
    conditions = [
        col(EntryVersion.organism) == organism.name,
        ~col(EntryVersion.is_revocation),
        *(~each.correlate(EntryVersion) for each in (has_job, being_registered, has_result)),
    ]
    if external.mode == "after":
        conditions.append(exists().where(chain.is_part_of(EntryVersion, version)).correlate(EntryVersion))
    return conditions
