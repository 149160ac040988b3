"""Erasure on a real S3: versions, delete markers, parts, locks, a second bucket; every byte of it, and no other."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault import bootstrap
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.s3 import S3Store
from readvault.config import S3Credentials, S3Settings, Settings
from readvault.db.engine import Sessions
from readvault.services.house import House
from readvault.services.storage.erasing import erasure, shredding
from readvault.services.storage.integrity.pinned import pinned_versions
from tests.fakes import RecordingOrchestrator
from tests.houses import MAINTAINER, build_house
from tests.integration.services.life import released
from tests.integration.services.scenes import group
from tests.integration.services.test_erasure import OTHER, REASON


class Bucket(S3Store):
    """The bucket, with a door for what tests write behind everybody's back."""

    def write(self, key: str, data: bytes) -> Any:
        """Put a version and say which."""
        self._worker.put_object(Bucket=self._bucket, Key=key, Body=data)
        return next(each.stored for each in self.walk(key) if each.newest)

    def hide(self, key: str) -> None:
        """Put a delete marker over it."""
        self._worker.delete_object(Bucket=self._bucket, Key=key)

    def everything(self) -> set[tuple[str, str | None]]:
        """All versions and delete markers."""
        return {(each.stored.key, each.stored.version_id) for each in self.walk("")}


@pytest.fixture
def second_settings(seaweed: SeaweedFS) -> S3Settings:
    """Another bucket with versions and locks."""
    return seaweed.provision("test-" + time.strftime("%H%M%S") + str(time.monotonic_ns() % 10**6))


@pytest.fixture
def s3_house(sessions: Sessions, s3_settings: S3Settings, second_settings: S3Settings, tmp_path: Path) -> House:
    """A house on a fresh bucket with a second one."""
    house = build_house(sessions, Bucket(s3_settings), RecordingOrchestrator(), tmp_path)
    return replace(house, second_store=Bucket(second_settings))


def maintainer_keys(seaweed: SeaweedFS) -> S3Credentials:
    """What a maintainer has in the environment of one command."""
    return seaweed.credentials("maintainer")


def test_all_of_it_goes_and_nothing_else(
    s3_house: House, seaweed: SeaweedFS, s3_settings: S3Settings, second_settings: S3Settings
) -> None:
    first, second = s3_house.store, s3_house.second_store
    assert isinstance(first, Bucket)
    assert isinstance(second, Bucket)
    group_id = group(s3_house, "alice")
    kept = released(s3_house, group_id, files=(b"mine",), text=b">b\nAC\n")
    first.write(f"records/{kept.accession}/1/state-1-a.json", b"{}")
    for pinned in list(pinned_versions(s3_house)):
        second.write(pinned.key, b"copy")
    others = (first.everything(), second.everything())

    name = released(s3_house, group_id, files=(b"one", b"two"), text=b">a\nAC\n", reads=b"screened")
    plan = erasure.plan_of(s3_house, [name])
    for line in plan.lines:
        second.write(line.key, b"copy")
    original = next(line for line in plan.lines if line.key.startswith("incoming/"))
    first.hide(original.key)
    first.write(original.key, b"a newer version that nobody pinned")
    upload_id = first.start_multipart(original.key)
    first.write(f"manifests/{name.accession}/1/d.private.json", b"{}")
    first.write(f"records/{name.accession}/1/release.json", b"{}")
    for line in plan.lines:
        first.lock(line.stored, until=time.time() + 86_400)
        assert not first.delete(line.stored), "no service's credential takes away what is locked"
        assert not first.delete(line.stored, bypass=True), "nor does it lift the lock"

    asked, _ = erasure.request(s3_house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    assert asked.objects == 4 + 1 + 1 + 1 + 4
    erasure.confirm(s3_house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    waiting = shredding.carry_on(s3_house, asked.id)
    assert waiting.waits_for == "the maintainer's own credential: a lock holds 4 versions"
    assert second.everything() == others[1]
    chosen = Settings(data_dir=Path(), s3=s3_settings)
    own = bootstrap.maintainer_stores(chosen, {"bucket": maintainer_keys(seaweed)})
    done = shredding.carry_on(s3_house, asked.id, dict(own))
    assert done.finished_at is not None, done.waits_for
    assert first.everything() == others[0]
    assert second.everything() == others[1]
    assert not list(first.unfinished_uploads(""))
    assert upload_id
    assert shredding.left_of(s3_house, asked.id) == []
    assert done.proof is not None
    assert {each["kind"] for each in done.proof["objects"]} == {
        "original", "processed", "other version", "delete marker", "document",
    }  # fmt: skip


def test_a_lock_that_reaches_further_is_kept(s3_settings: S3Settings) -> None:
    bucket = Bucket(s3_settings)
    stored = bucket.write("vault/1/x", b"x")
    far = float(int(time.time()) + 10 * 86_400)
    bucket.lock(stored, until=far)
    bucket.lock(stored, until=far - 5 * 86_400)
    assert bucket.locked_until(stored) == far
    bucket.lock(stored, until=far + 86_400)
    assert bucket.locked_until(stored) == far + 86_400
    assert bucket.locked_until(bucket.write("vault/1/y", b"y")) is None


def test_compliance_holds_against_the_maintainer_too(s3_house: House, seaweed: SeaweedFS) -> None:
    first = s3_house.store
    assert isinstance(first, Bucket)
    name = released(s3_house, group(s3_house, "alice"), files=(b"one",))
    line = next(line for line in erasure.plan_of(s3_house, [name]).lines if line.key.startswith("vault/"))
    until = int(time.time()) + 3600
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    first._worker.put_object_retention(
        Bucket=first._bucket, Key=line.key, VersionId=line.version_id,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": moment},
    )  # fmt: skip
    asked, _ = erasure.request(s3_house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    erasure.confirm(s3_house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    chosen = Settings(data_dir=Path(), s3=first._settings)
    own = dict(bootstrap.maintainer_stores(chosen, {"bucket": maintainer_keys(seaweed)}))
    waiting = shredding.carry_on(s3_house, asked.id, own)
    assert waiting.finished_at is None
    assert waiting.waits_for is not None
    assert "COMPLIANCE" in waiting.waits_for
    assert moment[:16] in waiting.waits_for
    assert (line.key, line.version_id) in first.everything()
