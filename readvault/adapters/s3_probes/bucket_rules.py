"""Probes of how the bucket is set up: who may do what, versions, locks, browsers, clock, encryption."""

from __future__ import annotations

import contextlib
import time
import uuid
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from readvault.adapters.s3_client import code_of, pinned
from readvault.adapters.s3_probes.bucket import BODY, Bucket, Probe, Seen, refused, status_answered
from readvault.domain.errors import ProcessingFailure

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MOST_SKEW = 60.0
"""Seconds by which S3's clock may differ from ours: signatures are refused beyond fifteen minutes."""
LOCK_SECONDS = 5.0


def _strangers(bucket: Bucket) -> Seen:
    stored = bucket.written()
    reading = bucket.http.get(f"{bucket.public_url}/{stored.key}").status_code
    listing = bucket.http.get(f"{bucket.public_url}?list-type=2&max-keys=1").status_code
    message = f"without keys: reading HTTP {reading}, listing HTTP {listing} (403 expected)"
    closed = refused(reading, 401, 403) and refused(listing, 401, 403)
    return Seen("strangers", closed, message, "Block public access of the bucket: patients' data lie in it.")


def _upload_signer(bucket: Bucket) -> Seen:
    signer = bucket.as_identity("upload_signer")
    outside = f"vault/doctor-{uuid.uuid4()}"
    writing = status_answered(lambda: signer.put_object(Bucket=bucket.name, Key=outside, Body=b""))
    reading = status_answered(lambda: signer.get_object(Bucket=bucket.name, Key=bucket.written().key))
    deleting = _deletes(bucket, signer)
    seen = f"writes outside of incoming/: HTTP {writing}, reads: HTTP {reading}, deletes: HTTP {deleting}"
    message = f"the upload signer {seen} (403 expected)"
    advice = "Give the upload signer PutObject on incoming/* and nothing else."
    return Seen("upload signer", all(refused(each, 403) for each in (writing, reading, deleting)), message, advice)


def _read_signer(bucket: Bucket) -> Seen:
    reader = bucket.as_identity("read_signer")
    writing = status_answered(lambda: reader.put_object(Bucket=bucket.name, Key=bucket.key(), Body=b""))
    deleting = _deletes(bucket, reader)
    message = f"the read signer writes: HTTP {writing}, deletes: HTTP {deleting} (403 expected)"
    advice = "Give the read signer GetObject and GetObjectVersion on incoming/*, vault/* and exports/*, nothing else."
    return Seen("read signer", refused(writing, 403) and refused(deleting, 403), message, advice)


def _exports(bucket: Bucket) -> Seen:
    key = f"exports/doctor-{uuid.uuid4()}"
    bucket.worker.put_object(Bucket=bucket.name, Key=key, Body=BODY)
    stored = next(bucket.store.list_versions(key))
    answer = bucket.http.get(bucket.store.sign_get(key, stored.version_id, name="probe", expires=60))
    bucket.store.delete(stored)
    message = f"an export of reads, by a link of the read signer's: HTTP {answer.status_code}"
    advice = "Give the read signer GetObject and GetObjectVersion on exports/* too."
    return Seen("exports", answer.status_code == 200, message, advice, needed=False)


def _worker(bucket: Bucket) -> Seen:
    stored = bucket.written()
    with contextlib.suppress(ProcessingFailure):
        bucket.store.lock(stored, until=time.time() + LOCK_SECONDS)
    if bucket.store.delete(stored):
        return Seen("worker", True, "nothing is locked here that the worker could unlock", "")
    kept = not bucket.store.delete(stored, bypass=True)
    message = f"the worker {'can not' if kept else 'can'} lift a lock"
    advice = "Take BypassGovernanceRetention from the worker: only a maintainer's own keys may have it."
    return Seen("worker", kept, message, advice)


def _deletes(bucket: Bucket, client: S3Client) -> int:
    """What S3 answers to an identity that deletes a version."""
    stored = bucket.written()
    return status_answered(lambda: client.delete_object(Bucket=bucket.name, **pinned(stored.key, stored.version_id)))


def _versions(bucket: Bucket) -> Seen:
    kept = bucket.written().version_id is not None
    message = f"the bucket keeps {'' if kept else 'no '}versions"
    return Seen("versions", kept, message, "Switch versioning on: a sealed file is pinned by its version.")


def _pinned_version(bucket: Bucket) -> Seen:
    stored = bucket.written()
    bucket.worker.put_object(Bucket=bucket.name, Key=stored.key, Body=b"newer")
    bucket.worker.delete_object(Bucket=bucket.name, Key=stored.key)
    answer = bucket.http.get(bucket.store.sign_get(stored.key, stored.version_id, name="probe", expires=60))
    same = answer.status_code == 200 and answer.content == BODY
    message = f"a pinned version below a newer one and a delete marker: HTTP {answer.status_code}"
    return Seen("pinned version", same, message, "Without it a later write or delete hides what was sealed.")


def _object_lock(bucket: Bucket) -> Seen:
    stored = bucket.written()
    bucket.store.lock(stored, until=time.time() + LOCK_SECONDS)
    kept = not bucket.store.delete(stored)
    message = f"a locked version {'can not be' if kept else 'was'} deleted"
    advice = "Make the bucket with Object Lock: released files are then safe from the worker's own keys."
    return Seen("object lock", kept, message, advice, needed=False)


def _browsers(bucket: Bucket) -> Seen:
    asked = {
        "Origin": bucket.origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "if-none-match",
    }
    url = bucket.signed_put(bucket.key()).url
    allowed = "access-control-allow-origin" in bucket.http.options(url, headers=asked).headers
    shown = bucket.http.get(url, headers={"Origin": bucket.origin}).headers.get("access-control-expose-headers", "")
    both = allowed and ("etag" in shown.lower() or shown == "*")
    message = f"pages of {bucket.origin} may {'' if allowed else 'not '}upload and are shown: {shown or 'no headers'}"
    advice = "Let CORS allow PUT, GET and HEAD from your pages, and expose ETag and Content-Range."
    return Seen("browsers", both, message, advice, needed=False)


def _clock(bucket: Bucket) -> Seen:
    told = bucket.http.get(bucket.settings.endpoint).headers.get("date")
    if told is None:
        return Seen("clock", False, "S3 doesn't tell its time", "Compare the clocks by hand.", needed=False)
    skew = parsedate_to_datetime(told).timestamp() - time.time()
    return Seen("clock", abs(skew) < MOST_SKEW, f"S3's clock differs by {skew:+.0f} s", "Set the clocks (NTP).")


def _encryption(bucket: Bucket) -> Seen:
    advice = "Switch default encryption on, or see that the disks below are encrypted."
    try:
        answer = bucket.worker.get_bucket_encryption(Bucket=bucket.name)
    except ClientError as fault:
        return Seen("encryption", False, f"S3 tells of no encryption ({code_of(fault)})", advice, needed=False)
    rules = answer["ServerSideEncryptionConfiguration"].get("Rules", [])
    kinds = sorted(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules)
    return Seen("encryption", bool(kinds), f"at rest: {', '.join(kinds) or 'none'}", advice, needed=False)


PROBES: dict[str, Probe] = {
    "strangers": _strangers,
    "upload signer": _upload_signer,
    "read signer": _read_signer,
    "exports": _exports,
    "worker": _worker,
    "versions": _versions,
    "pinned version": _pinned_version,
    "object lock": _object_lock,
    "browsers": _browsers,
    "clock": _clock,
    "encryption": _encryption,
}
