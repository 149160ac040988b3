"""Parts that are signed with their SHA-256, at a real S3."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx
import pytest

from readvault.adapters.s3 import S3Store

pytestmark = pytest.mark.slow
KEY = "incoming/batch/in-parts"
PARTS = (b"a" * 5 * 2**20, b"z" * 10)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(store: S3Store, upload_id: str, number: int, body: bytes, *, promised: bytes | None = None) -> int:
    part = PARTS[number - 1] if promised is None else promised
    signed = store.sign_part(KEY, upload_id, number, size=len(part), sha256=sha256(part), expires=60)
    return httpx.put(signed.url, content=body, headers=signed.headers).status_code


def test_the_whole_way(store: S3Store, tmp_path: Path) -> None:
    upload_id = store.start_multipart(KEY, part_hashes=True)
    assert send(store, upload_id, 1, b"b" * len(PARTS[0])) == 400, "other bytes than promised"
    assert store.list_parts(KEY, upload_id) == []
    for number, part in enumerate(PARTS, start=1):
        assert send(store, upload_id, number, part) == 200
    listed = store.list_parts(KEY, upload_id)
    checksums = {
        number: base64.b64encode(hashlib.sha256(part).digest()).decode() for number, part in enumerate(PARTS, start=1)
    }
    store.complete_multipart(KEY, upload_id, [(part.number, part.etag) for part in listed], checksums=checksums)
    (stored,) = store.list_versions(KEY)
    assert store.fetch(stored, tmp_path / "target") == sha256(b"".join(PARTS))


def test_the_hash_can_not_be_left_out(store: S3Store) -> None:
    upload_id = store.start_multipart(KEY, part_hashes=True)
    signed = store.sign_part(KEY, upload_id, 1, size=10, sha256=sha256(PARTS[1]), expires=60)
    without = {name: value for name, value in signed.headers.items() if not name.startswith("x-amz")}
    assert httpx.put(signed.url, content=PARTS[1], headers=without).status_code == 403


def test_this_server_takes_hashes_of_an_upload_that_was_begun_without(store: S3Store) -> None:
    """Others don't, so we never do it: docs/decisions.md."""
    upload_id = store.start_multipart(KEY)
    assert send(store, upload_id, 1, PARTS[1], promised=PARTS[1]) == 200
