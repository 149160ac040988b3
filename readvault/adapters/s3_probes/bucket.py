"""What all probes share: the bucket with the keys of production, and what a probe says."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from botocore.exceptions import ClientError

from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_client import client, status_of
from readvault.config import S3Settings
from readvault.domain.errors import ProcessingFailure
from readvault.ports import SignedRequest, StoredVersion

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

TIMEOUT = 20.0
BODY = b"@probe\nACGT\n+\nFFFF\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one probe saw. `needed`: without it a promise can't be kept, else it is a pity."""

    name: str
    passed: bool
    message: str
    advice: str
    needed: bool = True


class Bucket:
    """The bucket under probe."""

    def __init__(self, settings: S3Settings, origin: str) -> None:
        self.settings = settings
        self.origin = origin
        self.name = settings.bucket
        self.store = S3Store(settings)
        self.folder = f"incoming/doctor-{uuid.uuid4()}"
        self.http = httpx.Client(timeout=TIMEOUT, follow_redirects=False)
        self.worker = self.as_identity("worker")

    @property
    def public_url(self) -> str:
        """Where submitters and readers reach it."""
        return f"{(self.settings.public_endpoint or self.settings.endpoint).rstrip('/')}/{self.name}"

    def as_identity(self, identity: str) -> S3Client:
        """A plain client with the keys of one identity."""
        credentials = getattr(self.settings, identity)
        return client(credentials, identity=identity, endpoint=self.settings.endpoint, region=self.settings.region)

    def key(self) -> str:
        """A key that nobody has used."""
        return f"{self.folder}/{uuid.uuid4()}"

    def signed_put(
        self, key: str, *, size: int | None = None, sha256: str | None = None, expires: int = 300
    ) -> SignedRequest:
        """A signed PUT as submitters get it."""
        return self.store.sign_put(key, size=size, sha256=sha256, expires=expires)

    def put(self, request: SignedRequest, body: bytes) -> int:
        """Send a signed PUT; the status."""
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        return self.http.put(request.url, content=body, headers=headers).status_code

    def written(self) -> StoredVersion:
        """An object, written as a submitter writes it; by the worker itself where nobody can sign."""
        key = self.key()
        if self.settings.upload_signer.access_key:
            self.put(self.signed_put(key), BODY)
        else:
            self.worker.put_object(Bucket=self.name, Key=key, Body=BODY)
        return next(self.store.list_versions(key))

    def clean_up(self) -> None:
        """Take away what the probes wrote; what a lock holds stays until somebody removes it."""
        with contextlib.suppress(ProcessingFailure):
            for listed in list(self.store.walk(f"{self.folder}/")):
                self.store.delete(listed.stored)
            for upload in list(self.store.unfinished_uploads(f"{self.folder}/")):
                self.store.abort_multipart(upload.key, upload.upload_id)
        self.http.close()


Probe = Callable[[Bucket], Seen]


def status_answered(call: Callable[[], Any]) -> int:
    """The HTTP status that S3 answers to a call."""
    try:
        return int(call()["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as fault:
        return status_of(fault)


def refused(status: int, *allowed: int) -> bool:
    """Whether S3 refused, by one of these statuses."""
    return status in (allowed or (400, 401, 403))
