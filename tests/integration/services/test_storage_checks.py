"""Damage is found, whatever kind it is; what is whole is left alone; and the bucket is compared with the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlmodel import select

from readvault.db import clock
from readvault.db.tables import FixityCheck
from readvault.domain.errors import ProcessingFailure
from readvault.ports import StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.storage.integrity import pinned, verification
from readvault.services.storage.integrity.fsck import Difference, fsck
from readvault.services.storage.integrity.pinned import pinned_versions
from readvault.services.storage.integrity.verification import MISSING, OTHER_BYTES, Verification, damaged, verify
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.fakes import MemoryStore
from tests.houses import ALICE
from tests.integration.services.scenes import audit_log, group, processed


@pytest.fixture
def keys(house: House) -> list[str]:
    """The keys of three entries with one original and one processed file each."""
    group_id = group(house, "alice")
    for number in range(3):
        processed(house, group_id, files=(f"reads {number}".encode(),), text=f">main\nACGT{'A' * number}\n".encode())
    return [each.key for each in pinned_versions(house)]


def test_all_that_is_pinned_comes_in_the_order_of_the_keys_page_by_page(
    house: House, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(keys) == 6
    assert keys == sorted(keys)
    monkeypatch.setattr(pinned, "PAGE", 1)
    assert [each.key for each in pinned_versions(house)] == keys
    assert [each.key for each in pinned_versions(house, after=keys[2])] == keys[3:]


def test_what_is_whole_is_read_once_in_its_time(house: House, keys: list[str]) -> None:
    first = verify(house)
    assert (first.checked, first.damaged, first.finished) == (6, 0, True)
    assert verify(house).checked == 0
    assert verify(house, days=0).checked == 6
    assert not [row for row in audit_log(house) if row.action == "verify integrity"]


def _lose(store: MemoryStore, key: str) -> None:
    del store.versions[key]


def _flip(store: MemoryStore, key: str) -> None:
    ((version_id, data),) = store.versions[key]
    store.versions[key] = [(version_id, bytes([data[0] ^ 1]) + data[1:])]


def _cut(store: MemoryStore, key: str) -> None:
    ((version_id, data),) = store.versions[key]
    store.versions[key] = [(version_id, data[:-1])]


def _swap(store: MemoryStore, key: str) -> None:
    ((_, data),) = store.versions[key]
    store.versions[key] = [("another", data)]


DAMAGES: dict[str, tuple[Callable[[MemoryStore, str], None], str]] = {
    "lost": (_lose, MISSING),
    "one flipped bit": (_flip, OTHER_BYTES),
    "cut": (_cut, MISSING),
    "another version": (_swap, MISSING),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found_and_said_once(house: House, store: MemoryStore, keys: list[str], damage: str) -> None:
    harm, expected = DAMAGES[damage]
    verify(house)  # the originals' hashes are known only once something has read them
    victim = next(key for key in keys if key.startswith("vault/"))
    harm(store, victim)
    for _ in range(2):
        assert verify(house, days=0, repairs=False).damaged == 1
    assert [(row.key, row.damage) for row in damaged(house)] == [(victim, expected)]
    said = [row for row in audit_log(house) if row.action == "verify integrity"]
    assert [(row.subject, row.details["damage"]) for row in said] == [(victim, expected)]


def test_what_came_back_is_no_longer_damaged(house: House, store: MemoryStore, keys: list[str]) -> None:
    kept = dict(store.versions)
    _lose(store, keys[0])
    verify(house)
    store.versions = kept
    assert verify(house, days=0).mended == 1
    assert damaged(house) == []


def test_what_was_read_before_a_run_broke_off_is_not_read_again(
    house: House, store: MemoryStore, keys: list[str]
) -> None:
    def breaks(done: Verification) -> None:
        if done.checked == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(house, progress=breaks)
    store.calls.clear()
    assert verify(house).checked == 2
    assert store.calls.count("sha256_of") == 2


def test_many_whole_files_are_noted_by_few_commits(
    house: House, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[int] = []
    really = damage.note_whole

    def note_whole(house: House, versions: list[StoredVersion], since: float) -> int:
        noted.append(len(versions))
        return really(house, versions, since)

    monkeypatch.setattr(damage, "note_whole", note_whole)
    monkeypatch.setattr(verification, "NOTED_AT_ONCE", 4)
    verify(house)
    assert noted == [4, 2]
    monkeypatch.setattr(verification, "NOTED_EVERY", 0.0)
    verify(house, days=0)
    assert noted[2:] == [1] * 6


def test_damage_that_was_found_since_is_not_overwritten_by_an_earlier_reading(house: House, keys: list[str]) -> None:
    stored = [each.stored for each in pinned_versions(house)]
    with house.sessions.read() as session:
        before = clock.read(session)
    damage.note(house, stored[0], OTHER_BYTES)
    assert damage.note_whole(house, stored, before) == 0
    assert [row.key for row in damaged(house)] == [keys[0]]
    with house.sessions.read() as session:
        after = clock.read(session)
    assert damage.note_whole(house, stored, after + 1) == 1
    assert damaged(house) == []
    said = [row for row in audit_log(house) if row.action == "verify integrity"]
    assert [row.details["damage"] for row in said] == [OTHER_BYTES, None]
    with house.sessions.read() as session:
        assert {row.size for row in session.exec(select(FixityCheck))} == {each.size for each in stored}


def test_a_store_that_is_down_is_no_damage(house: House, store: MemoryStore, keys: list[str]) -> None:
    store.down = True
    with pytest.raises(ProcessingFailure):
        verify(house)
    assert damaged(house) == []
    store.down = False
    assert verify(house).checked == 6


def test_what_the_time_did_not_suffice_for_comes_next(house: House, keys: list[str]) -> None:
    assert not verify(house, budget_seconds=0).finished
    waited: list[float] = []
    slow = verify(house, bytes_per_second=10, pause=waited.append)
    assert slow.checked == 6
    assert sum(waited) > slow.bytes / 10  # each pause makes up for all that was read so far


def test_nothing_differs_in_a_house_in_order(house: House, keys: list[str]) -> None:
    request_uploads(house, ALICE, _group_of(house, keys), [WantedFile("r.fq", 3)])  # requested, not uploaded
    assert list(fsck(house)) == []


def test_every_difference_is_named(house: House, store: MemoryStore, keys: list[str]) -> None:
    originals = [key for key in keys if key.startswith("incoming/")]
    processed_files = [key for key in keys if key.startswith("vault/")]
    _lose(store, originals[0])
    _cut(store, originals[1])
    above = store.write(processed_files[0], b"meddled")
    stray = store.write("vault/1/stray", b"nobody's")
    early = store.write("incoming/a-stray", b"nobody's")
    found = {(each.difference, each.key, each.version_id) for each in fsck(house)}
    pinned_now = {each.key: each.stored for each in pinned_versions(house)}
    assert found == {
        (Difference.MISSING, originals[0], pinned_now[originals[0]].version_id),
        (Difference.OTHER_SIZE, originals[1], pinned_now[originals[1]].version_id),
        (Difference.HIDDEN, processed_files[0], above.version_id),
        (Difference.STRAY, stray.key, stray.version_id),
        (Difference.STRAY, early.key, early.version_id),
    }
    assert [each.difference.loses_bytes for each in fsck(house) if each.key == originals[0]] == [True]


def test_it_goes_on_beyond_a_key(house: House, store: MemoryStore, keys: list[str]) -> None:
    for key in keys:
        _lose(store, key)
    assert [each.key for each in fsck(house)] == keys
    for number, key in enumerate(keys):
        assert [each.key for each in fsck(house, after=key)] == keys[number + 1 :]


def test_an_upload_that_waits_for_its_submission_is_no_stray(house: House, store: MemoryStore, keys: list[str]) -> None:
    (answer,) = request_uploads(house, ALICE, _group_of(house, keys), [WantedFile("r.fq", 3)])
    assert answer.put is not None
    store.put(answer.put, b"abc")
    assert list(fsck(house)) == []


def _group_of(house: House, keys: list[str]) -> int:
    return next(each.group_id for each in pinned_versions(house))


def test_a_file_nobody_has_hashed_yet_is_read_all_the_same(house: House, store: MemoryStore, keys: list[str]) -> None:
    original = next(each for each in pinned_versions(house) if each.key.startswith("incoming/"))
    assert original.sha256 is None
    assert isinstance(original.stored, StoredVersion)
    _lose(store, original.key)
    assert verify(house).damaged == 1
