"""A rebuilt database knows what befell the bytes before the loss: repairs, erasures done or under way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlmodel import select

from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import EntryVersion, Job, Manifest
from readvault.domain.errors import Gone, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.release.downloads import file_url
from readvault.services.release.manifests import manifest
from readvault.services.storage.erasing import erasure, shredding
from readvault.services.storage.integrity import verification
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.integrity.pinned import pinned_at
from readvault.services.storage.rebuilding.rebuild import LOST, rebuild
from readvault.services.storage.rebuilding.records import export
from readvault.services.submission.new_entries import submit
from tests.conftest import MigratedDatabases
from tests.fakes import MemoryStore
from tests.faults import rebuilt
from tests.houses import ALICE, MAINTAINER, group_of, tsv, upload
from tests.integration.services.published import released
from tests.integration.services.scenes import ORGANISM, processed
from tests.integration.services.test_erasure import OTHER, REASON, erase
from tests.integration.services.test_repair import publish


@pytest.fixture(scope="module")
def second_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MigratedDatabases]:
    """Databases beside those of the tests."""
    databases = MigratedDatabases(tmp_path_factory.mktemp("second"))
    yield databases
    databases.drop()


@pytest.fixture
def empty(house: House, second_databases: MigratedDatabases) -> Iterator[Sessions]:
    """Another database of the same kind, empty."""
    with house.sessions.read() as session:
        kind = session.get_bind().dialect.name
    sessions = Sessions(create_engine(getattr(second_databases, kind)()))
    yield sessions
    sessions.close()


def again(house: House, empty: Sessions) -> tuple[House, list[str]]:
    """What is in the bucket in the other database, and what was said."""
    export(house)
    new, said = replace(house, sessions=empty), list[str]()
    rebuild(new, MAINTAINER, say=said.append)
    return new, said


def bucket(house: House) -> MemoryStore:
    assert isinstance(house.store, MemoryStore)
    return house.store


def confirmed(house: House, *names: AccessionVersion) -> int:
    """An erasure that two maintainers agreed on, and that nobody carried out yet."""
    asked, _ = erasure.request(house, MAINTAINER, names, REASON)
    assert asked.id is not None
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    return asked.id


def test_a_repaired_file_is_pinned_as_repaired_though_the_damaged_version_lies_there(
    house: House, empty: Sessions
) -> None:
    house = replace(house, second_store=MemoryStore())
    released(house, group_of(house, ALICE))
    publish(house)
    key = next(key for key in bucket(house).versions if key.startswith("vault/"))
    [(version, data)] = bucket(house).versions[key]
    export(house)
    bucket(house).versions[key] = [(version, bytes([data[0] ^ 1]) + data[1:])]
    assert verification.verify(house, days=0, survey_every=0).repaired == 1
    repaired = pinned_at(house, key)
    assert repaired is not None
    new, said = again(house, empty)
    assert said == []
    assert pinned_at(new, key) == repaired
    assert verification.verify(new, days=0, survey_every=0).damaged == 0


def test_an_erased_release_comes_back_as_a_tombstone(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)
    name, _ = released(house, group, accession="LOC_000001Y", reads=b"@r\nA\n+\nI\n")
    other, _ = released(house, group, accession="LOC_000002W", text=b">main\nC\n", files=(b"others",))
    publish(house)
    bucket(house).locked.clear()
    export(house)
    assert erase(house, name).finished_at is not None
    new, said = again(house, empty)
    assert said == []
    assert rebuilt.differences(house, new) == []
    with new.sessions.read() as session:
        assert session.get_one(EntryVersion, (name.accession, name.version)).released
        assert not session.exec(select(Job.id).where(Job.accession == name.accession, Job.state != "done")).all()
        bodies = select(Manifest.private_body).where(Manifest.accession == name.accession)
        assert set(session.exec(bodies)) == {None}
    with pytest.raises(Gone, match=REASON):
        manifest(new, MAINTAINER, ORGANISM, name)
    assert manifest(new, None, ORGANISM, other)
    assert not list(fsck(new))


@pytest.mark.parametrize("done", [False, True], ids=["nothing gone yet", "a lock holds some"])
@pytest.mark.parametrize("is_released", [False, True])
def test_an_erasure_under_way_goes_on_after_a_rebuild(
    house: House, empty: Sessions, done: bool, is_released: bool
) -> None:
    group = group_of(house, ALICE)
    make = released if is_released else processed
    name, _ = make(house, group, accession="LOC_000001Y", reads=b"@r\nA\n+\nI\n")
    publish(house)
    bucket(house).locked.clear()
    export(house)
    locked = next(key for key in bucket(house).versions if key.startswith("vault/"))
    number = confirmed(house, name)
    if done:
        bucket(house).locked[locked, bucket(house).versions[locked][0][0]] = 1e12
        assert shredding.carry_on(house, number).finished_at is None
        bucket(house).locked.clear()
    new, said = again(house, empty)
    assert said == []
    with pytest.raises((Gone, NotFound)):
        manifest(new, MAINTAINER, ORGANISM, name)
    with new.sessions.read() as session:
        found = session.get(EntryVersion, (name.accession, name.version))
        assert (found is not None) == (is_released and not done)  # its records are gone already
        assert not session.exec(select(Job.id).where(Job.accession == name.accession, Job.state != "done")).all()
    assert shredding.carry_on_all(new) == 1
    assert not [key for key in bucket(new).versions if key.startswith(("incoming/", "vault/"))]


def test_what_came_again_after_an_erasure_is_pinned_as_it_came(house: House, empty: Sessions) -> None:
    group, text = group_of(house, ALICE), b">main\nGATTACA\n"
    name, _ = released(house, group, accession="LOC_000001Y", text=text)
    assert erase(house, name).finished_at is not None
    export(house)
    later, _ = released(house, group, accession="LOC_000002W", text=text, files=(b"others",))
    key = next(key for key in bucket(house).versions if key.startswith("vault/"))
    new, said = again(house, empty)
    assert said == []
    assert pinned_at(new, key) == pinned_at(house, key) is not None
    assert rebuilt.differences(house, new) == []
    assert manifest(new, None, ORGANISM, later)


def test_a_tombstone_keeps_its_number_and_its_group(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)
    name, _ = processed(house, group, accession="LOC_000009G")
    confirmed(house, name)
    export(house)
    for key in [key for key in bucket(house).versions if key.startswith(("records/LOC", "records/groups"))]:
        del bucket(house).versions[key]
    new, said = again(house, empty)
    assert said == [f"group {group}: only its number is known"]
    [file] = upload(new, MAINTAINER, group, b"x")
    rows = tsv({"id": "a", "date": "2020-01-01", "files.rawReads": f"a.fq:{file}", "platform": "ILLUMINA"})
    [entry] = submit(new, MAINTAINER, ORGANISM, group_id=group, metadata=rows, metadata_name="m.tsv")
    assert entry.accession is not None
    assert entry.accession > name.accession


def test_all_that_was_released_comes_back_from_the_second_bucket_alone(house: House, empty: Sessions) -> None:
    both = replace(house, second_store=MemoryStore())
    name, _ = released(both, group_of(house, ALICE), accession="LOC_000001Y", reads=b"@r\nA\n+\nI\n")
    publish(both)
    export(both)
    fresh = MemoryStore()
    fresh._numbers = itertools.count(100)  # another bucket gives other version IDs
    new = replace(both, sessions=empty, store=fresh)
    counts = rebuild(new, MAINTAINER, source=both.second_store)
    assert counts[LOST] == 3  # files, each named
    done = verification.verify(new, days=0, survey_every=0)
    assert (done.damaged, done.repaired) == (3, 3)
    assert not list(fsck(new))
    assert manifest(new, None, ORGANISM, name)
    assert file_url(new, None, name.accession, name.version, "consensus", "consensus.fasta")
    assert both.second_store is not None
    there = {each.stored.key for each in both.second_store.walk("records/")}
    assert there <= {each.stored.key for each in fresh.walk("records/")}  # the next rebuild needs this bucket alone
