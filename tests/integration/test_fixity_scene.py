"""What `make bench-fixity` does with a million files, with a few hundred: found, read once, made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fixity
from benchmarks.api import house_of
from benchmarks.fixity_scene import Bucket, Records, fill, original_key, processed_key
from tests.conftest import MigratedDatabases
from tests.fakes import MemoryStore


@pytest.fixture(scope="module")
def documents(migrated_databases: MigratedDatabases, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The records of one entry."""
    house = house_of(migrated_databases.sqlite(), MemoryStore(), tmp_path_factory.mktemp("records"))
    fill(house.sessions, 1)
    written = Records.of(house.sessions)
    house.sessions.close()
    return written


def test_the_bucket_lists_as_s3_does(documents: Records) -> None:
    bucket = Bucket(entries=120, documents=documents)
    keys = [each.stored.key for each in bucket.walk("")]
    assert keys == sorted(keys)
    assert len(keys) == 5 * 120
    beyond = [each.stored.key for each in bucket.walk("vault/", after=processed_key(117))]
    assert beyond == [processed_key(118), processed_key(119)]
    assert [each.stored.key for each in bucket.walk(original_key(3))] == [original_key(3)]


def test_all_that_was_planted_is_found_and_each_file_is_read_once(database_url: str, tmp_path: Path) -> None:
    ground = fixity.Ground(database_url, tmp_path, 300)
    house = house_of(database_url, MemoryStore(), tmp_path)
    fill(house.sessions, ground.entries)
    house.sessions.close()
    assert fixity.compared(ground) == (None, [])
    (reads, again, checked), wrong = fixity.broken_off(ground)
    assert (checked, wrong) == (300, [])
    assert fixity.gone_on(ground, reads, again, checked) == (None, [])


def test_a_rebuild_that_was_broken_off_reads_no_document_twice(
    documents: Records, database_url: str, tmp_path: Path
) -> None:
    ground = fixity.Ground(database_url, tmp_path, 300)
    (fetched, there), wrong = fixity.rebuilt_half(ground, documents)
    assert 50 <= there < 300
    assert wrong == []
    assert fixity.rebuilt(ground, documents, fetched) == (None, [])
