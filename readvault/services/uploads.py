"""Uploads: who may put which bytes where, once. No byte passes through us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from readvault.domain.actor import Actor
from readvault.ports import SignedRequest, UploadedPart
from readvault.services.house import House

PARTS_PER_PAGE = 100
"""How many signed parts an answer holds; the rest is signed on request."""


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

    `state` is `requested`, `completed` (a multipart upload that was put together) or `sealed`.
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


def request_uploads(
    house: House, actor: Actor | None, group_id: int, wanted: Sequence[WantedFile], *, multipart: bool = False
) -> list[UploadAnswer]:
    """Signed uploads for these files, in order; S3 will refuse another size, another hash, a second write.

    A file that the group has already (same SHA-256 by our own hashing, same size) is answered with
    the ID of that one. Files are cut into parts above `settings.urls.multipart_from`, and with
    `multipart` from `multipart_allowed_from`. Raises BadRequest, Forbidden, NotFound (no such
    group), TooLarge, TooMany.
    """
    raise NotImplementedError


def request_upload(house: House, actor: Actor | None, group_id: int, number_files: int = 1) -> list[UploadAnswer]:
    """Signed single PUTs in Loculus's way, without declared sizes."""
    raise NotImplementedError


def request_multipart_upload(
    house: House, actor: Actor | None, group_id: int, number_files: int = 1, number_parts: int = 1
) -> list[UploadAnswer]:
    """Multipart uploads in Loculus's way: every part signed at once, of whatever size."""
    raise NotImplementedError


def complete_multipart_uploads(
    house: House, actor: Actor | None, completed: Sequence[tuple[str, Sequence[str]]]
) -> None:
    """Put parts together: pairs of file ID and ETags, the i-th of part i+1.

    Raises NotFound for an unknown or foreign file ID, Unprocessable for one that is complete
    already, for parts that S3 refuses and for a sum of parts that isn't the declared size.
    """
    raise NotImplementedError


def sign_parts(house: House, actor: Actor | None, file_id: str, numbers: Sequence[int]) -> list[SignedPart]:
    """Fresh signed PUTs for these parts (from 1), at most `PARTS_PER_PAGE`; keeps the upload alive."""
    raise NotImplementedError


def file_state(house: House, actor: Actor | None, file_id: str) -> FileState:
    """What became of an upload; raises NotFound for an unknown or foreign file ID."""
    raise NotImplementedError


def abort(house: House, actor: Actor | None, file_id: str) -> None:
    """Give up an upload and free its reservation; raises Conflict once it is sealed."""
    raise NotImplementedError
