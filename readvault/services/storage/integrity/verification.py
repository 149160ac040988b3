"""Integrity: what was sealed is looked at each day and read again from time to time; damage is said and repaired."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlmodel import col, select

from readvault.db import clock
from readvault.db.tables import FixityCheck
from readvault.domain.errors import ProcessingFailure
from readvault.domain.referenced import is_referenced
from readvault.ports import StoredVersion
from readvault.services.entries import damage as damages
from readvault.services.entries.damage import MISSING, OTHER_BYTES, REFERENCE_LOST
from readvault.services.house import House
from readvault.services.storage.integrity import copies, pin_moves, repair
from readvault.services.storage.integrity.bookmarks import bookmark, keep_place
from readvault.services.storage.integrity.fsck import Difference, fsck
from readvault.services.storage.integrity.pinned import Pinned, pinned_at, pinned_versions
from readvault.services.storage.integrity.references import TooSlowError, Tour

__all__ = ["MISSING", "OTHER_BYTES", "Verification", "damaged", "verify"]

DAY = 86_400.0
SURVEY = "survey"
SURVEY_EVERY = 0.8 * DAY
PAGE = 200
NOTED_AT_ONCE = 200
NOTED_EVERY = 2.0
"""So many files that are whole, or as many as were read in so many seconds, are noted by one commit.

A run that is killed outright reads no more than these again."""
SHARE_OF_REFERENCES = 1 / 4
"""Of the time that is left when their turn comes; what all else leaves over is theirs too."""


@dataclass(slots=True)
class Verification:
    """How far a verification came. `finished` is False when its time was up; the next one goes on from there."""

    checked: int = 0
    bytes: int = 0
    damaged: int = 0
    mended: int = 0
    """Objects that were damaged when they were last read, and are whole now without our doing."""
    repaired: int = 0
    uncovered: int = 0
    """Delete markers and newer versions that lay over pinned ones and were removed."""
    held_by_locks: int = 0
    """Objects over which something lies that a lock keeps us from removing."""
    references_lost: int = 0
    """Files that their groups keep in their own buckets and that are not there any more as they were."""
    unreachable: int = 0
    """Referenced files whose own store did not answer or was too slow; they come again with the next run."""
    copied: int = 0
    copies_checked: int = 0
    finished: bool = False


class _TimeIsUpError(Exception):
    """What is left comes next time."""


@dataclass(slots=True)
class _Work:
    house: House
    repairs: bool
    started: float
    budget: float | None
    rate: float | None
    pause: Callable[[float], object]
    stopped: Callable[[], bool]
    progress: Callable[[Verification], None]
    done: Verification
    began: float
    """By the database's clock."""
    whole: list[StoredVersion] = field(default_factory=list)
    """What was read and found whole since the last commit, which was at `noted`."""
    noted: float = field(default_factory=time.monotonic)

    def time_is_up(self) -> bool:
        return self.stopped() or (self.budget is not None and time.monotonic() - self.started >= self.budget)

    def check_time(self) -> None:
        if self.time_is_up():
            raise _TimeIsUpError

    def was_whole(self, stored: StoredVersion) -> None:
        """Remember to note it; what was read before has been waiting for long enough, or is enough."""
        self.done.checked += 1
        self.whole.append(stored)
        if len(self.whole) >= NOTED_AT_ONCE or time.monotonic() - self.noted >= NOTED_EVERY:
            self.note_whole()

    def note_whole(self) -> None:
        versions, self.whole, self.noted = self.whole, [], time.monotonic()
        if versions:
            self.done.mended += damages.note_whole(self.house, versions, self.began)

    def check_stopped(self, _: int) -> None:
        """In the middle of a file: one that takes longer than all the time there is must be read to its end."""
        if self.stopped():
            raise _TimeIsUpError

    def was_read(self, size: int) -> None:
        self.done.bytes += size
        self.progress(self.done)
        if self.rate:
            spent = time.monotonic() - self.started
            ahead = self.done.bytes / self.rate - spent
            if self.budget is not None:  # one large file must not hold up the run for hours
                ahead = min(ahead, self.budget - spent)
            if ahead > 0:
                self.note_whole()
                self.pause(ahead)


def verify(
    house: House,
    *,
    days: float = 90,
    bytes_per_second: float | None = None,
    budget_seconds: float | None = None,
    repairs: bool = True,
    survey_every: float = SURVEY_EVERY,
    progress: Callable[[Verification], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> Verification:
    """Find damage and repair it: by a listing of the bucket each day, by reading all bytes every `days`.

    First what is known to be damaged, then what the listing shows (lost, cut, covered by a delete marker
    or a newer version), then, for a share of the time, what groups keep in their own buckets, then every
    pinned version whose bytes were not read in the last `days`, copies that the second bucket is owed, and
    every copy that was not read for so long. At most `bytes_per_second` on the average, at most
    `budget_seconds` in all: what is left comes next time. Raises ProcessingFailure when S3 can't be
    reached: that is no damage.
    """
    with house.sessions.read() as session:
        now = clock.read(session)
    since = now - days * DAY
    started, limits = time.monotonic(), (budget_seconds, bytes_per_second)
    work = _Work(house, repairs, started, *limits, pause, stopped, progress, Verification(), now)
    tour = Tour(house, since, now)
    try:
        _known(work, now)
        _survey(work, now - survey_every)
        _read_references(work, tour, SHARE_OF_REFERENCES)
        _read_due(work, since)
        work.done.copied = copies.make(house, check_time=work.check_time)
        _read_copies(work, since)
        _read_references(work, tour, None)
    except _TimeIsUpError:
        return work.done
    finally:
        work.done.unreachable += tour.skipped
        tour.keep_place()
    work.done.finished = True
    return work.done


def damaged(house: House) -> list[FixityCheck]:
    """What is known to be damaged now, by key."""
    with house.sessions.read() as session:
        found = select(FixityCheck).where(col(FixityCheck.damage).is_not(None)).order_by(col(FixityCheck.key))
        return list(session.exec(found))


def _known(work: _Work, before: float) -> None:
    """Look again at what is damaged: perhaps it can be repaired now. With half of the time at most.

    Referenced files have their own turn; of those only what nobody expects any more is forgotten here.
    """
    last = ""
    half = None if work.budget is None else work.started + work.budget / 2
    while True:
        query = select(FixityCheck.key).where(
            col(FixityCheck.damage).is_not(None), col(FixityCheck.key) > last, col(FixityCheck.checked_at) < before
        )
        with work.house.sessions.read() as session:
            page = session.exec(query.order_by(col(FixityCheck.key)).limit(PAGE)).all()
        for key in page:
            if work.stopped() or (half is not None and time.monotonic() >= half):
                return
            if not is_referenced(key):
                _examine_key(work, key)
            elif pinned_at(work.house, key) is None:
                _forget(work.house, key)
        if not page:
            return
        last = page[-1]


def _survey(work: _Work, not_since: float) -> None:
    """Compare the listing of the bucket with the database; what looks wrong is read."""
    place = bookmark(work.house, SURVEY)
    if not place.position and place.finished_at is not None and place.finished_at > not_since:
        return
    reached, is_over = place.position, False

    def goes_on(key: str) -> bool:
        nonlocal reached, is_over
        is_over = is_over or work.time_is_up()
        reached = reached if is_over else key
        return not is_over

    for finding in fsck(work.house, after=place.position, goes_on=goes_on):
        if finding.difference is not Difference.STRAY:
            _examine_key(work, finding.key, covered=finding.difference is Difference.HIDDEN)
    keep_place(work.house, SURVEY, reached if is_over else "", finished=not is_over)
    if is_over:
        raise _TimeIsUpError


def _read_due(work: _Work, since: float) -> None:
    try:
        for pinned in pinned_versions(work.house, unchecked_since=since):
            work.check_time()
            if is_referenced(pinned.key):
                continue
            wrong = damages.found(work.house.store, pinned.stored, pinned.sha256, progress=work.check_stopped)
            if wrong is None:
                work.was_whole(pinned.stored)
                work.was_read(pinned.stored.size)
            else:
                _judge(work, pinned, wrong)
    finally:
        work.note_whole()


def _read_references(work: _Work, tour: Tour, share: float | None) -> None:
    """Read what groups keep in their own buckets; no store of theirs holds anything of ours up for long."""
    now = time.monotonic()
    until = None if work.budget is None or share is None else now + share * (work.started + work.budget - now)
    while until is None or time.monotonic() < until:
        work.check_time()
        if (pinned := next(tour.files, None)) is None:
            return
        check = tour.in_time(pinned, work.check_stopped)
        try:
            wrong = damages.found(work.house.store, pinned.stored, pinned.sha256, progress=check)
        except (ProcessingFailure, TooSlowError):
            work.done.unreachable += 1
            tour.is_away(pinned)
        else:
            _judge(work, pinned, wrong)


def _read_copies(work: _Work, since: float) -> None:
    for size in copies.verify(work.house, since, repairs=work.repairs):
        work.done.copies_checked += 1
        work.was_read(size)
        work.check_time()


def _examine_key(work: _Work, key: str, *, covered: bool = False) -> None:
    pinned = pinned_at(work.house, key)
    if pinned is None:  # shredded, or deleted with its entry: nobody expects it any more
        _forget(work.house, key)
        return
    wrong = damages.found(work.house.store, pinned.stored, pinned.sha256, progress=work.check_stopped)
    _judge(work, pinned, wrong, covered=covered)


def _forget(house: House, key: str) -> None:
    with house.sessions.begin() as session:
        row = session.get(FixityCheck, key)
        if row is not None:
            session.delete(row)


def _judge(work: _Work, pinned: Pinned, wrong: str | None, *, covered: bool = False) -> None:
    """What is damaged is noted, said and repaired."""
    house, done = work.house, work.done
    if wrong is not None and pinned_at(house, pinned.key) != pinned:
        return  # repaired or shredded while it was read
    was = damages.note(house, pinned.stored, wrong)
    done.checked += 1
    done.references_lost += wrong == REFERENCE_LOST
    done.damaged += wrong not in (None, REFERENCE_LOST)
    if was is not None and wrong is None:
        done.mended += 1
        pin_moves.queue_waiting(house, pinned.key)
    if wrong is not None and work.repairs:
        done.repaired += repair.repair(house, pinned) is None
    if wrong is None and covered and work.repairs:
        removed, held = repair.uncover(house, pinned)
        done.uncovered += removed
        done.held_by_locks += held
    work.was_read(pinned.stored.size)
