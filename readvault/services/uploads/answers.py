"""What is asked and answered about uploads."""

from __future__ import annotations

from dataclasses import dataclass

from readvault.ports import SignedRequest, UploadedPart

PARTS_PER_PAGE = 100
"""How many signed parts of a file an answer holds; the rest is signed on request."""
PARTS_PER_ANSWER = 1000
"""How many an answer holds in all, unless it is for more files."""


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file that somebody wants to upload. `name` is a label for messages and is not stored.

    `sha256` is hexadecimal; `category` is the file category it is meant for, when known, so that
    the organism-independent checks can speak of it.
    """

    name: str
    size: int
    sha256: str | None = None
    category: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class SignedPart:
    """A signed PUT of one part. Parts count from 1."""

    number: int
    request: SignedRequest


@dataclass(frozen=True, slots=True)
class MultipartPlan:
    """How a large file is cut. All parts but the last have `part_size` bytes (None: as the client likes)."""

    part_size: int | None
    part_count: int
    parts: tuple[SignedPart, ...]
    """The first page; `sign_parts` gives the others and fresh ones."""


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """Where to put one file: exactly one of `put` and `multipart`, or neither when it is `already_yours`."""

    file_id: str
    already_yours: bool = False
    put: SignedRequest | None = None
    multipart: MultipartPlan | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """What is known of an upload. Sizes are bytes, times seconds since 1970.

    `state` is `requested`, `uploaded` (S3 has a file that came in one piece), `completed` (a multipart
    upload that was put together), `sealed` or `expired`.
    """

    file_id: str
    group_id: int
    state: str
    declared_size: int | None
    declared_sha256: str | None
    size: int | None
    sha256: str | None
    expires_at: float | None
    part_size: int | None
    part_count: int | None
    parts: tuple[UploadedPart, ...]
    """The parts that S3 has, for an unfinished multipart upload."""
