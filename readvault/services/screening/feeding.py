"""Released reads that the host index of today has not seen yet become jobs, a few at a time.

The walk goes over the released entries of each organism by their names, as far as its bookmark says,
so it can be broken off anywhere; another index is another walk. It begins anew every night, for what
was released meanwhile by a result of an older index.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Container, Sequence

from sqlalchemy import func, select, tuple_, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.erased import is_tombstone
from readvault.db.names import among
from readvault.db.tables import Bookmark, EntryVersion, Job
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind, JobState, Priority
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.screening.findings import note_processed
from readvault.services.screening.unscreened import Unscreened, unscreened

OPEN_AT_ONCE = 20
"""Screening jobs that wait or run: new submissions never find more of them before them."""
PAGE = 100
SECONDS = 1.0
"""So long one call looks around."""
FEED_EVERY = 5.0
ANEW_EVERY = 86_400.0
WALK = "screen released reads"


def feed(house: House, ready: Container[str], *, seconds: float = SECONDS) -> int:
    """Queue jobs for released reads that the index of their organism has not seen; how many.

    Only organisms in `ready` are looked at: without the pinned index nothing can be screened.
    """
    until = time.monotonic() + seconds
    queued = 0
    for organism in list(house.organisms.values()):
        if organism.name not in ready or organism.pipeline.dehumanize.sha256 is None:
            continue
        while time.monotonic() < until:
            made = _step(house, organism)
            if made is None:
                break
            queued += made
    return queued


def after_release(house: House, name: AccessionVersion) -> None:
    """Queue a job for what was just released by a result of another index: it doesn't wait for the next walk."""
    with house.sessions.read() as session:
        entry = session.get_one(EntryVersion, (name.accession, name.version))
        organism = house.organisms.get(entry.organism)
        index = None if organism is None else organism.pipeline.dehumanize.sha256
        new = [] if index is None else unscreened(session, [name], index)
    if organism is None or index is None or not new:
        return
    with house.sessions.begin() as session:
        # Two at once make one job.
        session.get_one(EntryVersion, (name.accession, name.version), with_for_update=True)
        note_processed(session, organism.name, (each for each in new if each.by_processing), index)
        to_read = any(not each.by_processing for each in new) and not _with_a_job(session, [name])
        if to_read:
            session.add(_job(organism, name, new, clock.read(session)))


def walk_of(organism: str, index_sha256: str) -> str:
    """The name of the bookmark of one walk."""
    return f"{WALK}: {organism} {index_sha256}"


def begin_anew(house: House) -> int:
    """Let every walk that came to its end begin again; how many."""
    walks = (col(Bookmark.name).startswith(WALK, autoescape=True), col(Bookmark.finished_at).is_not(None))
    with house.sessions.begin() as session:
        again = update(Bookmark).where(*walks).values(finished_at=None, position="").returning(col(Bookmark.name))
        return len(session.execute(again).all())


def _step(house: House, organism: Organism) -> int | None:
    """One page of one walk; how many jobs it queued. None when there is nothing to do now."""
    index = organism.pipeline.dehumanize.sha256
    assert index is not None
    walk = walk_of(organism.name, index)
    with house.sessions.read() as session:
        at = session.get(Bookmark, walk)
        if at is not None and at.finished_at is not None and clock.read(session) - at.finished_at < ANEW_EVERY:
            return None
        room = OPEN_AT_ONCE - _open_jobs(session)
        if room <= 0:
            return None
        position = "" if at is None or at.finished_at is not None else at.position
        names = _names(session, organism.name, position)
        new = _without_a_job(session, names, index)
    to_read = sorted({each.name for each in new if not each.by_processing})
    if len(to_read) > room:
        names = names[: names.index(to_read[room])]
        to_read = to_read[:room]
    with house.sessions.begin() as session:
        if not _move(session, walk, position, str(names[-1]) if names else ""):
            return None  # another worker is at it
        # Asked again: another one may have gone round the whole walk meanwhile, and stand where it stood.
        new = _without_a_job(session, names, index)
        to_read = sorted({each.name for each in new if not each.by_processing})
        note_processed(session, organism.name, (each for each in new if each.by_processing), index)
        now = clock.read(session)
        session.add_all(_job(organism, name, new, now) for name in to_read)
        failpoint("screen-feed-before-commit")
    return len(to_read) if names else None


def _open_jobs(session: Session) -> int:
    """Those that wait are looked for among what has time: a long queue of submissions is not counted through."""
    of_kind = select(func.count(col(Job.id))).where(col(Job.kind) == JobKind.SCREEN.value)
    waits = (col(Job.state) == JobState.QUEUED.value, col(Job.priority) == Priority.BACKGROUND.value)
    runs = of_kind.where(col(Job.state) == JobState.RUNNING.value)
    return (session.scalar(of_kind.where(*waits)) or 0) + (session.scalar(runs) or 0)


def _names(session: Session, organism: str, after: str) -> list[AccessionVersion]:
    """The next released accession versions, by name."""
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    last = AccessionVersion.parse(after) if after else AccessionVersion("", 0)
    rows = session.execute(
        select(*place)
        .where(
            col(EntryVersion.organism) == organism,
            col(EntryVersion.released),
            ~is_tombstone(),
            tuple_(*place) > (last.accession, last.version),
        )
        .order_by(*place)
        .limit(PAGE)
    )
    return [AccessionVersion(*row) for row in rows]


def _without_a_job(session: Session, names: Sequence[AccessionVersion], index_sha256: str) -> list[Unscreened]:
    busy = _with_a_job(session, names)
    return [each for each in unscreened(session, names, index_sha256) if each.name not in busy]


def _with_a_job(session: Session, names: Sequence[AccessionVersion]) -> set[AccessionVersion]:
    """Those that a job is open for; one that needs attention is, too."""
    if not names:
        return set()
    query = select(col(Job.accession), col(Job.version)).where(
        among(Job, names), col(Job.kind) == JobKind.SCREEN.value, col(Job.state) != JobState.DONE.value
    )
    return {AccessionVersion(*row) for row in session.execute(query)}


def _move(session: Session, walk: str, before: str, position: str) -> bool:
    """Move the bookmark, to its end when there is no further position; False when it wasn't where it was."""
    table = columns_of(Bookmark)
    values = {"position": position, "finished_at": None if position else clock.read(session)}
    new = insert_into(session, table).values(name=walk, **values)
    there = table.c.position == before
    if not before:  # a walk that came to its end begins again
        there = there | table.c.finished_at.is_not(None)
    moved = new.on_conflict_do_update(index_elements=["name"], set_=values, where=there)
    return session.execute(moved.returning(table.c.name)).first() is not None


def _job(organism: Organism, name: AccessionVersion, results: Sequence[Unscreened], now: float) -> Job:
    return Job(
        id=str(uuid.uuid4()),
        kind=JobKind.SCREEN.value,
        organism=organism.name,
        accession=name.accession,
        version=name.version,
        pipeline_version=organism.pipeline.version,
        created_at=now,
        not_before=now,
        priority=Priority.BACKGROUND.value,
        input_bytes=sum(each.size for each in results if each.name == name),
    )
