"""A database that is not the bucket's deletes nothing from it: a restored backup, a rebuild under way."""

from __future__ import annotations

import pytest
from sqlmodel import select

from readvault.db import audit, clock, records
from readvault.db.tables import AccessionCounter, AuditEntry
from readvault.domain import manifest
from readvault.domain.errors import Conflict, Forbidden
from readvault.domain.identifiers import accession_of, number_of
from readvault.services import trail
from readvault.services.house import House
from readvault.services.storage.garbage import collection, lineage
from readvault.services.storage.rebuilding.rebuild import BEGUN, ENDED
from readvault.services.storage.rebuilding.records import export
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER, group_of
from tests.integration.services.published import released
from tests.integration.services.test_erasure import erase

LOST = accession_of(4711, "LOC_")
"""An entry that came after the backup."""


@pytest.fixture
def restored(house: House, store: MemoryStore) -> House:
    """A house whose bucket knows more than the database: it was put back from a backup."""
    released(house, group_of(house, ALICE), accession="LOC_000001Y")
    export(house)
    with house.sessions.read() as session:
        at = clock.read(session)
    store.write(f"{records.AUDIT}/{records.stamp(at)}-{99:012d}-{'a' * 64}.json", b"{}")
    store.write(f"{records.ROOT}/{LOST}/1/state-1-{'b' * 64}.json", b"{}")
    store.write("vault/1/lost", b"what was released after the backup")
    store.modified = {version: 1.0 for version, _ in store.versions["vault/1/lost"]}
    return house


def test_a_restored_backup_collects_nothing(restored: House, store: MemoryStore) -> None:
    assert collection.collect(restored).found  # looking is no harm
    with pytest.raises(Conflict, match="row 99"):
        collection.collect(restored, dry_run=False)
    head = lineage.unknown_head(restored)
    assert head is not None
    assert head.id == 99
    assert "vault/1/lost" in store.versions


def test_a_maintainer_gives_up_what_came_after_the_backup(restored: House) -> None:
    with pytest.raises(Forbidden):
        lineage.take_over(restored, ALICE)
    taken = lineage.take_over(restored, MAINTAINER)
    assert (taken.unknown and taken.unknown.id, taken.last_number) == (99, 4711)
    with restored.sessions.read() as session:
        assert session.get_one(AccessionCounter, 1).last == number_of(LOST, "LOC_")
    export(restored)
    assert collection.collect(restored, dry_run=False).condemned == 1
    assert trail.verify(restored).whole
    assert lineage.take_over(restored, MAINTAINER).unknown is None  # twice is no harm


def test_what_was_erased_after_the_backup_is_erased_again_first(restored: House, store: MemoryStore) -> None:
    name, _ = released(restored, group_of(restored, ALICE), accession="LOC_000002W", files=(b"x",), text=b">m\nC\n")
    rows = {"erasure": [], "erased_object": [], "erased_version": [{"accession": name.accession, "version": 1}]}
    body = manifest.canonical({"rows": rows})
    store.write(f"{records.ERASURES}/000000007/1-{manifest.digest(body)}.json", body)
    with pytest.raises(Conflict, match=str(name)):
        lineage.take_over(restored, MAINTAINER)
    erase(restored, name)
    assert lineage.take_over(restored, MAINTAINER).unknown is not None


def test_a_rebuild_under_way_is_left_in_peace(house: House) -> None:
    for action in (BEGUN, ENDED):
        with house.sessions.begin() as session:
            audit.append(session, "maintainer", action, "database")
        if action == BEGUN:
            with pytest.raises(Conflict, match="rebuild"):
                collection.collect(house, dry_run=False)
    collection.collect(house, dry_run=False)


def test_a_database_in_order_is_the_buckets_own(house: House) -> None:
    released(house, group_of(house, ALICE))
    export(house)
    with house.sessions.read() as session:
        assert session.exec(select(AuditEntry.id)).first() is not None
    assert lineage.unknown_head(house) is None
