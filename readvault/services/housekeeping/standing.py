"""How the instance stands at the moment: the queue, quotas, what is stored, what is damaged, what waits for somebody.

It costs what is open, and one walk over the files of all results, in pages and for a minute at most.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import (
    ComparedResult,
    CondemnedVersion,
    FixityCheck,
    Job,
    LimitOverride,
    Manifest,
    ManifestFile,
    PendingRecord,
    Reprocessing,
    SecondCopy,
    StoredObject,
    UploadUsage,
)
from readvault.domain.failures import failure_of
from readvault.domain.reprocessing import OrderState
from readvault.domain.status import JobKind, JobState
from readvault.services.entries.damage import REFERENCE_LOST
from readvault.services.house import House
from readvault.services.housekeeping.desk import desk_in

NEAR = 0.9
"""The part of a limit from which it is near."""
MOST_LISTED = 20
COUNTED_FOR = 60.0
"""Seconds that sizes by category may take to add up; what takes longer is not told."""
_MANIFESTS = 2000
_PAGE = 1000


@dataclass(slots=True)
class Queue:
    """Jobs that are not done. `oldest_minutes` is how long the one that is due for longest has waited."""

    queued: int = 0
    due: int = 0
    running: int = 0
    needs_attention: int = 0
    oldest_minutes: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """A reprocessing, in entries: how many it is about, were begun and are under way; how many results by state."""

    number: int
    organism: str
    pipeline_version: int
    state: str
    planned: int
    begun: int
    under_way: int
    results: dict[str, int]


@dataclass(slots=True)
class Standing:
    """The figures of now. Sizes are bytes."""

    queue: Queue = field(default_factory=Queue)
    failures: dict[str, int] = field(default_factory=dict)
    """Jobs that failed before and are not done, by what stood in their way (`readvault.domain.failures`)."""
    attention: dict[str, int] = field(default_factory=dict)
    """Those of them that nobody tries again, likewise."""
    groups_near_limit: dict[int, float] = field(default_factory=dict)
    """The numbers of the groups with most of their quota, and the part of it that they have used."""
    users_near_limit: int = 0
    originals: int = 0
    by_category: dict[str, int] | None = None
    """The processed files of all results that stand; one that several results have counts for each."""
    condemned: int = 0
    objects_damaged: int = 0
    references_lost: int = 0
    objects_checked_last_day: int = 0
    copies_owed: int = 0
    records_pending: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    """What waits for a maintainer."""
    orders: list[Order] = field(default_factory=list)
    """Reprocessings that are under way."""


def standing(house: House) -> Standing:
    """Ask the database for all of it."""
    with house.sessions.read() as session:
        now = clock.read(session)
        told = Standing(queue=queue_in(session, now))
        _failures(session, told)
        _quota(session, told, house)
        _stored(session, told, now)
        told.waiting = _waiting(session, now)
        told.orders = _orders(session)
    told.by_category = _by_category(house)
    return told


def queue(house: House) -> Queue:
    """The queue alone: a look at what is open."""
    with house.sessions.read() as session:
        return queue_in(session, clock.read(session))


def queue_in(session: Session, now: float) -> Queue:
    """As `queue`, in an open transaction."""
    state, ours = col(Job.state), col(Job.kind) != JobKind.EXTERNAL_PROCESSING.value
    is_due = (state == JobState.QUEUED.value) & (col(Job.not_before) <= now) & ours
    query = select(
        func.count(case((state == JobState.QUEUED.value, 1))),
        func.count(case((is_due, 1))),
        func.count(case((state == JobState.RUNNING.value, 1))),
        func.count(case((state == JobState.NEEDS_ATTENTION.value, 1))),
        func.min(case((is_due, col(Job.not_before)))),
    ).where(state.in_([JobState.QUEUED.value, JobState.RUNNING.value, JobState.NEEDS_ATTENTION.value]))
    queued, due, running, attention, since = session.execute(query).one()
    return Queue(queued, due, running, attention, 0 if since is None else int(max(0.0, now - since) // 60))


def _failures(session: Session, told: Standing) -> None:
    """What stood in the way, as words: page by page, as a cause is a text of any length."""
    states = (JobState.QUEUED.value, JobState.NEEDS_ATTENTION.value)
    failed: Counter[str] = Counter()
    attention: Counter[str] = Counter()
    query = select(col(Job.state), col(Job.last_error), func.count()).where(
        col(Job.state).in_(states),
        or_(col(Job.failures) > 0, col(Job.handbacks) > 0, col(Job.state) == JobState.NEEDS_ATTENTION.value),
    )
    for state, cause, count in session.execute(query.group_by(col(Job.state), col(Job.last_error))).yield_per(_PAGE):
        (attention if state == JobState.NEEDS_ATTENTION else failed)[failure_of(cause).value] += count
    told.failures, told.attention = dict(sorted(failed.items())), dict(sorted(attention.items()))


def _quota(session: Session, told: Standing, house: House) -> None:
    limits = house.settings.limits
    told.originals = int(
        session.execute(select(func.coalesce(func.sum(UploadUsage.sealed_bytes), 0)).where(_of("group"))).scalar_one()
    )
    for owner, default in (("group", limits.bytes_per_group), ("user", limits.bytes_per_user)):
        share = 1.0 * col(UploadUsage.sealed_bytes) / func.nullif(func.coalesce(LimitOverride.bytes_total, default), 0)
        near = (
            select(col(UploadUsage.scope), share)
            .outerjoin(LimitOverride, col(LimitOverride.scope) == col(UploadUsage.scope))
            .where(_of(owner), share >= NEAR)
        )
        if owner == "user":
            told.users_near_limit = session.execute(select(func.count()).select_from(near.subquery())).scalar_one()
        else:
            rows = session.execute(near.order_by(share.desc()).limit(MOST_LISTED))
            told.groups_near_limit = {int(scope.partition(":")[2]): round(float(part), 4) for scope, part in rows}


def _of(owner: str) -> ColumnElement[bool]:
    return col(UploadUsage.scope).startswith(f"{owner}:", autoescape=True)


def _stored(session: Session, told: Standing, now: float) -> None:
    waiting = col(CondemnedVersion.deleted_at).is_(None)
    garbage = select(func.coalesce(func.sum(CondemnedVersion.size), 0)).where(waiting)
    told.condemned = int(session.execute(garbage).scalar_one())
    damaged = select(func.count()).select_from(FixityCheck).where(col(FixityCheck.damage).is_not(None))
    lost = damaged.where(col(FixityCheck.damage) == REFERENCE_LOST)
    told.references_lost = session.execute(lost).scalar_one()
    told.objects_damaged = session.execute(damaged).scalar_one() - told.references_lost
    checked = select(func.count()).select_from(FixityCheck).where(col(FixityCheck.checked_at) >= now - 86_400)
    told.objects_checked_last_day = session.execute(checked).scalar_one()
    owed = select(func.count()).select_from(SecondCopy).where(col(SecondCopy.copied_at).is_(None))
    told.copies_owed = session.execute(owed).scalar_one()
    told.records_pending = session.execute(select(func.count()).select_from(PendingRecord)).scalar_one()


def _waiting(session: Session, now: float) -> dict[str, int]:
    on_desk = desk_in(session, now)
    return {
        "jobs that need attention": on_desk.jobs,
        "results that are worse than the older ones": on_desk.results,
        "reprocessings to confirm": on_desk.orders,
        "erasures to confirm": on_desk.erasures,
        "damaged objects": on_desk.damaged,
    }


def _orders(session: Session) -> list[Order]:
    """The reprocessings that are under way, oldest first."""
    under_way = (OrderState.RUNNING.value, OrderState.PAUSED.value)
    query = select(Reprocessing).where(col(Reprocessing.state).in_(under_way)).order_by(col(Reprocessing.id))
    return [_order(session, row) for row in session.execute(query.limit(MOST_LISTED)).scalars()]


def _order(session: Session, row: Reprocessing) -> Order:
    of_order = col(ComparedResult.reprocessing_id) == row.id
    state = col(ComparedResult.state)
    results = session.execute(select(state, func.count()).where(of_order).group_by(state)).all()
    unfinished = col(Job.state).in_([JobState.QUEUED.value, JobState.RUNNING.value, JobState.NEEDS_ATTENTION.value])
    open_jobs = select(func.count()).select_from(Job).where(col(Job.reprocessing_id) == row.id, unfinished)
    return Order(
        number=row.id or 0,
        organism=row.organism,
        pipeline_version=row.pipeline_version,
        state=row.state,
        planned=row.planned_entries,
        begun=row.queued,
        under_way=session.execute(open_jobs).scalar_one(),
        results=dict(sorted((each[0], each[1]) for each in results)),
    )


def _by_category(house: House) -> dict[str, int] | None:
    """The sizes of processed files by category; None when they can't be added up in time."""
    sums: Counter[str] = Counter()
    end = time.monotonic() + COUNTED_FOR
    number = col(ManifestFile.manifest_id)
    query = (
        select(col(ManifestFile.category), func.sum(StoredObject.size))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .join(Manifest, col(Manifest.id) == number)
        .where(col(Manifest.superseded_at).is_(None))
        .group_by(col(ManifestFile.category))
    )
    with house.sessions.read() as session:
        last = session.execute(select(func.max(Manifest.id))).scalar() or 0
    for first in range(1, last + 1, _MANIFESTS):
        if time.monotonic() > end:
            return None
        with house.sessions.read() as session:
            for category, size in session.execute(query.where(number >= first, number < first + _MANIFESTS)):
                sums[category] += int(size)
    return dict(sorted(sums.items()))
