"""A worker's part of a pull: list, pin, copy, note; every write is fenced by the claim of its job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.pull_ends import end, lock_files
from readvault.db.tables import Pull, PullSource, UploadedFile
from readvault.domain.errors import LeaseLost, ProcessingFailure
from readvault.domain.pulls import PullState, Refusal, SourceAway, SourceRefused, SourceState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.pulls import referenced
from readvault.services.pulls.access import is_over
from readvault.services.pulls.copying import STEP, Copy
from readvault.services.pulls.pinning import HOUR, Pins, pinned
from readvault.services.queue.fence import Claim, finish, held, is_last_try
from readvault.services.queue.lease import Lease

NOTED_EVERY = 2.0
"""Seconds between two notes of how far a source is."""
FILES_AT_ONCE = 4
_OPEN = (SourceState.WAITING.value, SourceState.PULLING.value)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to, in figures that everybody with Prefect's password may read. Sizes are bytes."""

    files: int
    failed: int
    size: int

    def counts(self) -> dict[str, int]:
        """The figures by name."""
        return {"files": self.files, "failed": self.failed, "bytes": self.size}


def pull(house: House, claim: Claim, lease: Lease) -> Pulled:
    """Copy every source of the claimed job's pull that isn't copied yet, and end the pull.

    A source that is at fault fails by itself, with a reason for the submitter. One that can't be reached
    is tried again with the whole job, and fails with its last attempt. Raises ProcessingFailure for that
    and for what is ours, LeaseLost when the pull was cancelled or is in other hands.
    """
    if house.foreign is None:
        raise ProcessingFailure(STEP, "this worker pulls no files (READVAULT_PULLS__ENABLED)")
    with house.sessions.read() as session:
        row = session.exec(select(Pull).where(Pull.job_id == claim.job_id)).one()
    if is_over(row):
        raise LeaseLost(f"job {claim.job_id}: the pull is {row.state}")
    work = _Work(house, claim, lease, Pins(house, claim, house.foreign, row))
    try:
        work.pins.list_prefix()
    except SourceRefused as refused:
        work.fail_all(refused)
        return work.finished()
    except SourceAway as away:
        if not work.is_last_try():
            raise ProcessingFailure(STEP, "the bucket of a pull can't be listed") from None
        work.fail_all(SourceRefused(Refusal.AWAY, f"{away} It was tried several times."))
        return work.finished()
    if work.copy_all():
        raise ProcessingFailure(STEP, "some sources of a pull can't be reached")
    return work.finished()


class _Work:
    """The sources of one pull, under one claim."""

    def __init__(self, house: House, claim: Claim, lease: Lease, pins: Pins) -> None:
        self._house = house
        self._claim = claim
        self._lease = lease
        self.pins = pins

    def copy_all(self) -> int:
        """Copy what is not copied yet: small files side by side, large ones one after the other; how many are away."""
        waiting = self._sources(*_OPEN)
        with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="source") as pool:
            pinned_ones = list(pool.map(self._guarded(self._pin), waiting))
            ready = [each for each in pinned_ones if isinstance(each, tuple)]
            small = [each for each in ready if each[1].multipart_part_size is None]
            away = sum(each is False for each in pinned_ones)
            away += sum(each is False for each in pool.map(self._guarded(self._copy), small))
        for each in ready:
            if each not in small:
                away += self._guarded(self._copy)(each) is False
        return away

    def _pin(self, source: PullSource) -> tuple[PullSource, UploadedFile] | None:
        self._lease.check()
        file = self.pins.pin(source, self._lease.check)
        return None if file is None else (source, file)

    def _copy(self, each: tuple[PullSource, UploadedFile]) -> None:
        source, file = each
        noting = _Noting(self, source)
        copy = Copy(
            self._house,
            self.pins.foreign,
            self.pins.address(source),
            pinned(source),
            file,
            source.expected_sha256,
            self._lease.check,
            noting.note,
        )
        sha256 = copy.only_hashed() if self.pins.pull.by_reference else copy.run()
        self._lease.check()
        self._note_copied(source, file, sha256)

    def _guarded[T, R](self, do: Callable[[T], R]) -> Callable[[T], R | bool | None]:
        """`do`, whose refusals are noted at its source: False when it can be tried again, None when it failed."""

        def guarded(what: T) -> R | bool | None:
            source = what[0] if isinstance(what, tuple) else what
            assert isinstance(source, PullSource)
            try:
                return do(what)
            except SourceRefused as refused:
                self._note_failed(source, refused)
            except SourceAway as away:
                if not self.is_last_try():
                    self._note_away(source)
                    return False
                self._note_failed(source, SourceRefused(Refusal.AWAY, f"{away} It was tried several times."))
            return None

        return guarded

    def is_last_try(self) -> bool:
        """Whether the job would need a maintainer after one more failure: then the source is at fault, not we."""
        with self._house.sessions.read() as session:
            return is_last_try(session, self._claim, self._house.settings.worker)

    def fail_all(self, refused: SourceRefused) -> None:
        """Let the pull have one failed source that says why none was found."""
        pull = self.pins.pull
        with self._house.sessions.begin() as session:
            held(session, self._claim)
            if session.get(PullSource, (pull.id, 1)) is None:
                row = PullSource(
                    pull_id=pull.id, number=1, name="", place=pull.prefix or "", state=SourceState.WAITING.value
                )
                session.add(row)
                _fail(row, refused)

    def finished(self) -> Pulled:
        """End the pull and its job, delete its credentials; its figures."""
        pull_id = self.pins.pull.id
        with self._house.sessions.begin() as session:
            lock_files(session, pull_id)
            finish(session, held(session, self._claim))
            row = session.get_one(Pull, pull_id, with_for_update=True)
            end(session, row, PullState.DONE)
            failpoint("import-before-commit")
        failpoint("import-after-commit")
        done = self._sources(SourceState.DONE.value)
        failed = self._sources(SourceState.FAILED.value)
        return Pulled(len(done), len(failed), sum(each.size or 0 for each in done))

    def _sources(self, *states: str) -> list[PullSource]:
        query = select(PullSource).where(PullSource.pull_id == self.pins.pull.id, col(PullSource.state).in_(states))
        with self._house.sessions.read() as session:
            return list(session.exec(query.order_by(col(PullSource.number))))

    def note_progress(self, source: PullSource, done: int) -> None:
        """Show how far a source is, and keep its upload alive."""
        with self._house.sessions.begin() as session:
            file = self._file_of(session, source)
            held(session, self._claim)
            row = session.get_one(PullSource, (source.pull_id, source.number))
            row.bytes_done = done
            if file is not None:
                file.expires_at = self._expiry(session)

    def _note_copied(self, source: PullSource, file: UploadedFile, sha256: str) -> None:
        with self._house.sessions.begin() as session:
            kept = session.get_one(UploadedFile, file.id, with_for_update=True)
            held(session, self._claim)
            kept.declared_sha256 = sha256
            kept.multipart_completed = kept.multipart_upload_id is not None
            kept.expires_at = self._expiry(session)
            row = session.get_one(PullSource, (source.pull_id, source.number))
            if self.pins.pull.by_reference:
                referenced.keep(self._house.settings.pulls, session, self.pins.pull, row)
            row.state, row.sha256, row.bytes_done = SourceState.DONE.value, sha256, row.size or 0
            row.secret = None
            failpoint("import-copied-before-commit")

    def _note_failed(self, source: PullSource, refused: SourceRefused) -> None:
        with self._house.sessions.begin() as session:
            file = self._file_of(session, source)
            held(session, self._claim)
            _fail(session.get_one(PullSource, (source.pull_id, source.number)), refused)
            if file is not None:  # what it has reserved is free again; what S3 has of it is taken away as garbage
                file.expires_at = min(file.expires_at, clock.read(session))

    def _note_away(self, source: PullSource) -> None:
        with self._house.sessions.begin() as session:
            held(session, self._claim)
            session.get_one(PullSource, (source.pull_id, source.number)).failures += 1

    def _file_of(self, session: Session, source: PullSource) -> UploadedFile | None:
        return None if source.file_id is None else session.get(UploadedFile, source.file_id, with_for_update=True)

    def _expiry(self, session: Session) -> float:
        return clock.read(session) + self._house.settings.urls.upload_expires_after_hours * HOUR


class _Noting:
    """Notes how far a source is, not more often than every two seconds."""

    def __init__(self, work: _Work, source: PullSource) -> None:
        self._work = work
        self._source = source
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def note(self, done: int) -> None:
        """So many bytes of it are ours now."""
        with self._lock:
            if time.monotonic() - self._at < NOTED_EVERY:
                return
            self._at = time.monotonic()
        self._work.note_progress(self._source, done)


def _fail(row: PullSource, refused: SourceRefused) -> None:
    row.state, row.refusal, row.reason = SourceState.FAILED.value, refused.refusal.value, str(refused)
    row.secret, row.file_id = None, None
