"""What nothing refers to goes, in its time; what anything refers to stays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import JSON, delete, update
from sqlmodel import SQLModel, col, select

from readvault.db import clock, condemned, references
from readvault.db.tables import (
    AuditEntry,
    CondemnedVersion,
    EntryFile,
    EntryVersion,
    FixityCheck,
    Job,
    Manifest,
    PartialResult,
    StoredObject,
    UploadedFile,
    UploadUsage,
)
from readvault.domain.errors import ProcessingFailure, Unavailable
from readvault.domain.identifiers import AccessionVersion
from readvault.ports import ListedVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.storage.erasing import shredding
from readvault.services.storage.garbage import collection
from readvault.services.storage.garbage.unreferenced import HOUR, Category
from readvault.services.storage.integrity import fsck, verification
from readvault.services.storage.integrity.pinned import pinned_at, pinned_versions
from readvault.services.submission import deletion, editing
from readvault.services.submission.new_entries import submit
from tests.fakes import MemoryStore
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.life import METADATA, released
from tests.integration.services.scenes import ORGANISM, claimed, entry, processed, result
from tests.integration.services.test_erasure import erase

TIMES: dict[type[SQLModel], tuple[str, ...]] = {
    CondemnedVersion: ("condemned_at",),
    UploadedFile: ("requested_at", "expires_at", "sealed_at"),
    StoredObject: ("stored_at",),
    Manifest: ("superseded_at",),
}


def _later(house: House, hours: float) -> None:
    """So much time passes: rows become older, as both databases' clocks can't be moved."""
    with house.sessions.begin() as session:
        session.connection().exec_driver_sql(
            "PRAGMA recursive_triggers = ON"
            if house.sessions.dialect == "sqlite"
            else "SET LOCAL session_replication_role = replica"
        )
        for table, columns in TIMES.items():
            if table is CondemnedVersion or house.sessions.dialect == "postgresql":
                _shift(session, table, columns, hours)


def _shift(session: Any, table: type[SQLModel], columns: tuple[str, ...], hours: float) -> None:
    changed = {name: getattr(table, name) - hours * HOUR for name in columns}
    session.execute(update(table).values(changed).execution_options(synchronize_session=False))


def _young_enough(house: House) -> House:
    """The same house, in which everything is old enough to be garbage."""
    storage = house.settings.storage.model_copy(update={"garbage_older_than_hours": -1.0})
    limits = house.settings.limits.model_copy(update={"window_hours": -1.0})
    settings = house.settings.model_copy(update={"storage": storage, "limits": limits})
    return House(house.sessions, house.store, house.orchestrator, house.organisms, settings)


def _collect(house: House) -> collection.Collection:
    return collection.collect(_young_enough(house), dry_run=False)


def _all(house: House, table: Any) -> list[Any]:
    with house.sessions.read() as session:
        return list(session.exec(select(table)).all())


def _submitted(house: House, group_id: int, body: bytes) -> str:
    file_id = upload(house, ALICE, group_id, body)[0]
    row = {"id": "a", **METADATA, "files.rawReads": f"a.fastq:{file_id}"}
    submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")
    return file_id


def _delete_all(house: House) -> None:
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL)


def _usage(house: House) -> set[int]:
    return {row.sealed_bytes for row in _all(house, UploadUsage)}


def test_a_file_that_no_entry_has_any_more_waits_and_goes_and_frees_its_quota(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    assert _collect(house).found == {}
    _delete_all(house)
    assert _collect(house).condemned == 1
    assert _collect(house).deleted == {}
    assert store.versions
    assert _usage(house) == {5}
    _later(house, 49)
    assert _collect(house).deleted == {Category.UNUSED_ORIGINAL: (1, 5)}
    assert store.versions == {}
    assert _all(house, UploadedFile) == []
    assert _usage(house) == {0}
    assert _collect(house).deleted == {}


def test_what_is_too_young_is_no_garbage(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    _delete_all(house)
    assert collection.collect(house, dry_run=False).found == {}


def test_what_is_used_again_is_condemned_no_more(house: House, store: MemoryStore) -> None:
    group_id = group_of(house, ALICE)
    file_id = _submitted(house, group_id, b"reads")
    _delete_all(house)
    _collect(house)
    row = {"id": "b", **METADATA, "files.rawReads": f"b.fastq:{file_id}"}
    submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")
    assert _all(house, CondemnedVersion) == []
    _later(house, 1000)
    assert _collect(house).deleted == {}
    assert store.versions


def test_the_answer_already_yours_revives_and_never_names_what_is_being_deleted(house: House) -> None:
    group_id = group_of(house, ALICE)
    file_id = _submitted(house, group_id, b"reads")
    with house.sessions.begin() as session:
        session.get_one(UploadedFile, file_id).sha256 = hashlib.sha256(b"reads").hexdigest()
    _delete_all(house)
    _collect(house)
    assert upload(house, ALICE, group_id, b"reads") == [file_id]
    assert _all(house, CondemnedVersion) == []
    _collect(house)
    _begin_all(house)
    assert upload(house, ALICE, group_id, b"reads") != [file_id]
    row = {"id": "b", **METADATA, "files.rawReads": f"b.fastq:{file_id}"}
    with pytest.raises(Unavailable):
        submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")


def _begin_all(house: House) -> None:
    with house.sessions.begin() as session:
        session.execute(update(CondemnedVersion).values(deleting_since=clock.read(session)))


def test_a_deletion_that_was_broken_off_is_finished_later(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    _delete_all(house)
    _collect(house)
    _begin_all(house)
    store.down = True
    assert collection.finish_quietly(house) == 0
    store.down = False
    assert collection.finish_quietly(house) == 1
    assert (store.versions, _usage(house)) == ({}, {0})
    assert collection.finish_quietly(house) == 0


def test_a_locked_version_stays_condemned_and_can_be_used(house: House, store: MemoryStore) -> None:
    stored = store.write("vault/1/stray", b"stray")
    store.lock(stored, until=9e9)
    _collect(house)
    _later(house, 49)
    assert _collect(house).locked == 1
    row = _all(house, CondemnedVersion)[0]
    assert (row.deleting_since, row.note) == (None, collection.LOCKED)
    with house.sessions.begin() as session:
        condemned.revive(session, [stored.key])
    assert _all(house, CondemnedVersion) == []


def test_strays_and_versions_beside_pinned_ones_go_and_the_pinned_stay(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    key = next(iter(store.versions))
    pinned = store.versions[key][0]
    store.write(key, b"meddled")
    store.write("incoming/x/y", b"stray")
    done = _collect(house)
    assert done.found == {Category.BESIDE_PINNED: (1, 7), Category.STRAY: (1, 5)}
    _later(house, 49)
    assert _collect(house).deleted == done.found
    assert store.versions == {key: [pinned]}


@pytest.mark.parametrize("lost", [True, False])
def test_beside_a_lost_or_damaged_version_everything_stays(house: House, store: MemoryStore, lost: bool) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    key = next(iter(store.versions))
    store.write(key, b"reads")
    _collect(house)
    _later(house, 49)
    if lost:
        del store.versions[key][0]
    else:
        with house.sessions.begin() as session:
            session.add(FixityCheck(key=key, checked_at=1.0, size=5, damage="other bytes", damaged_since=1.0))
    assert _collect(house).deleted == {}
    assert len(store.versions[key]) == (1 if lost else 2)


def test_uploads_that_nobody_submitted_go_with_their_rows(house: House, store: MemoryStore) -> None:
    upload(house, ALICE, group_of(house, ALICE), b"reads")
    assert _collect(house).found == {}
    with house.sessions.begin() as session:
        session.execute(update(UploadedFile).values(expires_at=1.0, requested_at=0.0))
    assert _collect(house).found == {Category.EXPIRED_UPLOAD: (1, 5)}
    _later(house, 49)
    assert _collect(house).deleted == {Category.EXPIRED_UPLOAD: (1, 5)}
    assert (store.versions, _all(house, UploadedFile)) == ({}, [])


def test_parts_that_no_row_knows_are_dropped_and_others_not(house: House, store: MemoryStore) -> None:
    group_of(house, ALICE)
    store.start_multipart("vault/1/broken-off")
    known = store.start_multipart("incoming/b/f")
    with house.sessions.begin() as session:
        at = clock.read(session)
        session.add(UploadedFile(id="f", batch_id="b", group_id=1, uploader="alice", key="incoming/b/f",
                                 multipart_upload_id=known, requested_at=at, expires_at=at + 9))  # fmt: skip
    assert _collect(house).found == {Category.MULTIPART: (1, 0)}
    assert list(store.uploads) == [known]


def test_superseded_results_of_unreleased_entries_go_and_then_their_files(house: House, store: MemoryStore) -> None:
    group_id = group_of(house, ALICE)
    _, job_id = entry(house, group_id, files=())
    jobs.register(house, claim := claimed(house, job_id), result(house, claim, text=b"first"))
    with house.sessions.begin() as session:
        session.execute(update(Manifest).values(superseded_at=1.0))
    released(house, group_id, text=b"released", files=())
    done = _collect(house)
    assert done.found == {Category.SUPERSEDED: (1, 0), Category.UNUSED_RESULT: (1, 5)}
    _later(house, 49)
    assert _collect(house).deleted == {Category.UNUSED_RESULT: (1, 5)}
    assert len(_all(house, Manifest)) == len(_all(house, StoredObject)) == 1


def test_documents_of_deleted_entries_go_and_all_others_stay(house: House, store: MemoryStore) -> None:
    name, _ = processed(house, group_of(house, ALICE), files=())
    other, _ = processed(house, group_of(house, ALICE), files=())
    digest = "0" * 64
    for each in (name, other):
        for key in (
            f"manifests/{each.accession}/{each.version}/{digest}.json",
            f"records/{each.accession}/1/state-1.json",
        ):
            store.write(key, b"{}")
    store.write(f"manifests/UNKNOWN/1/{digest}.json", b"{}")
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])
    _collect(house)
    _later(house, 49)
    _collect(house)
    documents = [key for key in store.versions if key.startswith(("manifests/", "records/"))]
    assert sorted(documents) == sorted(
        [f"manifests/{other.accession}/1/{digest}.json", f"manifests/UNKNOWN/1/{digest}.json",
         f"records/{name.accession}/1/state-1.json", f"records/{other.accession}/1/state-1.json"]
    )  # fmt: skip


def test_what_a_part_of_a_chain_refers_to_stays(house: House, store: MemoryStore) -> None:
    name, _ = processed(house, group_of(house, ALICE), files=(b"reads",))
    stored = _all(house, StoredObject)[0]
    upload_id = _all(house, UploadedFile)[0].id
    with house.sessions.begin() as session:
        part = PartialResult(
            accession=name.accession, version=1, pipeline_version=1, source="readvault", body="{}", processed_data={},
            errors=[], warnings=[], created_at=1.0, files=[{"key": stored.key}, {"file_id": upload_id}],
        )  # fmt: skip
        session.add(part)
        references.note_files(session, part)
    with house.sessions.read() as session:
        for key, version_id in ((stored.key, stored.version_id), (_all(house, UploadedFile)[0].key, "v")):
            held = references.referenced(stored_key := col(StoredObject.key), col(StoredObject.version_id), 0.0)
            assert session.exec(select(stored_key).where(held)).all() == [stored.key], (key, version_id)
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])
    assert _collect(house).found.keys() >= {Category.UNUSED_RESULT, Category.UNUSED_ORIGINAL}


def test_a_dry_run_counts_the_same_and_touches_nothing(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    _delete_all(house)
    store.write("vault/1/stray", b"stray")
    before = len(_all(house, AuditEntry))
    store.calls.clear()
    counted = collection.collect(_young_enough(house), dry_run=True)
    assert not {"delete", "abort_multipart", "store"} & set(store.calls)
    assert (_all(house, CondemnedVersion), len(_all(house, AuditEntry))) == ([], before)
    assert counted.found == _collect(house).found
    assert len(_all(house, AuditEntry)) == before + 1


def test_without_s3_the_run_fails_and_loses_nothing(house: House, store: MemoryStore) -> None:
    _submitted(house, group_of(house, ALICE), b"reads")
    store.down = True
    with pytest.raises(ProcessingFailure):
        _collect(house)


def test_a_version_that_was_seen_and_is_deleted_since_is_never_registered(house: House, store: MemoryStore) -> None:
    """A worker that stops for days between staging and registering."""
    _, job_id = entry(house, group_of(house, ALICE), files=())
    claim = claimed(house, job_id)
    made = result(house, claim)
    _collect(house)
    _later(house, 49)
    assert _collect(house).deleted == {Category.STRAY: (1, 11)}
    with pytest.raises(Unavailable):
        jobs.register(house, claim, made)
    jobs.register(house, claim, result(house, claim))
    assert _collect(house).found == {}


def test_a_worker_finishes_a_deletion_that_is_in_its_way(house: House, store: MemoryStore) -> None:
    stored = store.write("vault/1/abc", b"output")
    _collect(house)
    collection.keep_or_finish(house, 1, "abc", stored.key)
    assert _all(house, CondemnedVersion) == []
    assert stored.key in store.versions
    _collect(house)
    _begin_all(house)
    collection.keep_or_finish(house, 1, "abc", stored.key)
    assert stored.key not in store.versions


def test_every_column_that_may_hold_a_key_or_a_file_is_on_the_list() -> None:
    found = {
        f"{table.name}.{column.name}"
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, JSON)
        or column.name in ("key", "file_id", "version_id", "stored_object_id")
        or column.name.endswith(("_key", "_file_id", "_version_id", "upload_id"))
    }
    listed = references.REFERENCES.keys() | references.NO_REFERENCES.keys()
    assert found - listed == set(), "say in db/references.py whether these keep an object from being garbage"
    known = {f"{table.name}.{column.name}" for table in SQLModel.metadata.tables.values() for column in table.columns}
    assert listed - known == set()


def test_what_is_being_deleted_is_neither_missing_nor_stray(house: House, store: MemoryStore) -> None:
    """A deletion that is broken off before or after S3 was asked is no damage, and nobody repairs it."""
    group_id = group_of(house, ALICE)
    name, _ = processed(house, group_id)
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])
    pins = list(pinned_versions(house))
    assert pins
    with house.sessions.begin() as session:
        session.add_all(
            CondemnedVersion(
                key=each.key, version_id=each.stored.version_id or "", size=each.stored.size, condemned_at=1.0,
                category=Category.STRAY.value, deleting_since=2.0,
            )
            for each in pins
        )  # fmt: skip
    assert [pinned_at(house, each.key) for each in pins] == [None] * len(pins)
    assert list(pinned_versions(house)) == list(fsck.fsck(house)) == []
    for each in pins:
        store.delete(each.stored)
    assert list(fsck.fsck(house)) == []
    assert verification.verify(house).damaged == 0


def test_fsck_asks_again_before_it_says_missing(house: House, store: MemoryStore) -> None:
    """The row was read, then object and row went as garbage, then the bucket was listed."""
    name, _ = processed(house, group_of(house, ALICE))
    walk = store.walk

    def after_all_went(prefix: str, *, after: str | None = None) -> Iterator[ListedVersion]:
        with house.sessions.begin() as session:
            session.execute(delete(UploadedFile).where(col(UploadedFile.id).in_(originals)))
        for key in [key for key in store.versions if key.startswith("incoming/")]:
            del store.versions[key]
        yield from walk(prefix, after=after)

    originals = [row.file_id for row in _all(house, EntryFile) if row.accession == name.accession]
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "walk", after_all_went)
        assert list(fsck.fsck(house)) == []


def test_what_comes_late_under_an_erased_key_is_garbage_and_no_proof_hides_it(house: House, store: MemoryStore) -> None:
    """A signed URL may outlive the erasure of its upload: S3 takes the bytes, as the key is empty again."""
    group_id = group_of(house, ALICE)
    gone = released(house, group_id)
    pins = list(pinned_versions(house))
    erased = erase(house, gone)
    assert erased.id is not None
    assert erased.finished_at is not None
    assert not store.versions.keys() & {each.key for each in pins}
    original = next(each.key for each in pins if each.key.startswith("incoming/"))
    output = next(each.key for each in pins if each.key.startswith("vault/"))
    late, again = store.write(original, b"the same reads"), store.write(output, b"somebody's new result")
    assert [(line.key, line.version_id) for line in shredding.left_of(house, erased.id)] == [
        (original, late.version_id)
    ]
    old = _young_enough(house)
    assert collection.collect(old, dry_run=False).condemned >= 2
    _later(house, 1000)
    collection.collect(old, dry_run=False)
    assert not store.versions.keys() & {original, output}, again
    assert shredding.left_of(house, erased.id) == []


def test_quota_is_freed_once_by_a_deletion_that_an_erasure_overtakes(house: House, store: MemoryStore) -> None:
    """A file that was edited away is garbage, and belongs to an erasure of its entry as well."""
    group_id = group_of(house, ALICE)
    file_id = _submitted(house, group_id, b"edited away")
    [entry_version] = _all(house, EntryVersion)
    name = AccessionVersion(entry_version.accession, entry_version.version)
    claim = claimed(house, _all(house, Job)[0].id)
    jobs.register(house, claim, result(house, claim))
    [other] = upload(house, ALICE, group_id, b"the other file")
    named = {"rawReads": [editing.NamedFile("b.fastq", other)]}
    editing.edit(house, ALICE, ORGANISM, name, editing.EditedData(METADATA, {}, named))
    [away] = [row for row in _all(house, UploadedFile) if row.id == file_id]
    with house.sessions.begin() as session:
        session.add(
            CondemnedVersion(
                key=away.key, version_id=away.version_id, size=away.size, category=Category.UNUSED_ORIGINAL.value,
                condemned_at=1.0, deleting_since=2.0,
            )
        )  # fmt: skip
    erase(house, name)
    assert _usage(house) == {0}
    assert collection.finish_begun(house) == 1
    assert _usage(house) == {0}
    assert away.key not in store.versions
