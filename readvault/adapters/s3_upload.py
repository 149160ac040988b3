"""Put a local file into the bucket once: a second time is a success if the bytes are the same."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from readvault.adapters import s3_inventory
from readvault.adapters.s3_client import code_of, failures_of, pinned, status_of, version_id_of
from readvault.domain.errors import BytesLost, ProcessingFailure
from readvault.ports import StoredVersion, UploadedPart

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

SINGLE = 64 * 2**20
PART = 16 * 2**20
MAX_PARTS = 10_000
THREADS = 4


class _KeyTakenError(Exception):
    """S3 has an object under this key."""


def store(
    s3: S3Client,
    bucket: str,
    source: Path,
    key: str,
    *,
    sha256: str,
    versions: Callable[[str], Iterable[StoredVersion]],
    single: int = SINGLE,
    part: int = PART,
) -> StoredVersion:
    """Upload `source`; a key that holds the same bytes already is a success and keeps its version.

    Up to `single` bytes go in one PUT whose SHA-256 S3 checks; larger files in parts, each with its
    own, while the whole is hashed here. What S3 doesn't say that it has checked is read again.
    Raises ProcessingFailure when other bytes stand under the key or the file isn't what `sha256` says.
    """
    with failures_of("stage"):
        size = source.stat().st_size
        try:
            if size <= single:
                version_id, is_checked = _put(s3, bucket, source, key, sha256)
            else:
                known = _existing(s3, bucket, key, size, sha256, versions)
                if known is not None:
                    return known
                cut = max(part, -(-size // MAX_PARTS))
                version_id, is_checked = _put_in_parts(s3, bucket, source, key, sha256, cut)
            written = StoredVersion(key, version_id, size)
            if not is_checked:
                _read_back(s3, bucket, written, sha256)
            return written
        except _KeyTakenError:
            known = _existing(s3, bucket, key, size, sha256, versions)
            if known is None:
                raise ProcessingFailure("stage", "integrity: other bytes stand under this key in S3") from None
            return known


def store_again(s3: S3Client, bucket: str, source: Path, key: str, *, sha256: str) -> StoredVersion:
    """Upload `source` as a new version over whatever lies under the key. Nobody may trust it before reading it back."""
    with failures_of("repair"):
        size = source.stat().st_size
        if size <= SINGLE:
            version_id, _ = _put(s3, bucket, source, key, sha256, once=False)
        else:
            cut = max(PART, -(-size // MAX_PARTS))
            version_id, _ = _put_in_parts(s3, bucket, source, key, sha256, cut, once=False)
        return StoredVersion(key, version_id, size)


def put_bytes(
    s3: S3Client,
    bucket: str,
    body: bytes,
    key: str,
    *,
    sha256: str,
    versions: Callable[[str], Iterable[StoredVersion]],
) -> StoredVersion:
    """Upload bytes in one PUT, once; a key that holds the same bytes already is a success and keeps its version."""
    with failures_of("stage"):
        try:
            version_id, is_checked = _sent(s3, bucket, body, key, sha256)
        except _KeyTakenError:
            known = _existing(s3, bucket, key, len(body), sha256, versions)
            if known is None:
                raise ProcessingFailure("stage", "integrity: other bytes stand under this key in S3") from None
            return known
        written = StoredVersion(key, version_id, len(body))
        if not is_checked:
            _read_back(s3, bucket, written, sha256)
        return written


def put_part(
    s3: S3Client, bucket: str, key: str, upload_id: str, number: int, body: bytes
) -> tuple[UploadedPart, bool]:
    """Send one part with its SHA-256; and whether S3 says that it has checked the bytes."""
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    answer = s3.upload_part(
        Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, ChecksumSHA256=checksum
    )
    sent = UploadedPart(number, answer["ETag"].strip('"'), len(body), checksum)
    return sent, answer.get("ChecksumSHA256") == checksum


def as_base64(sha256: str) -> str:
    """A hexadecimal digest as S3's checksum headers write it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _put(
    s3: S3Client, bucket: str, source: Path, key: str, sha256: str, *, once: bool = True
) -> tuple[str | None, bool]:
    """Send a file in one piece; its version ID, and whether S3 says that it has checked the bytes."""
    with source.open("rb") as body:
        return _sent(s3, bucket, body, key, sha256, once=once)


def _sent(
    s3: S3Client, bucket: str, body: BinaryIO | bytes, key: str, sha256: str, *, once: bool = True
) -> tuple[str | None, bool]:
    checksum = as_base64(sha256)
    with _first_write():
        answer = s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumSHA256=checksum, **_condition(once))
    return version_id_of(answer), answer.get("ChecksumSHA256") == checksum


def _read_back(s3: S3Client, bucket: str, written: StoredVersion, sha256: str) -> None:
    """See that S3 holds what we sent, and take it away again when it doesn't."""
    try:
        found = s3_inventory.sha256_of(s3, bucket, written, lambda _: None, expected=sha256)
    except BytesLost:
        found = None
    if found != sha256:
        s3_inventory.delete(s3, bucket, written)
        raise ProcessingFailure("stage", "integrity: S3 holds other bytes than it was sent")


def _condition(once: bool) -> dict[str, Any]:
    return {"IfNoneMatch": "*"} if once else {}


def _put_in_parts(
    s3: S3Client, bucket: str, source: Path, key: str, sha256: str, part: int, *, once: bool = True
) -> tuple[str | None, bool]:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        found, parts, is_checked = _send_parts(s3, bucket, source, key, upload_id, part)
        if found != sha256:
            raise ProcessingFailure("stage", "integrity: the file changed after it was hashed")
        with _first_write():
            answer = s3.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **_condition(once)
            )
        return version_id_of(answer), is_checked
    except BaseException:
        with contextlib.suppress(ClientError, BotoCoreError):
            s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise


def _send_parts(
    s3: S3Client, bucket: str, source: Path, key: str, upload_id: str, part: int
) -> tuple[str, list[CompletedPartTypeDef], bool]:
    """Upload all parts, a few at a time; the SHA-256 of the whole, what Complete needs, and whether S3 checked all."""
    unchecked: list[int] = []

    def send(number: int, body: bytes) -> CompletedPartTypeDef:
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        answer = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, ChecksumSHA256=checksum
        )
        if answer.get("ChecksumSHA256") != checksum:
            unchecked.append(number)
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    whole = hashlib.sha256()
    sent: list[CompletedPartTypeDef] = []
    ahead: deque[Future[CompletedPartTypeDef]] = deque()
    with source.open("rb") as file, ThreadPoolExecutor(THREADS, thread_name_prefix="stage") as pool:
        try:
            while body := file.read(part):
                whole.update(body)
                ahead.append(pool.submit(send, len(sent) + len(ahead) + 1, body))
                if len(ahead) > THREADS:
                    sent.append(ahead.popleft().result())
            sent.extend(future.result() for future in ahead)
        finally:
            pool.shutdown(cancel_futures=True)
    return whole.hexdigest(), sent, not unchecked


@contextlib.contextmanager
def _first_write() -> Iterator[None]:
    try:
        yield
    except ClientError as fault:
        # NoSuchUpload: somebody else's Complete, or our own whose answer was lost, came first.
        if status_of(fault) == 412 or code_of(fault) == "NoSuchUpload":
            raise _KeyTakenError from None
        raise


def _existing(
    s3: S3Client, bucket: str, key: str, size: int, sha256: str, versions: Callable[[str], Iterable[StoredVersion]]
) -> StoredVersion | None:
    """The oldest version under the key that holds these bytes; None when no version does."""
    for stored in versions(key):
        if stored.key == key and stored.size == size and _sha256_of(s3, bucket, stored, sha256) == sha256:
            return stored
    return None


def _sha256_of(s3: S3Client, bucket: str, stored: StoredVersion, expected: str) -> str:
    """A version's SHA-256 (hexadecimal): S3's own where it is one of the whole object, else read anew."""
    named = pinned(stored.key, stored.version_id)
    checksum = s3.head_object(Bucket=bucket, ChecksumMode="ENABLED", **named).get("ChecksumSHA256")
    # A multipart checksum is a hash of hashes and ends with `-` and the number of parts.
    if checksum and "-" not in checksum:
        return base64.b64decode(checksum).hex()
    return s3_inventory.sha256_of(s3, bucket, stored, lambda _: None, expected=expected)
