"""The bucket as the house sees it: referenced files lie in it too, though their bytes are in buckets of their groups.

A key under `referenced/` stands for such a file. It is read through the guard that pulls go through, from
the very object that was pinned, or from another one with the same bytes. Nothing there is ever written,
locked or deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path

from sqlmodel import col, select

from readvault.config.pulls import PullSettings
from readvault.db.engine import Sessions
from readvault.db.tables import ReferencedFile, UploadedFile
from readvault.domain.errors import BytesLost, ProcessingFailure, ReferenceAway
from readvault.domain.pulls import Refusal, SourceAway, SourceRefused
from readvault.domain.referenced import file_id_of, is_referenced
from readvault.ports import (
    ForeignObject,
    ForeignStores,
    ListedVersion,
    ReadStore,
    SignedForm,
    SignedRequest,
    StoredVersion,
    UnfinishedUpload,
    UploadedPart,
)
from readvault.services.pulls.ranges import RANGE, Ranges, cut
from readvault.services.pulls.referenced import STEP, address_of, pin_of

OTHER = frozenset({Refusal.CHANGED, Refusal.MISSING, Refusal.DENIED})
"""What says that the pinned object, or that version of it, is not there any more: others may be."""
LOST = OTHER | {Refusal.WRONG_SIZE, Refusal.NOT_PINNABLE, Refusal.BAD_ANSWER, Refusal.REDIRECT}
"""What no further try would mend, and its owner could."""
_Progress = Callable[[int], None] | None


class StoreWithReferenced:
    """`ports.ReadStore` over our own bucket and what groups reference. Safe to share between threads."""

    def __init__(
        self, own: ReadStore, sessions: Sessions, settings: PullSettings, foreign: ForeignStores | None
    ) -> None:
        self._own = own
        self._sessions = sessions
        self._settings = settings
        self._foreign = foreign

    def sha256_of(self, stored: StoredVersion, *, progress: _Progress = None, expected: str | None = None) -> str:
        """The SHA-256 (hexadecimal) of a version's bytes, every one of them read now and none kept."""
        if not is_referenced(stored.key):
            return self._own.sha256_of(stored, progress=progress, expected=expected)
        return self._read(stored, None, progress)

    def fetch(
        self, stored: StoredVersion, target: Path, *, progress: _Progress = None, expected: str | None = None
    ) -> str:
        """Download one version to `target`; its SHA-256 (hexadecimal), computed from what was written."""
        if not is_referenced(stored.key):
            return self._own.fetch(stored, target, progress=progress, expected=expected)
        return self._read(stored, target, progress)

    def sign_get(self, key: str, version_id: str | None, *, name: str, expires: int, head: bool = False) -> str:
        """A URL that downloads under `name`; of a referenced file at its own store, signed with its group's keys."""
        if not is_referenced(key):
            return self._own.sign_get(key, version_id, name=name, expires=expires, head=head)
        foreign, (row, _) = self._foreign_or_fail(), self._known(key)
        address = address_of(self._settings, foreign, row)
        try:
            return foreign.sign_get(address, row.version_id, name=name, expires=expires, head=head)
        except SourceRefused:  # its host is not on our list any more
            raise ProcessingFailure(STEP, "the store of a referenced file may not be asked any more") from None

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        """The versions under a prefix, oldest first for each key; a referenced file has one, as it was pinned."""
        if not is_referenced(prefix):
            yield from self._own.list_versions(prefix)
            return
        with self._sessions.read() as session:
            query = (
                select(UploadedFile.key, ReferencedFile.version_id, UploadedFile.declared_size)
                .join(ReferencedFile, col(ReferencedFile.file_id) == col(UploadedFile.id))
                # Two bounds, as no index helps a LIKE with an escape.
                .where(col(UploadedFile.key) >= prefix, col(UploadedFile.key) < f"{prefix}\x7f")
                .order_by(col(UploadedFile.key))
            )
            found = session.exec(query).all()
        yield from (StoredVersion(key, version_id, size or 0) for key, version_id, size in found)

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        """Take one version away for ever; a referenced file is nobody's here, and stays where it is."""
        return is_referenced(stored.key) or self._own.delete(stored, bypass=bypass)

    def lock(self, stored: StoredVersion, *, until: float) -> None:
        """Forbid the deletion of a version until then (epoch seconds); nobody here can for a referenced file."""
        if not is_referenced(stored.key):
            self._own.lock(stored, until=until)

    def locked_until(self, stored: StoredVersion) -> float | None:
        """Until when a version can't be deleted (epoch seconds); None for one without a lock."""
        return None if is_referenced(stored.key) else self._own.locked_until(stored)

    def sign_put(self, key: str, *, size: int | None, sha256: str | None, expires: int) -> SignedRequest:
        """As the own bucket."""
        return self._own.sign_put(key, size=size, sha256=sha256, expires=expires)

    def sign_form(self, key: str, *, max_size: int, expires: int) -> SignedForm:
        """As the own bucket."""
        return self._own.sign_form(key, max_size=max_size, expires=expires)

    def start_multipart(self, key: str, *, part_hashes: bool = False) -> str:
        """As the own bucket."""
        return self._own.start_multipart(key, part_hashes=part_hashes)

    def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int | None, expires: int, sha256: str | None = None
    ) -> SignedRequest:
        """As the own bucket."""
        return self._own.sign_part(key, upload_id, number, size=size, expires=expires, sha256=sha256)

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """As the own bucket."""
        return self._own.list_parts(key, upload_id)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> tuple[UploadedPart, bool]:
        """As the own bucket."""
        return self._own.put_part(key, upload_id, number, body)

    def put_bytes(self, key: str, body: bytes, *, sha256: str) -> StoredVersion:
        """As the own bucket."""
        return self._own.put_bytes(key, body, sha256=sha256)

    def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: list[tuple[int, str]],
        *,
        checksums: Mapping[int, str] | None = None,
    ) -> None:
        """As the own bucket."""
        self._own.complete_multipart(key, upload_id, parts, checksums=checksums)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """As the own bucket."""
        self._own.abort_multipart(key, upload_id)

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        """As the own bucket."""
        return self._own.walk(prefix, after=after)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """As the own bucket."""
        return self._own.unfinished_uploads(prefix)

    def store(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """As the own bucket."""
        return self._own.store(source, key, sha256=sha256)

    def store_again(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """As the own bucket."""
        return self._own.store_again(source, key, sha256=sha256)

    def _known(self, key: str) -> tuple[ReferencedFile, str | None]:
        """Where a referenced file lies, and the SHA-256 that it had when it was read first."""
        file_id = file_id_of(key)
        with self._sessions.read() as session:
            row, file = session.get(ReferencedFile, file_id), session.get(UploadedFile, file_id)
        if row is None or file is None:
            raise BytesLost(STEP, "a file is not referenced any more")
        return row, file.sha256 or file.declared_sha256

    def _foreign_or_fail(self) -> ForeignStores:
        if self._foreign is None:
            raise ProcessingFailure(STEP, "referenced files can't be read: READVAULT_PULLS__ENABLED is not set")
        return self._foreign

    def _read(self, stored: StoredVersion, target: Path | None, progress: _Progress) -> str:
        """Read all of it, first as it was pinned; an object that was put there anew counts by its bytes alone."""
        foreign = self._foreign_or_fail()
        row, known = self._known(stored.key)
        address = address_of(self._settings, foreign, row)
        told = progress or (lambda _: None)

        def read(pinned: ForeignObject) -> str:
            # Whoever is told how far it is may break off, also while the store says nothing.
            ranges = Ranges(foreign, address, pinned, connections=self._settings.connections, check=lambda: told(0))
            return _hashed(ranges, stored.size, target, told)

        try:
            found = self._as_pinned_or_as_it_is_now(read, pin_of(row, stored.size), lambda: foreign.look(address))
        except SourceRefused as refused:
            if refused.refusal in LOST:
                raise BytesLost(STEP, f"a referenced file can't be read ({refused.refusal})") from None
            raise ProcessingFailure(STEP, f"a referenced file can't be read ({refused.refusal})") from None
        except SourceAway:
            raise ReferenceAway(STEP, "the store of a referenced file can't be reached") from None
        if known not in (None, found):
            raise BytesLost(STEP, "a referenced file has other bytes than it had")
        return found

    @staticmethod
    def _as_pinned_or_as_it_is_now(
        read: Callable[[ForeignObject], str], pinned: ForeignObject, look: Callable[[], ForeignObject]
    ) -> str:
        try:
            return read(pinned)
        except SourceRefused as refused:
            if refused.refusal not in OTHER:
                raise
        now = look()
        if now.size != pinned.size:
            raise SourceRefused(Refusal.WRONG_SIZE, "The source has another size than it had.")
        return read(now)


def _hashed(ranges: Ranges, size: int, target: Path | None, progress: Callable[[int], None]) -> str:
    whole = hashlib.sha256()
    with closing(ranges.each(cut(size, RANGE))) as bodies, target.open("wb") if target else nullcontext() as out:
        for body in bodies:
            progress(len(body))
            whole.update(body)
            if out is not None:
                out.write(body)
    return whole.hexdigest()
