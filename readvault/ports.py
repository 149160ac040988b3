"""What we do not own, as Protocols: the store of objects and the starter of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from readvault.domain.lanes import Queue


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of one object. `version_id` is None where the provider keeps no versions."""

    key: str
    version_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A pre-signed request: every header must be sent as given. A secret until it expires."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A pre-signed POST: every field must be sent as given, before the file. A secret until it expires."""

    url: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part of a multipart upload, as S3 holds it. Parts count from 1."""

    number: int
    etag: str
    size: int
    checksum: str | None = None
    """The SHA-256 that S3 checked (base64), for an upload with part hashes."""


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version as a listing of the bucket shows it. `modified_at` counts seconds since 1970 on S3's clock."""

    stored: StoredVersion
    modified_at: float
    newest: bool
    deleted: bool
    """A delete marker: it hides the versions before it and has no bytes."""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun_at: float


class ReadStore(Protocol):
    """The S3 bucket with the reads. Every method raises ProcessingFailure when S3 is at fault."""

    def sign_put(self, key: str, *, size: int | None, sha256: str | None, expires: int) -> SignedRequest:
        """A PUT that can be made once: S3 refuses another size, another hash, a second write.

        `sha256` is hexadecimal. `expires` counts seconds.
        """

    def sign_form(self, key: str, *, max_size: int, expires: int) -> SignedForm:
        """A POST of an HTML form to exactly this key, of 1 to `max_size` bytes.

        It can be made again until it expires: only the first version under the key may count.
        """

    def sign_get(self, key: str, version_id: str | None, *, name: str, expires: int, head: bool = False) -> str:
        """A URL of the pinned version that downloads under `name` (RFC 6266, as attachment)."""

    def start_multipart(self, key: str, *, part_hashes: bool = False) -> str:
        """Begin a multipart upload; its upload ID. With `part_hashes` every part must be signed with its SHA-256."""

    def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int | None, expires: int, sha256: str | None = None
    ) -> SignedRequest:
        """A PUT of one part: S3 refuses another size and another SHA-256 (hexadecimal), where they are given."""

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts that S3 has, by number."""

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> tuple[UploadedPart, bool]:
        """Send one part of an upload with part hashes; and whether S3 says that it has checked the bytes."""

    def put_bytes(self, key: str, body: bytes, *, sha256: str) -> StoredVersion:
        """Upload bytes once, in one piece. A key that is there already with the same bytes is a success."""

    def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: list[tuple[int, str]],
        *,
        checksums: Mapping[int, str] | None = None,
    ) -> None:
        """Put the parts (number, etag) together, once; raises Unprocessable for parts that S3 refuses.

        `checksums` are those that S3 lists, by part.
        """

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop an unfinished upload; one that is gone already is no error."""

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        """The object versions under a prefix, oldest first for each key, without delete markers."""

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        """Every version and delete marker under a prefix, by key, newest first; only keys beyond `after`."""

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """The multipart uploads under a prefix that were begun and neither completed nor aborted."""

    def sha256_of(
        self, stored: StoredVersion, *, progress: Callable[[int], None] | None = None, expected: str | None = None
    ) -> str:
        """The SHA-256 (hexadecimal) of a version's bytes, every one of them read now and none kept.

        Another one than `expected` is told only when it is sure that no bit turned on the way. Raises
        BytesLost when the version is gone or has another size.
        """

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        """Take one version away for ever; False when a lock holds it. One that is gone is no error.

        `bypass` lifts a GOVERNANCE lock, with a credential that may: the maintainer's own, no service's.
        """

    def locked_until(self, stored: StoredVersion) -> float | None:
        """Until when a version can't be deleted (epoch seconds); None for one without a lock, or without a date."""

    def fetch(
        self,
        stored: StoredVersion,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
        expected: str | None = None,
    ) -> str:
        """Download one pinned version to `target`; its SHA-256 (hexadecimal), computed from what was written.

        Another one than `expected` is told only when it is sure that no bit turned on the way. Raises
        ProcessingFailure when fewer or more bytes come than the version has.
        """

    def store(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """Upload a file once. A key that is there already with the same bytes is a success."""

    def store_again(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """Upload a file over whatever lies under the key, as a new version: only to restore lost bytes."""

    def lock(self, stored: StoredVersion, *, until: float) -> None:
        """Forbid the deletion of a version until then (epoch seconds), where the provider can."""


@dataclass(frozen=True, slots=True, repr=False)
class ForeignKeys:
    """A submitter's credentials for their own bucket: never printed, never logged."""

    access_key: str
    secret_key: str
    session_token: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignBucket:
    """A submitter's own bucket. Without keys it is asked as everybody may."""

    endpoint: str
    region: str
    bucket: str
    keys: ForeignKeys | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ForeignAddress:
    """One object elsewhere. The URL may hold a signature: never printed, never logged."""

    url: str
    region: str = ""
    keys: ForeignKeys | None = None


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """What pins an object elsewhere: from then on it must stay so. `size` is bytes."""

    size: int
    etag: str
    version_id: str | None = None


class ForeignStores(Protocol):
    """Other people's stores, behind a guard. Every method raises SourceRefused, and SourceAway where a try may help."""

    def check(self, url: str) -> None:
        """Refuse an address that nobody here will ever ask; nothing is asked."""

    def address_in(self, bucket: ForeignBucket, key: str) -> ForeignAddress:
        """An object of a bucket; nothing is asked."""

    def look(self, address: ForeignAddress) -> ForeignObject:
        """What pins an object as it is now."""

    def is_public(self, address: ForeignAddress) -> bool:
        """Whether anybody may read it, without keys and without what stands in the URL's query."""

    def listing(self, bucket: ForeignBucket, prefix: str, *, at_most: int) -> list[tuple[str, int]]:
        """Keys and sizes under a prefix; refused when there are more than so many."""

    def read(
        self, address: ForeignAddress, pinned: ForeignObject, start: int, length: int, check: Callable[[], None]
    ) -> bytes:
        """So many bytes from there on, of exactly the pinned object. `check` raises to break off."""

    def sign_get(
        self, address: ForeignAddress, version_id: str | None, *, name: str, expires: int, head: bool = False
    ) -> str:
        """A URL that downloads an object for so many seconds, or a public object's own one; nothing is asked."""

    def note(self, address: ForeignAddress, *, at_most: int) -> bytes | None:
        """The bytes of a small object; None when it isn't there or is larger."""


class RunState(StrEnum):
    """What the orchestrator says of one delivery. Never a truth, only a reason to deliver again."""

    WAITING = "waiting"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    """By a person; a run that a worker gave up has ENDED."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One waking of a worker. It holds identifiers only: orchestrators show it to people."""

    job_id: str
    number: int
    kind: str
    label: str
    queue: str = Queue.DEFAULT
    """Where it waits for a place (`readvault.domain.lanes.Queue`)."""


class Orchestrator(Protocol):
    """The starter of jobs: at least once, perhaps twice, perhaps late."""

    def deliver(self, delivery: Delivery) -> str | None:
        """Wake a worker; the run's ID, or None when the orchestrator can't be reached now."""

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Which of so many runs surely wait for a place, by one question; the others must be asked for."""

    def state_of(self, run_id: str) -> RunState | None:
        """What became of a run, or None when the orchestrator can't be reached now."""
