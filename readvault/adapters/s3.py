"""The bucket behind `ports.ReadStore`, over boto3.

Three identities, each as weak as its work allows: the upload signer signs PUTs, the read signer
signs GETs, the worker does the rest. What a pre-signed URL binds, S3 itself enforces; nothing here
looks at the bytes of an upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from readvault.adapters import s3_download, s3_inventory, s3_upload
from readvault.adapters.s3_attachment import attachment
from readvault.adapters.s3_client import client, code_of, failures_of, pinned, status_of, version_id_of
from readvault.config import S3Settings
from readvault.domain.errors import Unprocessable
from readvault.ports import ListedVersion, SignedForm, SignedRequest, StoredVersion, UnfinishedUpload, UploadedPart

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

REFUSED_PARTS = {
    "EntityTooSmall": "EntityTooSmall: Your proposed upload is smaller than the minimum allowed object size. "
    "Each part, except the last one, must be at least 5 MB.",
    "InvalidPart": "InvalidPart: One or more of the specified parts could not be found. The part may not have been "
    "uploaded, or the specified etag may not match the part's etag.",
    "InvalidPartOrder": "The list of parts was not in ascending order. The parts list must be specified in order "
    "by part number.",
    "NoSuchUpload": "The multipart upload does not exist any more. Please request a new one.",
    "MalformedXML": "InvalidPart: One or more of the specified parts could not be found. The part may not have been "
    "uploaded, or the specified etag may not match the part's etag.",
}
"""Loculus's texts for what S3 says of parts; S3's own texts name keys."""

_NO_LOCKS = {"NotImplemented", "MethodNotAllowed", "InvalidRequest", "ObjectLockConfigurationNotFoundError"}
_NO_VERSIONS = {"NotImplemented", "501"}


class S3Store:
    """The S3 bucket with the reads (`ports.ReadStore`). Safe to share between threads."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self._public_endpoint = settings.public_endpoint or settings.endpoint

    @cached_property
    def _upload_signer(self) -> S3Client:
        return self._client("upload_signer", self._public_endpoint)

    @cached_property
    def _read_signer(self) -> S3Client:
        return self._client("read_signer", self._public_endpoint)

    @cached_property
    def _worker(self) -> S3Client:
        return self._client("worker", self._settings.endpoint)

    def _client(self, identity: str, endpoint: str) -> S3Client:
        credentials = getattr(self._settings, identity)
        return client(credentials, identity=identity, endpoint=endpoint, region=self._settings.region)

    def sign_put(self, key: str, *, size: int | None, sha256: str | None, expires: int) -> SignedRequest:
        """A PUT that can be made once: S3 refuses another size, another hash, a second write."""
        parameters: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "IfNoneMatch": "*"}
        headers = {"If-None-Match": "*"}
        if size is not None:
            parameters["ContentLength"] = size
            headers["Content-Length"] = str(size)
        if sha256 is not None:
            parameters["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = s3_upload.as_base64(sha256)
        with failures_of("sign"):
            url = self._upload_signer.generate_presigned_url("put_object", Params=parameters, ExpiresIn=expires)
        return SignedRequest(url, headers)

    def sign_form(self, key: str, *, max_size: int, expires: int) -> SignedForm:
        """A POST of an HTML form to exactly this key, of 1 to `max_size` bytes; no policy can refuse a second one."""
        sizes: list[Any] = [["content-length-range", 1, max_size]]
        with failures_of("sign"):
            made = self._upload_signer.generate_presigned_post(self._bucket, key, Conditions=sizes, ExpiresIn=expires)
        return SignedForm(made["url"], dict(made["fields"]))

    def sign_get(self, key: str, version_id: str | None, *, name: str, expires: int, head: bool = False) -> str:
        """A URL of the pinned version that downloads under `name` (RFC 6266, as attachment).

        The content type is fixed, so that no browser ever shows what somebody uploaded.
        """
        parameters: dict[str, Any] = {
            "Bucket": self._bucket,
            **pinned(key, version_id),
            "ResponseContentDisposition": attachment(name),
            "ResponseContentType": "application/octet-stream",
        }
        method = "head_object" if head else "get_object"
        with failures_of("sign"):
            return self._read_signer.generate_presigned_url(method, Params=parameters, ExpiresIn=expires)

    def start_multipart(self, key: str, *, part_hashes: bool = False) -> str:
        """Begin a multipart upload; its upload ID.

        With `part_hashes` S3 is told at once: it refuses a part's SHA-256 that it doesn't expect.
        """
        algorithm: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if part_hashes else {}
        with failures_of("upload"):
            return self._worker.create_multipart_upload(Bucket=self._bucket, Key=key, **algorithm)["UploadId"]

    def sign_part(
        self, key: str, upload_id: str, number: int, *, size: int | None, expires: int, sha256: str | None = None
    ) -> SignedRequest:
        """A PUT of one part, of exactly `size` bytes and with this SHA-256 (hexadecimal) when they are given."""
        parameters: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "UploadId": upload_id, "PartNumber": number}
        headers: dict[str, str] = {}
        if size is not None:
            parameters["ContentLength"] = size
            headers["Content-Length"] = str(size)
        if sha256 is not None:
            parameters["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = s3_upload.as_base64(sha256)
        with failures_of("sign"):
            url = self._upload_signer.generate_presigned_url("upload_part", Params=parameters, ExpiresIn=expires)
        return SignedRequest(url, headers)

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts that S3 has, by number. Of a part that was sent again, the later one.

        SeaweedFS lists both, with times in whole seconds: the etag of the later one is only sure
        when a second lies between them, so whoever sends a part again should remember its etag.
        """
        with failures_of("upload"):
            pages = self._worker.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload_id)
            listed = [part for page in pages for part in page.get("Parts", ())]
        latest = {part["PartNumber"]: part for part in sorted(listed, key=lambda part: part["LastModified"])}
        return [
            UploadedPart(number, part["ETag"].strip('"'), part["Size"], part.get("ChecksumSHA256") or None)
            for number, part in sorted(latest.items())
        ]

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> tuple[UploadedPart, bool]:
        """Send one part of an upload with part hashes; and whether S3 says that it has checked the bytes."""
        with failures_of("upload"):
            return s3_upload.put_part(self._worker, self._bucket, key, upload_id, number, body)

    def put_bytes(self, key: str, body: bytes, *, sha256: str) -> StoredVersion:
        """Upload bytes once, in one piece. A key that is there already with the same bytes is a success."""
        return s3_upload.put_bytes(self._worker, self._bucket, body, key, sha256=sha256, versions=self.list_versions)

    def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: list[tuple[int, str]],
        *,
        checksums: Mapping[int, str] | None = None,
    ) -> None:
        """Put the parts (number, etag) together, once; raises Unprocessable for parts that S3 refuses.

        An upload that is gone while its object stands was completed before, and its answer lost.
        """
        known = checksums or {}
        chosen = [
            {"PartNumber": number, "ETag": f'"{etag.strip().strip(chr(34))}"'}
            | ({"ChecksumSHA256": known[number]} if number in known else {})
            for number, etag in parts
        ]
        with failures_of("upload"):
            try:
                self._worker.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": chosen},  # type: ignore[typeddict-item]
                    IfNoneMatch="*",
                )
            except ClientError as fault:
                code = code_of(fault)
                if status_of(fault) == 412 or (code == "NoSuchUpload" and self._has(key)):
                    return
                if code in REFUSED_PARTS:
                    raise Unprocessable(REFUSED_PARTS[code]) from None
                raise

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop an unfinished upload; one that is gone already is no error."""
        with failures_of("upload"):
            try:
                self._worker.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
            except ClientError as fault:
                if code_of(fault) != "NoSuchUpload":
                    raise

    def list_versions(self, prefix: str) -> Iterator[StoredVersion]:
        """The object versions under a prefix, oldest first for each key, without delete markers."""
        with failures_of("list"):
            newest_first = self._versions(prefix)
            for _, of_one_key in groupby(newest_first, key=lambda stored: stored.key):
                yield from reversed(list(of_one_key))

    def walk(self, prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        """Every version and delete marker under a prefix, by key, newest first; only keys beyond `after`."""
        with failures_of("list"):
            yield from s3_inventory.walk(self._worker, self._bucket, prefix, after)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """The multipart uploads under a prefix that were begun and neither completed nor aborted."""
        with failures_of("list"):
            yield from s3_inventory.unfinished_uploads(self._worker, self._bucket, prefix)

    def sha256_of(
        self, stored: StoredVersion, *, progress: Callable[[int], None] | None = None, expected: str | None = None
    ) -> str:
        """The SHA-256 (hexadecimal) of a version's bytes, every one of them read now and none kept."""
        with failures_of("fetch"):
            return s3_inventory.sha256_of(
                self._worker, self._bucket, stored, progress or (lambda _: None), expected=expected
            )

    def delete(self, stored: StoredVersion, *, bypass: bool = False) -> bool:
        """Take one version away for ever; False when a lock holds it. One that is gone is no error.

        `bypass` lifts a GOVERNANCE lock, where this store has the maintainer's own credential.
        """
        with failures_of("delete"):
            return s3_inventory.delete(self._worker, self._bucket, stored, bypass=bypass)

    def locked_until(self, stored: StoredVersion) -> float | None:
        """Until when a version can't be deleted (epoch seconds); None for one without a lock, or without a date."""
        with failures_of("lock"):
            return s3_inventory.locked_until(self._worker, self._bucket, stored)

    def _versions(self, prefix: str) -> Iterator[StoredVersion]:
        pages = self._worker.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for page in pages:
                for version in page.get("Versions", ()):
                    yield StoredVersion(version["Key"], version_id_of(version), version["Size"])
        except ClientError as fault:
            if code_of(fault) not in _NO_VERSIONS:
                raise
            for objects in self._worker.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in objects.get("Contents", ()):
                    yield StoredVersion(found["Key"], None, found["Size"])

    def _has(self, key: str) -> bool:
        return any(stored.key == key for stored in self._versions(key))

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
        return s3_download.download(self._worker, self._bucket, stored, target, progress, expected=expected)

    def store(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """Upload a file once. A key that is there already with the same bytes is a success."""
        return s3_upload.store(self._worker, self._bucket, source, key, sha256=sha256, versions=self.list_versions)

    def store_again(self, source: Path, key: str, *, sha256: str) -> StoredVersion:
        """Upload a file over whatever lies under the key, as a new version: only to restore lost bytes."""
        return s3_upload.store_again(self._worker, self._bucket, source, key, sha256=sha256)

    def lock(self, stored: StoredVersion, *, until: float) -> None:
        """Forbid the deletion of a version until then (epoch seconds), where the provider can.

        GOVERNANCE: a maintainer may still lift it. A lock that already reaches further is kept.
        """
        named: dict[str, Any] = {"Bucket": self._bucket, **pinned(stored.key, stored.version_id)}
        end = datetime.fromtimestamp(int(until), UTC)
        with failures_of("lock"):
            try:
                self._worker.put_object_retention(Retention={"Mode": "GOVERNANCE", "RetainUntilDate": end}, **named)
            except ClientError as fault:
                if code_of(fault) in _NO_LOCKS or status_of(fault) == 501:
                    return
                if code_of(fault) != "AccessDenied":
                    raise
                kept = self._worker.get_object_retention(**named)["Retention"].get("RetainUntilDate")
                if kept is None or kept < end:
                    raise
