"""Copying one pinned object from a submitter's store into our bucket, a few ranges at a time, hashed on the way.

Nothing touches a disk: at most a handful of parts are in memory. What is broken off goes on with the
parts that S3 has; then the SHA-256 is that of the whole object as it is read back from our bucket, for
nobody can go on with half a hash.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import col

from readvault.db.tables import UploadedFile
from readvault.domain.errors import ProcessingFailure, StoreUnavailable, Unprocessable
from readvault.domain.pulls import Refusal, SourceRefused
from readvault.failpoints import failpoint
from readvault.ports import ForeignAddress, ForeignObject, ForeignStores, StoredVersion, UploadedPart
from readvault.services.house import House
from readvault.services.pulls.ranges import RANGE, Ranges, cut
from readvault.services.uploads import multipart

WRITERS = 2
STEP = "import"


@dataclass
class Copy:
    """One object on its way. `check` raises to break off, `progress` is told bytes that our S3 has."""

    house: House
    foreign: ForeignStores
    address: ForeignAddress
    pinned: ForeignObject
    file: UploadedFile
    expected: str | None
    check: Callable[[], None]
    progress: Callable[[int], None]

    def run(self) -> str:
        """Copy it, or what is left of it; the SHA-256 (hexadecimal) of what our S3 has.

        Raises SourceRefused (the object changed, has another SHA-256 than expected, …: then nothing usable
        stays in our bucket), SourceAway, ProcessingFailure for our own S3.
        """
        if (there := self._there()) is not None:
            return self._read_back(there, None)
        if self.file.multipart_part_size is None:
            return self._in_one_piece()
        return self._in_parts(self.file.multipart_part_size)

    def only_hashed(self) -> str:
        """Read all of it and keep none; its SHA-256 (hexadecimal). Broken off, it is read from its start again.

        Raises SourceRefused, SourceAway.
        """
        whole, done = hashlib.sha256(), 0
        with closing(self._ranges().each(cut(self.pinned.size, RANGE))) as bodies:
            for body in bodies:
                self.check()
                whole.update(body)
                done += len(body)
                self.progress(done)
        self._compare(whole.hexdigest())
        return whole.hexdigest()

    def _there(self) -> StoredVersion | None:
        """The object, where an earlier attempt ended it and didn't come to note that."""
        key = self.file.key
        return next((each for each in self.house.store.list_versions(key) if each.key == key), None)

    def _in_one_piece(self) -> str:
        body = self._ranges().one(0, self.pinned.size)
        sha256 = hashlib.sha256(body).hexdigest()
        self._compare(sha256)
        self.check()
        self.house.store.put_bytes(self.file.key, body, sha256=sha256)
        failpoint("import-stored")
        self.progress(len(body))
        return sha256

    def _in_parts(self, part_size: int) -> str:
        store, key = self.house.store, self.file.key
        parts = self._parts_there(part_size)
        upload_id = self.file.multipart_upload_id or ""
        whole = None if parts else hashlib.sha256()
        self.progress(sum(part.size for part in parts.values()))
        sure = True
        writing: deque[Future[tuple[UploadedPart, bool]]] = deque()

        def noted(future: Future[tuple[UploadedPart, bool]]) -> bool:
            part, is_checked = future.result()
            parts[part.number] = part
            self.progress(sum(each.size for each in parts.values()))
            failpoint("import-part-stored")
            return is_checked

        cuts = dict(enumerate(cut(self.pinned.size, part_size), start=1))
        missing = [number for number in cuts if number not in parts]
        reading = self._ranges().each([cuts[number] for number in missing])
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="keep") as writers, closing(reading):
            try:
                for number, body in zip(missing, reading, strict=True):
                    self.check()
                    if whole is not None:
                        whole.update(body)
                    writing.append(writers.submit(store.put_part, key, upload_id, number, body))
                    if len(writing) >= WRITERS:
                        sure &= noted(writing.popleft())
                while writing:
                    sure &= noted(writing.popleft())
            finally:
                writers.shutdown(cancel_futures=True)
        sha256 = None if whole is None else whole.hexdigest()
        return self._put_together(parts, sha256, sure=sure)

    def _parts_there(self, part_size: int) -> dict[int, UploadedPart]:
        """The parts that S3 has and that are what they should be; begins the upload where there is none."""
        multipart.start(self.house, [self.file])
        try:
            listed = self.house.store.list_parts(self.file.key, self.file.multipart_upload_id or "")
        except StoreUnavailable:
            raise
        except ProcessingFailure:  # S3 has forgotten it
            with self.house.sessions.begin() as session:
                mine = col(UploadedFile.id) == self.file.id
                session.execute(update(UploadedFile).where(mine).values(multipart_upload_id=multipart.NOT_STARTED))
            self.file.multipart_upload_id = multipart.NOT_STARTED
            multipart.start(self.house, [self.file])
            listed = []
        size = self.pinned.size
        return {
            part.number: part
            for part in listed
            if part.checksum and part.size == min(part_size, size - (part.number - 1) * part_size)
        }

    def _put_together(self, parts: dict[int, UploadedPart], sha256: str | None, *, sure: bool) -> str:
        store, key, upload_id = self.house.store, self.file.key, self.file.multipart_upload_id or ""
        if sha256 is not None:
            try:
                self._compare(sha256)
            except SourceRefused:
                store.abort_multipart(key, upload_id)
                raise
        self.check()
        failpoint("import-before-complete")
        chosen = [(number, parts[number].etag) for number in sorted(parts)]
        checksums = {number: part.checksum for number, part in parts.items() if part.checksum is not None}
        try:
            store.complete_multipart(key, upload_id, chosen, checksums=checksums)
        except Unprocessable as refused:
            raise ProcessingFailure(STEP, "S3 does not put the parts together that it took") from refused
        failpoint("import-stored")
        there = self._there()
        if there is None:
            raise ProcessingFailure(STEP, "S3 lists no object that it has put together")
        if sha256 is not None and sure and there.size == self.pinned.size:
            return sha256
        return self._read_back(there, sha256)

    def _read_back(self, there: StoredVersion, sent: str | None) -> str:
        """The SHA-256 of what our S3 holds. What isn't what it should be is taken away again."""
        found = None
        if there.size == self.pinned.size:
            known = sent or self.expected
            found = self.house.store.sha256_of(there, progress=lambda _: self.check(), expected=known)
        if found is None or sent not in (None, found):
            self.house.store.delete(there)
            raise ProcessingFailure(STEP, "integrity: S3 holds other bytes than it was sent")
        try:
            self._compare(found)
        except SourceRefused:
            self.house.store.delete(there)
            raise
        self.progress(there.size)
        return found

    def _compare(self, sha256: str) -> None:
        if self.expected not in (None, sha256):
            raise SourceRefused(Refusal.WRONG_HASH, "The source has another SHA-256 than you declared.")

    def _ranges(self) -> Ranges:
        connections = self.house.settings.pulls.connections
        return Ranges(self.foreign, self.address, self.pinned, connections=connections, check=self.check)
