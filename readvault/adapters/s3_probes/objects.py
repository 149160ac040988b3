"""Probes of what is stored: there at once, listed at once, once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from readvault.adapters.s3_probes.bucket import BODY, Bucket, Probe, Seen
from readvault.domain.errors import BytesLost

ROUNDS = 20
_SHA256 = hashlib.sha256(BODY).hexdigest()


def _read_after_write(bucket: Bucket) -> Seen:
    there = 0
    for _ in range(ROUNDS):
        try:
            there += bucket.store.sha256_of(bucket.written()) == _SHA256
        except (BytesLost, StopIteration):
            continue
    message = f"{there} of {ROUNDS} objects were listed and read right after they were written"
    advice = "This provider is not consistent: submissions would fail at random."
    return Seen("read after write", there == ROUNDS, message, advice)


def _stored_once(bucket: Bucket) -> Seen:
    key = bucket.key()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "probe"
        path.write_bytes(BODY)
        told = {bucket.store.store(path, key, sha256=_SHA256) for _ in range(2)}
    there = list(bucket.store.list_versions(key))
    message = f"the same file stored twice is {len(there)} versions (1 expected)"
    return Seen(
        "stored once", told == set(there) and len(there) == 1, message, "Retries would multiply what is stored."
    )


PROBES: dict[str, Probe] = {"read after write": _read_after_write, "stored once": _stored_once}
