"""A repair that is killed between two of its steps, and a release that is killed before one, come to the same end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlmodel import col, select

from readvault.db.tables import AuditEntry, Job, Repair
from readvault.domain.errors import BytesLost
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release import publication
from readvault.services.storage.integrity import pin_moves
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.integrity.pinned import pinned_at, pinned_versions
from readvault.services.storage.integrity.verification import damaged, verify
from tests.fakes import MemoryStore
from tests.integration.services.published import released
from tests.integration.services.scenes import ORGANISM, change, claimed, entry, group, job


class Killed(BaseException):
    """What nobody catches."""


@pytest.fixture
def house(house: House) -> House:
    """A house with a second bucket."""
    return replace(house, second_store=MemoryStore())


@pytest.fixture
def release(house: House) -> str:
    """The ID of a release job that was not begun."""
    released(house, group(house, "alice"))
    with house.sessions.read() as session:
        return session.exec(select(Job.id).where(Job.kind == JobKind.RELEASE.value)).one()


def _key(house: House, room: str) -> str:
    return next(each.key for each in pinned_versions(house) if each.key.startswith(room))


def _lose(house: House, key: str) -> bytes:
    assert isinstance(house.store, MemoryStore)
    return house.store.versions.pop(key)[-1][1]


def _killed_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def failpoint(passed: str) -> None:
        if passed == name:
            raise Killed

    monkeypatch.setattr(module, "failpoint", failpoint)


def _repairs(house: House) -> list[Repair]:
    with house.sessions.read() as session:
        return list(session.exec(select(Repair).order_by(col(Repair.id))))


@pytest.mark.parametrize("where", ["repair-before-read-back", "repair-before-pin"])
def test_a_killed_repair_goes_on_and_leaves_one_pin(
    house: House, release: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication.publish(house, claimed(house, release))
    assert isinstance(house.store, MemoryStore)
    key = _key(house, "vault/")
    before = pinned_at(house, key)
    body = _lose(house, key)
    with monkeypatch.context() as killing:
        _killed_at(killing, pin_moves, where)
        with pytest.raises(Killed):
            verify(house, days=0, survey_every=0)
    assert pinned_at(house, key) == before
    assert _repairs(house) == []
    assert [row.key for row in damaged(house)] == [key]
    for _ in range(2):
        verify(house, days=0, survey_every=0)
    [row] = _repairs(house)
    after = pinned_at(house, key)
    assert after is not None
    assert house.store.versions[key] == [(row.version_id, body)]
    assert after.stored.version_id == row.version_id
    assert damaged(house) == []
    assert list(fsck(house)) == []
    with house.sessions.read() as session:
        assert len(session.exec(select(AuditEntry).where(AuditEntry.action == "repair")).all()) == 1


def _waiting(house: House) -> list[str]:
    queued = select(Job.id).where(Job.kind == JobKind.RELEASE.value, Job.state == JobState.QUEUED.value)
    with house.sessions.read() as session:
        return list(session.exec(queued))


@pytest.mark.parametrize("room", ["vault/", "incoming/"])
def test_what_is_released_is_locked_though_its_repair_was_killed_once_the_pin_had_moved(
    house: House, release: str, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication.publish(house, claimed(house, release))
    assert isinstance(house.store, MemoryStore)
    key = _key(house, room)
    _lose(house, key)
    with monkeypatch.context() as killing:
        _killed_at(killing, pin_moves, "repair-after-commit")
        with pytest.raises(Killed):
            verify(house, days=0, survey_every=0)
    after = pinned_at(house, key)
    assert after is not None
    assert (key, after.stored.version_id) not in house.store.locked
    [again] = _waiting(house)
    publication.publish(house, claimed(house, again))
    assert (key, after.stored.version_id) in house.store.locked


def test_one_job_locks_all_that_was_repaired_of_a_release(house: House, release: str) -> None:
    publication.publish(house, claimed(house, release))
    for room in ("vault/", "incoming/"):
        _lose(house, _key(house, room))
    assert verify(house, days=0, survey_every=0).repaired == 2
    assert len(_waiting(house)) == 1


def test_what_is_not_released_or_shredded_one_day_is_not_locked(house: House) -> None:
    of_group = group(house, "alice")
    entry(house, of_group)
    released(house, of_group)
    [release] = _waiting(house)
    publication.publish(house, claimed(house, release))
    for pinned in list(pinned_versions(house)):
        if pinned.key.startswith("incoming/"):
            assert isinstance(house.second_store, MemoryStore)
            house.second_store.write(pinned.key, _lose(house, pinned.key))
    assert verify(_shredding(house), days=0, survey_every=0).repaired == 2
    assert _waiting(house) == []


def _shredding(house: House) -> House:
    """The house when its organism shreds originals after 30 days."""
    rules = house.organisms[ORGANISM]
    originals = rules.pipeline.dehumanize.originals.model_copy(update={"shred_after_days": 30})
    dehumanize = rules.pipeline.dehumanize.model_copy(update={"originals": originals})
    changed = rules.model_copy(update={"pipeline": rules.pipeline.model_copy(update={"dehumanize": dehumanize})})
    return replace(house, organisms={ORGANISM: changed})


@pytest.mark.parametrize("room", ["vault/", "incoming/"])
def test_a_release_that_is_done_again_after_a_repair_writes_the_same_record(
    house: House, release: str, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written once; a pin that moved between two attempts must not make it another one."""
    with monkeypatch.context() as killing:
        _killed_at(killing, publication, "release-after-record")
        with pytest.raises(Killed):
            publication.publish(house, claim := claimed(house, release))
    assert isinstance(house.store, MemoryStore)
    assert isinstance(house.second_store, MemoryStore)
    key = _key(house, room)
    sealed = pinned_at(house, key)
    assert sealed is not None
    house.second_store.write(key, _lose(house, key))
    jobs.give_up(house, claim, "killed", counted=False)
    with pytest.raises(BytesLost):
        publication.publish(house, again := claimed(house, release))
    jobs.set_aside(house, again, "stored bytes are damaged: it was noted")
    assert verify(house, survey_every=0).repaired == 1
    assert job(house, release).state == JobState.QUEUED
    publication.publish(house, claimed(house, release))
    assert job(house, release).state == JobState.DONE
    after = pinned_at(house, key)
    assert after is not None
    assert (key, after.stored.version_id) in house.store.locked
    [(record, versions)] = [item for item in house.store.versions.items() if item[0].endswith("/release.json")]
    [(_, body)] = versions
    content = json.loads(body)
    [named] = content["files" if room == "vault/" else "originals"]
    assert (named["key"], named["versionId"]) == (key, sealed.stored.version_id)
    assert record in house.second_store.versions
    change(house, release, state=JobState.QUEUED.value)
    publication.publish(house, claimed(house, release))
    assert len(house.store.versions[record]) == 1


def test_the_pause_after_a_large_file_ends_with_the_time_of_the_run(house: House, release: str) -> None:
    waited: list[float] = []
    done = verify(house, days=0, bytes_per_second=0.001, budget_seconds=60, pause=waited.append)
    assert done.checked
    assert waited
    assert all(seconds <= 60 for seconds in waited)
