"""Probes of what a signed upload binds: one write, its key, its size, its hash, its time."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from readvault.adapters.s3_probes.bucket import BODY, Bucket, Probe, Seen, refused, status_answered
from readvault.ports import SignedRequest

RACERS = 16


def _second_write(bucket: Bucket) -> Seen:
    request = bucket.signed_put(bucket.key())
    first, second = bucket.put(request, BODY), bucket.put(request, b"another")
    message = f"a first PUT: HTTP {first}, a second: HTTP {second} (412 expected)"
    advice = "Conditional writes (If-None-Match) keep a leaked link from replacing an upload."
    return Seen("second write", first == 200 and second == 412, message, advice)


def _racing_writes(bucket: Bucket) -> Seen:
    request = bucket.signed_put(bucket.key())
    with ThreadPoolExecutor(RACERS) as pool:
        statuses = list(pool.map(lambda number: bucket.put(request, b"%d" % number), range(RACERS)))
    won = statuses.count(200)
    message = f"{won} of {RACERS} writers at once succeeded (1 expected)"
    return Seen("racing writes", won == 1, message, "This provider's conditional writes are not atomic.")


def _declared_size(bucket: Bucket) -> Seen:
    status = bucket.put(bucket.signed_put(bucket.key(), size=len(BODY) - 1), BODY)
    message = f"a PUT that is longer than was signed: HTTP {status} (403 expected)"
    return Seen("declared size", refused(status), message, "Limits would hold only once a file is submitted.")


def _declared_sha256(bucket: Bucket) -> Seen:
    other = hashlib.sha256(b"other").hexdigest()
    status = bucket.put(bucket.signed_put(bucket.key(), sha256=other), BODY)
    message = f"a PUT of other bytes than were signed: HTTP {status} (400 expected)"
    advice = "Uploads that were damaged on the way are found only when they are fetched."
    return Seen("declared SHA-256", refused(status), message, advice, needed=False)


def _expired_link(bucket: Bucket) -> Seen:
    request = bucket.signed_put(bucket.key(), expires=1)
    time.sleep(2.5)
    status = bucket.put(request, BODY)
    message = f"a PUT after its time: HTTP {status} (403 expected)"
    return Seen("expired link", refused(status), message, "Links would work for ever.")


def _link_of_another_key(bucket: Bucket) -> Seen:
    request = bucket.signed_put(bucket.key())
    moved = SignedRequest(request.url.replace(bucket.folder, f"{bucket.folder}-other"), request.headers)
    status = bucket.put(moved, BODY)
    message = f"a signature used for another key: HTTP {status} (403 expected)"
    return Seen("link of another key", refused(status), message, "Signatures aren't checked: nothing here is safe.")


def _parts_together_once(bucket: Bucket) -> Seen:
    key = bucket.key()
    done = [_put_together(bucket, key, content) for content in (b"first", b"second")].count(200)
    message = f"{done} of 2 uploads in parts of one key were put together (1 expected)"
    advice = "A large file could be replaced by whoever holds links of its parts."
    return Seen("parts together once", done == 1, message, advice)


def _put_together(bucket: Bucket, key: str, content: bytes) -> int:
    upload_id = bucket.store.start_multipart(key)
    part = bucket.store.sign_part(key, upload_id, 1, size=None, expires=60)
    etag = bucket.http.put(part.url, content=content).headers.get("etag", "")
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    return status_answered(
        lambda: bucket.worker.complete_multipart_upload(
            Bucket=bucket.name,
            Key=key,
            UploadId=upload_id,
            MultipartUpload=parts,  # type: ignore[arg-type]
            IfNoneMatch="*",
        )
    )


def _unfinished_uploads(bucket: Bucket) -> Seen:
    key = bucket.key()
    upload_id = bucket.store.start_multipart(key)
    listed = any(upload.upload_id == upload_id for upload in bucket.store.unfinished_uploads(key))
    bucket.store.abort_multipart(key, upload_id)
    left = any(upload.upload_id == upload_id for upload in bucket.store.unfinished_uploads(key))
    message = f"an upload in parts is {'' if listed else 'not '}listed, and {'there' if left else 'gone'} once aborted"
    advice = "Parts that nobody finishes would stay and cost for ever: set a lifecycle rule that aborts them."
    return Seen("unfinished uploads", listed and not left, message, advice, needed=False)


PROBES: dict[str, Probe] = {
    "second write": _second_write,
    "racing writes": _racing_writes,
    "declared size": _declared_size,
    "declared SHA-256": _declared_sha256,
    "expired link": _expired_link,
    "link of another key": _link_of_another_key,
    "parts together once": _parts_together_once,
    "unfinished uploads": _unfinished_uploads,
}
