"""What lies in the bucket is listed version by version, read again and taken away, on a real server."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_client import client
from readvault.config import S3Settings
from readvault.domain.errors import BytesLost
from readvault.ports import StoredVersion

pytestmark = pytest.mark.slow


@pytest.fixture
def raw(s3_settings: S3Settings) -> Any:
    return client(s3_settings.worker, identity="worker", endpoint=s3_settings.endpoint, region="us-east-1")


def stored(store: S3Store, key: str, content: bytes, folder: Path) -> StoredVersion:
    path = folder / "file"
    path.write_bytes(content)
    return store.store(path, key, sha256=hashlib.sha256(content).hexdigest())


def test_a_walk_shows_versions_and_delete_markers_newest_first(
    store: S3Store, s3_settings: S3Settings, raw: Any, tmp_path: Path
) -> None:
    first = stored(store, "vault/1/a", b"one", tmp_path)
    for body in (b"two", None):
        time.sleep(1.1)  # the server's clock has whole seconds
        if body is None:
            raw.delete_object(Bucket=s3_settings.bucket, Key="vault/1/a")
        else:
            raw.put_object(Bucket=s3_settings.bucket, Key="vault/1/a", Body=body)
    other = stored(store, "vault/2/b", b"other", tmp_path)
    listed = list(store.walk("vault/"))
    assert [(each.stored.key, each.deleted, each.newest, each.stored.size) for each in listed] == [
        ("vault/1/a", True, True, 0),
        ("vault/1/a", False, False, 3),
        ("vault/1/a", False, False, 3),
        ("vault/2/b", False, True, 5),
    ]
    assert listed[2].stored == first
    assert abs(listed[3].modified_at - time.time()) < 60
    assert [each.stored for each in store.walk("vault/", after="vault/1/a")] == [other]


def test_a_walk_over_many_pages_misses_nothing(store: S3Store, s3_settings: S3Settings, raw: Any) -> None:
    for number in range(1_005):
        raw.put_object(Bucket=s3_settings.bucket, Key=f"incoming/b/{number:05}", Body=b"x")
    keys = [each.stored.key for each in store.walk("incoming/")]
    assert keys == [f"incoming/b/{number:05}" for number in range(1_005)]
    assert len(list(store.walk("incoming/", after="incoming/b/00999"))) == 5


def test_reading_again_finds_other_bytes_and_missing_ones(
    store: S3Store, s3_settings: S3Settings, raw: Any, tmp_path: Path
) -> None:
    version = stored(store, "vault/1/a", b"reads" * 1000, tmp_path)
    seen: list[int] = []
    assert store.sha256_of(version, progress=seen.append) == hashlib.sha256(b"reads" * 1000).hexdigest()
    assert sum(seen) == 5000
    with pytest.raises(BytesLost):
        store.sha256_of(StoredVersion(version.key, version.version_id, 4999))
    raw.delete_object(Bucket=s3_settings.bucket, Key=version.key, VersionId=version.version_id)
    with pytest.raises(BytesLost):
        store.sha256_of(version)


def test_one_version_is_taken_away_and_a_locked_one_stays(store: S3Store, tmp_path: Path, seaweed: SeaweedFS) -> None:
    free, kept = (stored(store, f"vault/1/{name}", name.encode(), tmp_path) for name in ("free", "kept"))
    store.lock(kept, until=time.time() + 3600)
    assert store.delete(free)
    assert store.delete(free)  # gone is gone
    assert not store.delete(kept)
    assert [each.stored for each in store.walk("vault/")] == [kept]


def test_unfinished_uploads_are_listed(store: S3Store) -> None:
    upload_id = store.start_multipart("incoming/b/large")
    ((found),) = store.unfinished_uploads("incoming/")
    assert (found.key, found.upload_id) == ("incoming/b/large", upload_id)
    store.abort_multipart(found.key, found.upload_id)
    assert not list(store.unfinished_uploads("incoming/"))
