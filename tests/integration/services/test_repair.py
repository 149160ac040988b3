"""What is lost or altered comes back from wherever it still is, and until then nobody gets it, nor anything else."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlmodel import col, select

from readvault.db.tables import FixityCheck, Job, Repair, SecondCopy, UploadedFile
from readvault.domain.errors import BytesLost, Damaged, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, StoredVersion
from readvault.services.entries import damage
from readvault.services.entries.damage import called
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.reprocessing import process_again
from readvault.services.release import publication
from readvault.services.release.downloads import file_url
from readvault.services.review import review
from readvault.services.storage.integrity import copies, making_again, repair
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.integrity.pinned import pinned_at, pinned_versions
from readvault.services.storage.integrity.verification import MISSING, damaged, verify
from tests.fakes import MemoryStore
from tests.faults.fake_pipeline import worker
from tests.houses import ALICE, upload
from tests.integration.services.published import released
from tests.integration.services.scenes import (
    ORGANISM,
    audit_log,
    claimed,
    entry,
    group,
    job,
    of_next_pipeline,
    processed,
)

READS, TEXT = b"reads of the day", b">main\nACGTACGT\n"


@pytest.fixture
def house(house: House) -> House:
    """A house with a second bucket."""
    return replace(house, second_store=MemoryStore())


@pytest.fixture
def name(house: House) -> AccessionVersion:
    """A released entry with one original and one processed file, both read once."""
    name, _ = released(house, group(house, "alice"), files=(READS,), text=TEXT)
    _hash_originals(house)
    publish(house)
    return name


def publish(house: House) -> None:
    with house.sessions.read() as session:
        waiting = session.exec(select(Job.id).where(Job.kind == "release", Job.state == JobState.QUEUED.value)).all()
    for job_id in waiting:
        publication.publish(house, claimed(house, job_id))


def _hash_originals(house: House) -> None:
    with house.sessions.begin() as session:
        for file in session.exec(select(UploadedFile)):
            file.sha256 = file.sha256 or file.declared_sha256


def key_of(house: House, room: str) -> str:
    return next(each.key for each in pinned_versions(house) if each.key.startswith(room))


def primary(house: House) -> MemoryStore:
    assert isinstance(house.store, MemoryStore)
    return house.store


def second(house: House) -> MemoryStore:
    assert isinstance(house.second_store, MemoryStore)
    return house.second_store


def lose(store: MemoryStore, key: str) -> None:
    del store.versions[key]


def flip(store: MemoryStore, key: str) -> None:
    store.versions[key] = [(v, bytes([data[0] ^ 1]) + data[1:]) for v, data in store.versions[key]]


def cut(store: MemoryStore, key: str) -> None:
    store.versions[key] = [(v, data[:-1]) for v, data in store.versions[key]]


HARMS = {"lost": lose, "flipped": flip, "cut": cut}


def repairs(house: House) -> list[Repair]:
    with house.sessions.read() as session:
        return list(session.exec(select(Repair).order_by(col(Repair.id))))


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("room", ["incoming/", "vault/"])
def test_the_second_bucket_gives_back_what_was_lost(house: House, name: AccessionVersion, room: str, harm: str) -> None:
    key = key_of(house, room)
    before = pinned_at(house, key)
    assert before is not None
    HARMS[harm](primary(house), key)
    done = verify(house, days=0, survey_every=0)
    assert (done.damaged, done.repaired) == (1, 1)
    after = pinned_at(house, key)
    assert after is not None
    assert (after.sha256, after.stored.size) == (before.sha256, before.stored.size)
    assert primary(house).read(after.stored) == (READS if room == "incoming/" else TEXT)
    (row,) = repairs(house)
    assert (row.key, row.lost_version_id, row.version_id) == (key, before.stored.version_id, after.stored.version_id)
    assert row.source == "second bucket"
    assert damaged(house) == []
    assert [each.subject for each in audit_log(house) if each.action == "repair"] == [key]
    publish(house)
    assert (key, after.stored.version_id) in primary(house).locked
    assert list(fsck(house)) == []
    assert verify(house, days=0, survey_every=0).damaged == 0


def test_the_log_names_no_file_id_and_no_hash(
    house: House, name: AccessionVersion, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [key_of(house, room) for room in ("incoming/", "vault/")]
    for number, key in enumerate(keys):
        lose(primary(house), key)
        if number:
            lose(second(house), key)
    with caplog.at_level(logging.DEBUG, logger="readvault"):
        assert verify(house, days=0, survey_every=0).damaged == 2
    lines = "\n".join(record.getMessage() for record in caplog.records)
    assert all(lines.count(called(key)) >= 2 for key in keys), "found, and repaired or not"
    assert not [part for key in keys for part in (key, key.rpartition("/")[2]) if part in lines]


def test_another_version_under_the_key_is_enough(house: House, name: AccessionVersion) -> None:
    key = key_of(house, "vault/")
    copy = primary(house).write(key, TEXT)
    primary(house).versions[key] = [each for each in primary(house).versions[key] if each[0] == copy.version_id]
    second(house).down = True
    with pytest.raises(ProcessingFailure):  # the second bucket's own turn; what is lost is repaired before
        verify(house, days=0, survey_every=0)
    after = pinned_at(house, key)
    assert after is not None
    assert after.stored == copy
    assert repairs(house)[0].source == "earlier version"


def test_wrong_bytes_never_take_the_place_of_lost_ones(house: House, name: AccessionVersion) -> None:
    """Neither from the second bucket nor from under the key: whoever offers other bytes is not believed."""
    key = key_of(house, "incoming/")
    lose(primary(house), key)
    primary(house).write(key, b"x" * len(READS))
    flip(second(house), key)
    done = verify(house, days=0, survey_every=0)
    assert (done.damaged, done.repaired) == (1, 0)
    assert repairs(house) == []
    (row,) = damaged(house)
    assert row.unrepaired == making_again.ORIGINAL


def test_what_is_put_back_is_read_back_before_the_pin_moves(
    house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(house, "vault/")
    before = pinned_at(house, key)
    lose(primary(house), key)

    def altering(source: Path, key: str, *, sha256: str) -> StoredVersion:
        return primary(house).write(key, b"x" * len(TEXT))

    monkeypatch.setattr(house.store, "store_again", altering)
    assert verify(house, days=0, survey_every=0).repaired == 0
    assert pinned_at(house, key) == before


@pytest.mark.parametrize("marker", [True, False])
def test_what_lies_over_a_pinned_version_is_removed(house: House, name: AccessionVersion, marker: bool) -> None:
    key = key_of(house, "vault/")
    before = pinned_at(house, key)
    above = primary(house).write(key, b"" if marker else b"meddled with")
    done = verify(house, survey_every=0)
    assert (done.damaged, done.uncovered, done.held_by_locks) == (0, 1, 0)
    assert pinned_at(house, key) == before
    assert above.version_id not in dict(primary(house).versions[key])
    assert repairs(house) == []


def test_a_lock_over_a_pinned_version_is_said(house: House, name: AccessionVersion) -> None:
    key = key_of(house, "vault/")
    above = primary(house).write(key, b"meddled with")
    primary(house).locked[key, above.version_id] = 1e12
    done = verify(house, survey_every=0)
    assert (done.damaged, done.uncovered, done.held_by_locks) == (0, 0, 1)


def test_until_it_is_restored_everybody_gets_503(house: House, name: AccessionVersion) -> None:
    key = key_of(house, "vault/")
    lose(primary(house), key)
    lose(second(house), key)
    assert file_url(house, None, name.accession, name.version, "consensus", "consensus.fasta")
    verify(house, survey_every=0, repairs=False)
    with pytest.raises(Damaged, match="being restored"):
        file_url(house, None, name.accession, name.version, "consensus", "consensus.fasta")
    with pytest.raises(Damaged):
        review.review(house, ALICE, ORGANISM, name)
    assert review.overview(house, ALICE, ORGANISM, name)  # the page itself needs no URL


def test_the_groups_new_upload_of_the_same_bytes_repairs(house: House, name: AccessionVersion) -> None:
    key = key_of(house, "incoming/")
    pinned = pinned_at(house, key)
    assert pinned is not None
    lose(primary(house), key)
    lose(second(house), key)
    assert verify(house, survey_every=0).repaired == 0
    (again,) = upload(house, ALICE, pinned.group_id, READS)  # not "already yours": the group is asked for the bytes
    assert again not in key
    assert verify(house, days=0).repaired == 1
    assert repairs(house)[0].source == "uploaded again"
    after = pinned_at(house, key)
    assert after is not None
    assert primary(house).read(after.stored) == READS


def test_another_groups_same_bytes_repair_nothing(house: House, name: AccessionVersion) -> None:
    key = key_of(house, "incoming/")
    lose(primary(house), key)
    lose(second(house), key)
    entry(house, group(house, "bob"), files=(READS,))
    _hash_originals(house)
    assert verify(house, days=0, survey_every=0).repaired == 0


def _lose_everywhere(house: House, key: str) -> None:
    lose(primary(house), key)
    lose(second(house), key)


def test_what_the_pipeline_can_make_again_is_made_again(house: House, name: AccessionVersion, tmp_path: Path) -> None:
    key = key_of(house, "vault/")
    pinned = pinned_at(house, key)
    assert pinned is not None
    assert pinned.sha256 is not None
    _lose_everywhere(house, key)
    for _ in range(2):  # one job for one damage
        assert verify(house, days=0, survey_every=0).repaired == 0
    with house.sessions.read() as session:
        (wished,) = session.exec(select(Job).where(Job.kind == JobKind.REPAIR.value)).all()
    assert (wished.accession, wished.version, wished.pipeline_version) == (name.accession, name.version, 1)
    assert "made again" in (damaged(house)[0].unrepaired or "")
    made = tmp_path / "made"
    made.write_bytes(TEXT)
    assert making_again.put_back_made(house, pinned.group_id, [("0" * 64, made), (pinned.sha256, made)]) == 1
    assert damaged(house) == []
    assert repairs(house)[0].source == "made again"
    assert making_again.still_lost(house, name.accession, name.version, 1) == 0


def test_who_processes_a_version_again_puts_back_what_it_has_lost(house: House) -> None:
    """The bytes are there, and a result that refers to lost ones would be born damaged."""
    _, job_id = entry(house, group(house, "alice"))
    at_work = worker(house, "worker")
    at_work.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x"))
    key = key_of(house, "vault/")
    lose(primary(house), key)
    assert verify(house, days=0, survey_every=0).damaged == 1
    name = AccessionVersion(job(house, job_id).accession, job(house, job_id).version)
    again = process_again(house, name, "it is damaged", "maria")
    at_work.run(Delivery(again, 1, JobKind.PROCESS_SUBMISSION.value, "x"))
    assert job(house, again).state == JobState.DONE
    assert damaged(house) == []
    assert [row.source for row in repairs(house)] == ["made again"]


def test_a_pipeline_that_has_moved_on_makes_nothing_again(house: House, name: AccessionVersion) -> None:
    _lose_everywhere(house, key_of(house, "vault/"))
    verify(of_next_pipeline(house), days=0, survey_every=0)
    assert "is at 2 now" in (damaged(house)[0].unrepaired or "")
    with house.sessions.read() as session:
        assert session.exec(select(Job).where(Job.kind == JobKind.REPAIR.value)).all() == []


def test_a_job_that_met_damage_waits_for_the_repair_and_goes_on(house: House) -> None:
    group_id = group(house, "alice")
    _, job_id = entry(house, group_id, files=(READS,))
    key = key_of(house, "incoming/")
    lose(primary(house), key)
    claim = claimed(house, job_id)
    file = jobs.inputs_of(house, claim).files[0]
    failure = damage.noticed(house, file.stored, file.sha256, "fetch")
    assert isinstance(failure, BytesLost)
    assert key not in str(failure)  # it is shown in Prefect, and to maintainers
    jobs.set_aside(house, claim, str(failure))
    assert job(house, job_id).state == JobState.NEEDS_ATTENTION
    assert [row.key for row in damaged(house)] == [key]
    upload(house, ALICE, group_id, READS)
    assert verify(house, days=0, survey_every=0).repaired == 1
    assert job(house, job_id).state == JobState.QUEUED


def test_a_broken_transfer_is_no_damage(house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(house, "vault/")
    pinned = pinned_at(house, key)
    assert pinned is not None
    right, answers = primary(house).sha256_of, iter(["0" * 64])
    monkeypatch.setattr(
        primary(house), "sha256_of", lambda stored, **options: next(answers, None) or right(stored, **options)
    )
    assert damage.found(primary(house), pinned.stored, pinned.sha256) is None
    assert isinstance(damage.noticed(house, pinned.stored, pinned.sha256, "fetch"), ProcessingFailure)
    assert damaged(house) == []


def test_an_unread_original_without_declared_hash_can_not_be_known(house: House) -> None:
    entry(house, group(house, "alice"), files=(READS,))
    key = key_of(house, "incoming/")
    with house.sessions.begin() as session:
        session.exec(select(UploadedFile)).one().declared_sha256 = None
    lose(primary(house), key)
    verify(house, survey_every=0)
    assert damaged(house)[0].unrepaired == repair.UNREAD


def test_two_repairs_of_one_object_leave_one_pin(house: House, name: AccessionVersion, tmp_path: Path) -> None:
    key = key_of(house, "vault/")
    pinned = pinned_at(house, key)
    assert pinned is not None
    lose(primary(house), key)
    verify(house, survey_every=0, repairs=False)
    assert repair.repair(house, pinned) is None
    first = pinned_at(house, key)
    repair.repair(house, pinned)  # somebody who saw the same damage, later
    assert pinned_at(house, key) == first
    assert len(repairs(house)) == 1


def copied(house: House) -> dict[str, bool]:
    with house.sessions.read() as session:
        return {row.key: row.copied_at is not None for row in session.exec(select(SecondCopy))}


def test_a_release_is_copied_to_the_second_bucket_once(house: House, name: AccessionVersion) -> None:
    wanted = {key_of(house, "incoming/"), key_of(house, "vault/")}
    assert wanted < copied(house).keys()
    assert all(copied(house).values())
    for key in copied(house):
        assert [data for _, data in second(house).versions[key]] == [data for _, data in primary(house).versions[key]]
    assert copies.make(house) == 0


def test_a_second_bucket_that_is_down_holds_up_no_release(house: House) -> None:
    second(house).down = True
    released(house, group(house, "alice"), files=(READS,), text=TEXT)
    publish(house)
    with house.sessions.read() as session:
        assert session.exec(select(Job.state).where(Job.kind == "release")).all() == [JobState.DONE.value]
    assert copied(house)
    assert not any(copied(house).values())
    second(house).down = False
    assert verify(house, survey_every=0).copied == len(copied(house))
    assert all(copied(house).values())


def test_a_second_bucket_that_comes_later_gets_all_that_is_released(house: House, name: AccessionVersion) -> None:
    later = replace(house, second_store=MemoryStore())
    with house.sessions.begin() as session:
        for row in session.exec(select(SecondCopy)):
            session.delete(row)
    assert copies.make(later) == len(second(house).versions)
    assert second(later).versions.keys() == second(house).versions.keys()


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_copy_is_made_anew(house: House, name: AccessionVersion, harm: str) -> None:
    key = key_of(house, "vault/")
    HARMS[harm](second(house), key)
    done = verify(house, days=0, survey_every=0)
    assert (done.damaged, done.copies_checked) == (0, len(copied(house)))
    assert all(copied(house).values())
    assert second(house).versions[key][-1][1] == TEXT


def test_originals_that_are_shredded_one_day_are_not_copied(house: House) -> None:
    old = house.organisms[ORGANISM]
    originals = old.pipeline.dehumanize.originals.model_copy(update={"shred_after_days": 30})
    dehumanize = old.pipeline.dehumanize.model_copy(update={"originals": originals})
    rules = old.model_copy(update={"pipeline": old.pipeline.model_copy(update={"dehumanize": dehumanize})})
    house = replace(house, organisms={ORGANISM: rules})
    released(house, group(house, "alice"), files=(READS,), text=TEXT)
    publish(house)
    verify(house, survey_every=0)
    assert copied(house)
    assert not any(key.startswith("incoming/") for key in copied(house))


def test_the_walk_goes_on_where_its_time_was_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    group_id = group(house, "alice")
    for number in range(4):
        processed(house, group_id, files=(b"%d" % number,), text=b">main\nA%d\n" % number)
    _hash_originals(house)
    victim = [each.key for each in pinned_versions(house)][5]
    verify(house, survey_every=0)
    lose(primary(house), victim)
    clock = iter(range(10_000))
    own_clock = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("readvault.services.storage.integrity.verification.time", own_clock)
    slices = 0
    while not damaged(house) and slices < 20:
        assert not verify(house, survey_every=0, budget_seconds=3).finished
        slices += 1
    assert 1 < slices < 8


def test_damage_that_is_gone_with_its_entry_is_forgotten(house: House) -> None:
    with house.sessions.begin() as session:
        session.add(FixityCheck(key="vault/1/gone", checked_at=1.0, size=3, damage=MISSING, damaged_since=1.0))
    assert verify(house, days=0).damaged == 0
    assert damaged(house) == []
