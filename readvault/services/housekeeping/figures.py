"""How the instance stands, in figures that the database tells at the moment of asking.

Each query costs what is open, never what was ever released: the totals of years are kept elsewhere or
not told. No label names a person, a file or an entry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, true
from sqlmodel import Session, col

from readvault.config import LimitSettings
from readvault.db import clock
from readvault.db.entry_state import is_open, status, with_state
from readvault.db.tables import (
    CondemnedVersion,
    EntryVersion,
    ErasedObject,
    Erasure,
    FixityCheck,
    Job,
    LimitOverride,
    Manifest,
    PendingRecord,
    ReleasedCount,
    Repair,
    SecondCopy,
    StoredObject,
    UploadedFile,
    UploadUsage,
)
from readvault.domain.actor import Actor
from readvault.domain.status import JobKind, JobState, Status
from readvault.services.authorization import Action, authorize
from readvault.services.entries.damage import MISSING, OTHER_BYTES, REFERENCE_LOST
from readvault.services.house import House
from readvault.services.release import opening
from readvault.services.screening import withholding

KEPT_FOR = 5.0
"""Seconds that figures are good for."""
SHARE = 0.05
"""At most this part of the time is spent on figures, however much is open."""
NEAR = 0.9
"""The part of a limit from which it is near."""
MOST_COUNTED = 100_000
"""What grows without end where nobody tidies up is counted up to here."""
_PAGE = 200
_OPEN_STATES = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.NEEDS_ATTENTION.value)

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "readvault_jobs": ("Jobs that are not done.", ("kind", "state")),
    "readvault_jobs_oldest_due_seconds": ("How long the job that is due for longest has waited.", ("kind",)),
    "readvault_jobs_attempts": ("Attempts so far of the jobs that are not done.", ("kind",)),
    "readvault_jobs_failures": ("Attempts that failed, of the jobs that are not done.", ("kind",)),
    "readvault_jobs_handbacks": ("Times that jobs that are not done were handed back uncounted.", ("kind",)),
    "readvault_leases_held": ("Jobs whose lease is good.", ()),
    "readvault_leases_expired": ("Jobs whose worker let its lease run out and that nobody has taken back.", ()),
    "readvault_leases_first_end_seconds": ("Seconds until the lease ends that ends first; negative: since then.", ()),
    "readvault_entries": ("Accession versions by status.", ("organism", "status")),
    "readvault_entries_with_errors": ("Unreleased accession versions whose result has errors.", ("organism",)),
    "readvault_uploads_open": ("Files that were requested and may still be uploaded or submitted.", ()),
    "readvault_uploads_open_bytes": ("Their declared bytes.", ()),
    "readvault_uploads_expired": ("Uploads in parts whose time is up and whose parts are still stored.", ()),
    "readvault_quota_near_limit": ("Groups or users with 90 % or more of their bytes.", ("owner",)),
    "readvault_quota_largest_share": ("The largest part of its bytes that one of them has used.", ("owner",)),
    "readvault_objects_damaged": ("Objects that were damaged when they were last read.", ("damage",)),
    "readvault_objects_oldest_check_seconds": ("How long ago the object that was read longest ago was read.", ()),
    "readvault_repairs": ("Damaged objects that were repaired, ever.", ("source",)),
    "readvault_copies_owed": ("Released objects that the second bucket has no copy of yet.", ()),
    "readvault_copies_oldest_seconds": ("How long the oldest of them has waited.", ()),
    "readvault_records_pending": ("Records that wait to be written to the bucket.", ()),
    "readvault_records_oldest_seconds": ("How long the oldest of them has waited.", ()),
    "readvault_condemned_versions": ("Garbage that waits to be deleted.", ()),
    "readvault_condemned_bytes": ("Its bytes.", ()),
    "readvault_erasures_waiting": ("Erasures that are not finished.", ("stage",)),
    "readvault_reads_withheld": ("Results whose reads a screening withheld and that wait for a maintainer.", ()),
    "readvault_openings_waiting": ("Entries whose originals wait to be opened by a second maintainer.", ()),
}
"""By name what each figure says, and its labels."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its name, the values of its labels in their order, and how much."""

    name: str
    labels: tuple[str, ...]
    value: float


class Figures:
    """The figures of a house, asked anew at most every few seconds; safe to share between threads."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._known: tuple[Figure, ...] = ()
        self._good_until = 0.0

    def now(self, actor: Actor | None) -> tuple[Figure, ...]:
        """The figures, for maintainers and for tokens that are made for it; raises Unauthenticated, Forbidden."""
        with self._house.sessions.read() as session:
            authorize(session, actor, Action.READ_FIGURES)
        with self._lock:
            if time.monotonic() >= self._good_until:
                began = time.monotonic()
                self._known = collect(self._house)
                took = time.monotonic() - began
                self._good_until = time.monotonic() + max(KEPT_FOR, took / SHARE)
            return self._known


def collect(house: House) -> tuple[Figure, ...]:
    """Ask the database for all figures, in one read transaction."""
    with house.sessions.read() as session:
        now = clock.read(session)
        return (
            *_jobs(session, now),
            *_leases(session, now),
            *_entries(session),
            *_uploads(session, now),
            *_quota(session, house.settings.limits),
            *_integrity(session, now),
            *_waiting(session, now),
        )


def _jobs(session: Session, now: float) -> Iterator[Figure]:
    due = case((and_(col(Job.state) == JobState.QUEUED.value, col(Job.not_before) <= now), col(Job.not_before)))
    query = (
        select(
            col(Job.kind),
            col(Job.state),
            func.count(),
            func.min(due),
            func.sum(Job.attempt),
            func.sum(Job.failures),
            func.sum(Job.handbacks),
        )
        .where(col(Job.state).in_(_OPEN_STATES))
        .group_by(col(Job.kind), col(Job.state))
    )
    found = {(row[0], row[1]): row[2:] for row in session.execute(query)}
    for kind in JobKind:
        rows = {state: found.get((kind.value, state), (0, None, 0, 0, 0)) for state in _OPEN_STATES}
        for state, row in rows.items():
            yield Figure("readvault_jobs", (kind.value, state), row[0])
        since = rows[JobState.QUEUED.value][1]
        yield Figure("readvault_jobs_oldest_due_seconds", (kind.value,), 0 if since is None else max(0.0, now - since))
        for place, name in ((2, "attempts"), (3, "failures"), (4, "handbacks")):
            yield Figure(f"readvault_jobs_{name}", (kind.value,), sum(row[place] for row in rows.values()))


def _leases(session: Session, now: float) -> Iterator[Figure]:
    query = select(
        func.count(case((col(Job.lease_until) >= now, 1))),
        func.count(case((col(Job.lease_until) < now, 1))),
        func.min(Job.lease_until),
    ).where(col(Job.state) == JobState.RUNNING.value)
    held, expired, first = session.execute(query).one()
    yield Figure("readvault_leases_held", (), held)
    yield Figure("readvault_leases_expired", (), expired)
    if first is not None:
        yield Figure("readvault_leases_first_end_seconds", (), first - now)


def _entries(session: Session) -> Iterator[Figure]:
    released = select(col(ReleasedCount.organism), func.sum(ReleasedCount.entries)).group_by(
        col(ReleasedCount.organism)
    )
    counts: dict[tuple[str, str], float] = {}
    for organism, entries in session.execute(released):
        counts[organism, Status.APPROVED_FOR_RELEASE.value] = entries
    errors: dict[str, int] = {}
    current, result = status().label("status"), col(Manifest.processing_result)
    open_ones: Select[Any] = with_state(select(col(EntryVersion.organism), current, result)).where(is_open())
    rows = open_ones.subquery()
    grouped = select(*rows.c, func.count()).group_by(*rows.c)
    for organism, stage, of_result, entries in session.execute(grouped):
        counts[organism, stage] = counts.get((organism, stage), 0) + entries
        errors[organism] = errors.get(organism, 0) + (entries if of_result == "HAS_ERRORS" else 0)
    for (organism, stage), entries in sorted(counts.items()):
        yield Figure("readvault_entries", (organism, stage), entries)
    for organism, entries in sorted(errors.items()):
        yield Figure("readvault_entries_with_errors", (organism,), entries)


def _uploads(session: Session, now: float) -> Iterator[Figure]:
    unsealed = col(UploadedFile.sealed_at).is_(None)
    sizes = func.coalesce(func.sum(UploadedFile.declared_size), 0)
    still_open = select(func.count(), sizes).where(unsealed, col(UploadedFile.expires_at) >= now)
    files, size = session.execute(still_open).one()
    yield Figure("readvault_uploads_open", (), files)
    yield Figure("readvault_uploads_open_bytes", (), float(size))
    parts = col(UploadedFile.multipart_upload_id).is_not(None) & ~col(UploadedFile.multipart_completed)
    expired = (
        select(case((parts, 1)).label("parts"))
        .where(unsealed, col(UploadedFile.expires_at) < now)
        .order_by(col(UploadedFile.expires_at).desc())
        .limit(MOST_COUNTED)
        .subquery()
    )
    yield Figure("readvault_uploads_expired", (), session.execute(select(func.count(expired.c.parts))).scalar_one())


def _quota(session: Session, limits: LimitSettings) -> Iterator[Figure]:
    for owner, default in (("group", limits.bytes_per_group), ("user", limits.bytes_per_user)):
        share = 1.0 * UploadUsage.sealed_bytes / func.nullif(func.coalesce(LimitOverride.bytes_total, default), 0)
        of_owner = col(UploadUsage.scope).startswith(f"{owner}:", autoescape=True)
        query = (
            select(func.count(case((share >= NEAR, 1))), func.coalesce(func.max(share), 0))
            .select_from(UploadUsage)
            .outerjoin(LimitOverride, col(LimitOverride.scope) == col(UploadUsage.scope))
            .where(of_owner)
        )
        near, largest = session.execute(query).one()
        yield Figure("readvault_quota_near_limit", (owner,), near)
        yield Figure("readvault_quota_largest_share", (owner,), float(largest))


def _integrity(session: Session, now: float) -> Iterator[Figure]:
    damage = col(FixityCheck.damage)
    damaged = dict.fromkeys((MISSING, OTHER_BYTES, REFERENCE_LOST), 0)
    for kind, count in session.execute(select(damage, func.count()).where(damage.is_not(None)).group_by(damage)):
        damaged[kind] = count
    for kind, count in damaged.items():
        yield Figure("readvault_objects_damaged", (kind,), count)
    oldest = _oldest_check(session)
    if oldest is not None:
        yield Figure("readvault_objects_oldest_check_seconds", (), max(0.0, now - oldest))
    source = col(Repair.source)
    for name, count in session.execute(select(source, func.count()).group_by(source)):
        yield Figure("readvault_repairs", (name,), count)


def _oldest_check(session: Session) -> float | None:
    """When the object was read that was read longest ago, of those that somebody still counts on.

    Page by page, as nearly always the first row is one: in one query PostgreSQL hashes all objects that there are.
    """
    key, checked_at = col(FixityCheck.key), col(FixityCheck.checked_at)
    page = select(checked_at, key).order_by(checked_at, key).limit(_PAGE)
    after: ColumnElement[bool] = true()
    while oldest := session.execute(page.where(after)).all():
        counted_on = _counted_on(session, [row[1] for row in oldest])
        for when, name in oldest:
            if name in counted_on:
                return float(when)
        when, name = oldest[-1]
        after = or_(checked_at > when, and_(checked_at == when, key > name))
    return None


def _counted_on(session: Session, keys: list[str]) -> set[str]:
    stored = select(col(StoredObject.key)).where(col(StoredObject.key).in_(keys))
    sealed = select(col(UploadedFile.key)).where(
        col(UploadedFile.key).in_(keys), col(UploadedFile.sealed_at).is_not(None)
    )
    erased = select(col(ErasedObject.key)).where(col(ErasedObject.key).in_(keys))
    there = {key for query in (stored, sealed) for key in session.execute(query).scalars()}
    return there - set(session.execute(erased).scalars())


def _waiting(session: Session, now: float) -> Iterator[Figure]:
    owed = select(func.count(), func.min(SecondCopy.owed_at)).where(col(SecondCopy.copied_at).is_(None))
    copies, since = session.execute(owed).one()
    yield Figure("readvault_copies_owed", (), copies)
    yield Figure("readvault_copies_oldest_seconds", (), 0 if since is None else max(0.0, now - since))
    pending, since = session.execute(select(func.count(), func.min(PendingRecord.created_at))).one()
    yield Figure("readvault_records_pending", (), pending)
    yield Figure("readvault_records_oldest_seconds", (), 0 if since is None else max(0.0, now - since))
    garbage = select(func.count(), func.coalesce(func.sum(CondemnedVersion.size), 0))
    # What is gone is remembered for a while, and waits for nothing.
    count, size = session.execute(garbage.where(col(CondemnedVersion.deleted_at).is_(None))).one()
    yield Figure("readvault_condemned_versions", (), count)
    yield Figure("readvault_condemned_bytes", (), float(size))
    confirmed = col(Erasure.confirmed_at).is_not(None)
    unfinished = select(func.count(case((confirmed, 1))), func.count()).where(col(Erasure.finished_at).is_(None))
    to_do, in_all = session.execute(unfinished).one()
    yield Figure("readvault_erasures_waiting", ("confirmation",), in_all - to_do)
    yield Figure("readvault_erasures_waiting", ("shredding",), to_do)
    yield Figure("readvault_reads_withheld", (), withholding.waiting(session))
    yield Figure("readvault_openings_waiting", (), opening.waiting(session))
