"""Repair and rebuild on a real S3: what is lost comes back under another version, and a new database knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from readvault.adapters.s3 import S3Store
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.services import trail
from readvault.services.house import House
from readvault.services.storage.integrity import verification
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.integrity.pinned import pinned_versions
from readvault.services.storage.rebuilding.rebuild import rebuild
from readvault.services.storage.rebuilding.records import export
from tests.faults import rebuilt
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.s3.test_erasure_on_s3 import Bucket, s3_house, second_settings
from tests.integration.services.life import released
from tests.integration.services.scenes import processed

__all__ = ["s3_house", "second_settings"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Sessions]:
    """An empty, migrated database."""
    migrate(url := f"sqlite:///{tmp_path / 'new.sqlite'}")
    sessions = Sessions(create_engine(url))
    yield sessions
    sessions.close()


def test_a_repaired_bucket_fills_a_new_database(s3_house: House, empty: Sessions, tmp_path: Path) -> None:
    second = s3_house.second_store
    assert isinstance(second, Bucket)
    group_id = group_of(s3_house, ALICE)
    released(s3_house, group_id, accession="LOC_000001Y", files=(b"one",), reads=b"screened")
    processed(s3_house, group_id, accession="LOC_000002W", files=(b"two",), text=b">main\nAC\n")
    export(s3_house)
    lost = next(each for each in pinned_versions(s3_house) if each.sha256 and each.stored.size == len(b">main\nAC\n"))
    second.write(lost.key, b">main\nAC\n")
    assert isinstance(s3_house.store, S3Store)
    assert s3_house.store.delete(lost.stored)
    done = verification.verify(s3_house, days=0, survey_every=0)
    assert (done.damaged, done.repaired, done.finished) == (1, 1, True)
    export(s3_house)

    new, said = replace(s3_house, sessions=empty), list[str]()
    rebuild(new, MAINTAINER, say=said.append)
    assert said == []
    assert list(pinned_versions(new)) == list(pinned_versions(s3_house))
    assert rebuilt.differences(s3_house, new) == []
    assert not list(fsck(new))
    assert trail.verify(new).whole
    assert verification.verify(new, days=0, survey_every=0).damaged == 0
