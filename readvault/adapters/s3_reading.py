"""When the SHA-256 of what was read is sure: a bit that turned on the way must not pass for a bit in the store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, IncompleteReadError

from readvault.adapters.s3_client import code_of, pinned
from readvault.domain.errors import BytesLost, StoreUnavailable
from readvault.ports import StoredVersion

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

READINGS = 4
"""How often the bytes are read at most until it is sure what they are."""
GONE = {"NoSuchKey", "NoSuchVersion", "404", "405", "MethodNotAllowed"}
_MD5 = re.compile(r"[0-9a-f]{32}")


class Digests:
    """The SHA-256 of one reading, and what vouches for it.

    The ETag of an object that came in one piece is the MD5 that S3 took when it arrived, at most
    providers. It guards against the line only, so that MD5 is no longer safe doesn't matter.
    """

    def __init__(self, expected: str | None) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if expected is None else None

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._sha256.update(piece)
        if self._md5 is not None:
            self._md5.update(piece)

    def without_md5(self) -> None:
        """The ETag is no MD5: don't compute one."""
        self._md5 = None

    @property
    def sha256(self) -> str:
        """The SHA-256 (hexadecimal) of what came."""
        return self._sha256.hexdigest()

    def are_sure(self, etag: str | None) -> bool:
        """Whether these are the expected bytes, or those that S3 took in."""
        if self._md5 is not None:
            return self._md5.hexdigest() == (etag or "").strip('"')
        return self._expected is not None and self.sha256 == self._expected


def may_be_md5(etag: str | None) -> bool:
    """Whether an ETag can be the MD5 of the whole object: that of an upload in parts can't."""
    return _MD5.fullmatch((etag or "").strip('"')) is not None


def surely(read: Callable[[], tuple[str, bool]]) -> str:
    """Read until the SHA-256 is sure: `read` says so itself, or two readings agree.

    Raises StoreUnavailable when each reading gives something else.
    """
    seen: set[str] = set()
    for _ in range(READINGS):
        sha256, is_sure = read()
        if is_sure or sha256 in seen:
            return sha256
        seen.add(sha256)
    raise StoreUnavailable("fetch", "integrity: each time they were read, S3 sent other bytes")


def not_as_sealed(s3: S3Client, bucket: str, stored: StoredVersion, came: int) -> BytesLost | IncompleteReadError:
    """What to raise when S3 sent `came` bytes instead of those that were sealed.

    BytesLost when it says itself that the version has another size, else a broken transfer.
    """
    try:
        held = s3.head_object(Bucket=bucket, **pinned(stored.key, stored.version_id)).get("ContentLength")
    except ClientError as fault:
        if code_of(fault) in GONE:
            return BytesLost("fetch", "S3 no longer has the sealed version")
        raise
    if held != stored.size:
        return BytesLost("fetch", f"S3 holds {held} bytes, but {stored.size} were sealed")
    return IncompleteReadError(actual_bytes=came, expected_bytes=stored.size)
