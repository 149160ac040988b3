"""What lies in the bucket, version by version: listed in flat memory, read again, taken away."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from readvault.adapters.s3_client import BROKEN_TRANSFER, code_of, pinned, status_of, version_id_of
from readvault.adapters.s3_reading import GONE, READINGS, Digests, may_be_md5, not_as_sealed, surely
from readvault.domain.errors import BytesLost, StoreUnavailable
from readvault.ports import ListedVersion, StoredVersion, UnfinishedUpload

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CHUNK = 2**20
_NO_VERSIONS = {"NotImplemented", "501"}
_LOCKED = {"AccessDenied", "ObjectLocked"}


def walk(s3: S3Client, bucket: str, prefix: str, after: str | None) -> Iterator[ListedVersion]:
    """Every version and delete marker under a prefix, by key, newest first; only keys beyond `after`."""
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    try:
        start: dict[str, Any] = {} if after is None else {"KeyMarker": after}
        for page in s3.get_paginator("list_object_versions").paginate(**asked, **start):
            markers = [_listed(marker, deleted=True) for marker in page.get("DeleteMarkers", ())]
            versions = [_listed(version, deleted=False) for version in page.get("Versions", ())]
            # S3 lists both in one order, but in two lists; a page never splits what belongs together by time alone.
            both = sorted([*versions, *markers], key=lambda each: (each.stored.key, -each.modified_at))
            yield from (each for each in both if after is None or each.stored.key > after)
    except ClientError as fault:
        if code_of(fault) not in _NO_VERSIONS:
            raise
        start = {} if after is None else {"StartAfter": after}
        for objects in s3.get_paginator("list_objects_v2").paginate(**asked, **start):
            for found in objects.get("Contents", ()):
                stored = StoredVersion(found["Key"], None, found["Size"])
                yield ListedVersion(stored, found["LastModified"].timestamp(), newest=True, deleted=False)


def _listed(found: Any, *, deleted: bool) -> ListedVersion:
    stored = StoredVersion(found["Key"], version_id_of(found), found.get("Size", 0))
    return ListedVersion(stored, found["LastModified"].timestamp(), newest=found["IsLatest"], deleted=deleted)


def sha256_of(
    s3: S3Client,
    bucket: str,
    stored: StoredVersion,
    progress: Callable[[int], None],
    *,
    expected: str | None = None,
) -> str:
    """The SHA-256 (hexadecimal) of a version's bytes, every one of them read now.

    Other bytes than `expected` are believed only when a second reading gives the same. Raises
    BytesLost when the version is gone or has another size, StoreUnavailable when S3 breaks off.
    """
    return surely(lambda: _read(s3, bucket, stored, progress, expected))


def _read(
    s3: S3Client, bucket: str, stored: StoredVersion, progress: Callable[[int], None], expected: str | None
) -> tuple[str, bool]:
    for attempt in range(READINGS):
        digests = Digests(expected)
        try:
            etag = _take(s3, bucket, stored, digests, progress)
        except BROKEN_TRANSFER:
            time.sleep(0.2 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads the load
        else:
            return digests.sha256, digests.are_sure(etag)
    raise StoreUnavailable("fetch", "S3 broke off the transfer")


def _take(
    s3: S3Client, bucket: str, stored: StoredVersion, digests: Digests, progress: Callable[[int], None]
) -> str | None:
    """Read all bytes once; the ETag that came with them."""
    total = 0
    try:
        answer = s3.get_object(Bucket=bucket, **pinned(stored.key, stored.version_id))
    except ClientError as fault:
        if code_of(fault) in GONE:
            raise BytesLost("fetch", "S3 no longer has the sealed version") from None
        raise
    etag = answer.get("ETag")
    if not may_be_md5(etag):
        digests.without_md5()
    with contextlib.closing(answer["Body"]) as body:
        for piece in body.iter_chunks(CHUNK):
            digests.update(piece)
            total += len(piece)
            progress(len(piece))
    if total != stored.size:
        raise not_as_sealed(s3, bucket, stored, total)
    return etag


def delete(s3: S3Client, bucket: str, stored: StoredVersion, *, bypass: bool = False) -> bool:
    """Take one version (or delete marker) away for ever; False when a lock holds it. One that is gone is no error."""
    lifting: dict[str, Any] = {"BypassGovernanceRetention": True} if bypass else {}
    try:
        s3.delete_object(Bucket=bucket, **pinned(stored.key, stored.version_id), **lifting)
    except ClientError as fault:
        if code_of(fault) in GONE:
            return True
        if code_of(fault) in _LOCKED or status_of(fault) == 403:
            return False
        raise
    return True


def locked_until(s3: S3Client, bucket: str, stored: StoredVersion) -> float | None:
    """Until when retention holds a version (epoch seconds); None where nothing does, or nobody can say."""
    try:
        answer = s3.get_object_retention(Bucket=bucket, **pinned(stored.key, stored.version_id))
    except ClientError as fault:
        if status_of(fault) < 500 or status_of(fault) == 501:
            return None
        raise
    until = answer["Retention"].get("RetainUntilDate")
    return None if until is None else until.timestamp()


def unfinished_uploads(s3: S3Client, bucket: str, prefix: str) -> Iterator[UnfinishedUpload]:
    """The multipart uploads under a prefix that were begun and neither completed nor aborted."""
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", ()):
            yield UnfinishedUpload(upload["Key"], upload["UploadId"], upload["Initiated"].timestamp())
