"""How far released reads have been screened with the host index of today, by organism."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, union
from sqlmodel import Session, col

from readvault.db.erased import is_tombstone
from readvault.db.tables import Bookmark, CurrentResult, EntryVersion, Job, ManifestFile, Release, Screening
from readvault.domain.actor import Actor
from readvault.domain.organism import Organism
from readvault.domain.reads import READ_LEVEL
from readvault.domain.status import JobKind, JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.screening.feeding import walk_of


@dataclass(frozen=True, slots=True)
class Progress:
    """The released results of an organism whose reads are public or withheld, and one host index.

    `screened` of `results` have been through it: `by_processing` when they were processed, the others
    afterwards; `with_hits` had reads that hit it, `hits` reads in all. `queued` and `needing_attention`
    count jobs. `walked_at`: when the last look over all of them ended (seconds since 1970), None while
    it goes on. `is_current`: the index that is pinned now.
    """

    organism: str
    index_sha256: str
    is_current: bool
    results: int
    screened: int
    by_processing: int
    with_hits: int
    hits: int
    queued: int
    needing_attention: int
    walked_at: float | None


def progress(house: House, actor: Actor | None) -> list[Progress]:
    """Every organism with every index that its released reads were screened with. Raises Forbidden."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return [each for organism in house.organisms.values() for each in _of(session, organism)]


def _of(session: Session, organism: Organism) -> list[Progress]:
    now = organism.pipeline.dehumanize.sha256
    hits = col(Screening.hits)
    counted = (
        select(
            col(Screening.index_sha256),
            func.count(),
            func.count().filter(col(Screening.by_processing)),
            func.count().filter(hits > 0),
            func.coalesce(func.sum(hits), 0),
        )
        .where(col(Screening.organism) == organism.name)
        .group_by(col(Screening.index_sha256))
    )
    found = {row[0]: tuple(row[1:]) for row in session.execute(counted)}
    if now is not None:
        found.setdefault(now, (0, 0, 0, 0))
    results = _results(session, organism.name) if found else 0
    jobs = _jobs(session, organism.name) if now is not None else {}
    queued = jobs.get(JobState.QUEUED.value, 0) + jobs.get(JobState.RUNNING.value, 0)
    lines = []
    for index, (screened, native, with_hits, all_hits) in sorted(found.items(), key=lambda each: each[0] != now):
        walk = session.get(Bookmark, walk_of(organism.name, index))
        lines.append(
            Progress(
                organism=organism.name,
                index_sha256=index,
                is_current=index == now,
                results=results,
                screened=screened,
                by_processing=native,
                with_hits=with_hits,
                hits=int(all_hits),
                queued=queued if index == now else 0,
                needing_attention=jobs.get(JobState.NEEDS_ATTENTION.value, 0) if index == now else 0,
                walked_at=None if walk is None else walk.finished_at,
            )
        )
    return lines


def _results(session: Session, organism: str) -> int:
    """Published results with reads that may be public, of what was not erased."""
    published = union(
        *(
            select(col(table.manifest_id))
            .join(
                EntryVersion,
                (col(EntryVersion.accession) == col(table.accession))
                & (col(EntryVersion.version) == col(table.version)),
            )
            .where(col(EntryVersion.organism) == organism, ~is_tombstone())
            for table in (Release, CurrentResult)
        )
    )
    with_reads = select(func.count(func.distinct(col(ManifestFile.manifest_id)))).where(
        col(ManifestFile.manifest_id).in_(published),
        col(ManifestFile.category).in_([each.value for each in READ_LEVEL]),
        col(ManifestFile.may_be_public),
    )
    return session.scalar(with_reads) or 0


def _jobs(session: Session, organism: str) -> dict[str, int]:
    query = (
        select(col(Job.state), func.count())
        .where(
            col(Job.state) != JobState.DONE.value,
            col(Job.kind) == JobKind.SCREEN.value,
            col(Job.organism) == organism,
        )
        .group_by(col(Job.state))
    )
    return {row[0]: row[1] for row in session.execute(query)}
