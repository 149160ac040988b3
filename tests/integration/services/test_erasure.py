"""Erasure: two maintainers, everything goes, nothing of anybody else, and a proof that stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, col, select

from readvault.db import audit, clock
from readvault.db.tables import (
    DeletedEntryVersion,
    EntryVersion,
    ErasedObject,
    ErasedVersion,
    Erasure,
    Job,
    Manifest,
    PendingRecord,
    StoredObject,
    SubmittedDataArchive,
    UploadUsage,
)
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.erasures import CONFIRM_WITHIN, State
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    LeaseLost,
    NotFound,
    ProcessingFailure,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import Dehumanize, Originals, Pipeline
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.reprocessing import process_again
from readvault.services.release import downloads, interventions, originals, publication
from readvault.services.release.manifests import manifest
from readvault.services.review.review import review
from readvault.services.storage.erasing import erasure, erasure_proof, shred_dates, shredding
from readvault.services.storage.integrity import fsck
from readvault.services.storage.integrity.pinned import pinned_versions
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER, organism, tsv, upload
from tests.integration.services.life import METADATA, released, revised
from tests.integration.services.scenes import ORGANISM, audit_log, change, claimed, entry, group, processed, result

OTHER = Actor("other-maintainer", frozenset({MAINTAINER_ROLE}))
REASON = "the patient took the consent back"
EVERYBODY = pytest.mark.parametrize("who", [None, ALICE, MAINTAINER], ids=["anonymous", "group", "maintainer"])


def erase(house: House, *names: AccessionVersion, **unlockers: Any) -> Erasure:
    """Ask, confirm and carry out."""
    asked, _ = erasure.request(house, MAINTAINER, names, REASON)
    assert asked.id is not None
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    return shredding.carry_on(house, asked.id, unlockers or None)


def rows(house: House, table: type[SQLModel]) -> list[Any]:
    """All rows of a table."""
    with house.sessions.read() as session:
        return list(session.exec(select(table)).all())


def documents(store: MemoryStore, name: AccessionVersion) -> None:
    """What registration and the records' export put beside the files."""
    place = f"{name.accession}/{name.version}"
    for key in (f"manifests/{place}/d.json", f"manifests/{place}/d.private.json", f"records/{place}/state-1-a.json"):
        store.write(key, b"{}")


def keys(store: MemoryStore) -> set[str]:
    """What the bucket holds."""
    return set(store.versions)


def test_two_people_erase_a_released_version_and_nothing_else(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    gone = released(house, group_id, files=(b"one", b"two"), text=b">a\nAC\n", reads=b"screened")
    kept = released(house, group_id, files=(b"three",), text=b">b\nAC\n")
    documents(store, gone)
    documents(store, kept)
    of_kept = {each.key for each in pinned_versions(house)} - {
        line.key for line in erasure.plan_of(house, [gone]).lines
    }
    original = next(key for key in store.versions if key.startswith("incoming/") and key not in of_kept)
    store.write(original, b"somebody wrote over it")
    store.uploads["parts"] = (original, {1: b"part"})

    asked, plan = erasure.request(house, MAINTAINER, [gone], REASON)
    assert (asked.objects, plan.documents, asked.size) == (6, 2, 3 + 3 + 22 + 6 + 8)
    assert asked.id is not None
    before = keys(store)
    with pytest.raises(Forbidden, match="Another maintainer"):
        erasure.confirm(house, MAINTAINER, asked.id, objects=asked.objects, code=asked.code)
    with pytest.raises(Conflict):
        erasure.confirm(house, OTHER, asked.id, objects=asked.objects - 1, code=asked.code)
    assert keys(store) == before
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    assert keys(store) == before, "the bytes go after the commit"
    done = shredding.carry_on(house, asked.id)

    assert done.finished_at is not None
    place = f"{gone.accession}/{gone.version}"
    of_kept |= {key for key in before if f"/{kept.accession}/" in key}
    assert keys(store) == of_kept | {f"manifests/{place}/d.json"}, "the public manifest of a released version stays"
    assert not store.uploads
    assert shredding.left_of(house, asked.id) == []
    proof = done.proof
    assert proof is not None
    assert erasure_proof.is_as_written(proof)
    assert not erasure_proof.is_as_written({**proof, "reason": "another"})
    assert proof["search"] | {"at": 0} == {
        "at": 0, "places": ["bucket"], "keys": 6, "versions": 0, "unfinishedUploads": 0, "scratchFolders": 0,
    }  # fmt: skip
    assert {each["kind"] for each in proof["objects"]} == {"original", "processed", "other version", "document"}
    assert all(each["sha256"] and each["deletedAt"] >= done.confirmed_at for each in proof["objects"])
    assert proof["tombstones"][0]["manifestDigests"]
    assert "reads_0.fastq" not in str(proof)
    assert [f.key for f in fsck.fsck(house) if f.difference.loses_bytes] == []
    assert not {each.key for each in pinned_versions(house)} - of_kept
    assert [row.action for row in audit_log(house)][-3:] == ["request erasure", "confirm erasure", "erase"]
    assert audit_log(house)[-1].details["proofSha256"] == proof["sha256"]
    with house.sessions.read() as session:
        assert audit.verify(session) == []
    written = [json.loads(row.body) for row in rows(house, PendingRecord) if row.key.startswith("records/erasures/")]
    assert [each["rows"]["erasure"][0]["proof"] for each in written] == [None, proof]
    assert {name for name, listed in written[1]["rows"].items() if listed} == {
        "erasure", "erased_version", "erased_object",
    }  # fmt: skip
    assert all(row.private_body is None for row in rows(house, Manifest) if row.accession == gone.accession)
    assert shredding.carry_on(house, asked.id).proof == proof


@EVERYBODY
def test_nobody_reads_what_was_erased(house: House, who: Actor | None) -> None:
    group_id = group(house, "alice")
    public = released(house, group_id, files=(b"one",), text=b">a\nAC\n")
    private, _ = processed(house, group_id, files=(b"two",), text=b">b\nAC\n")
    erase(house, public, private)
    asked: dict[str, Callable[[AccessionVersion], object]] = {
        "file": lambda name: downloads.file_url(house, who, name.accession, name.version, "consensus", "c"),
        "stable": lambda name: downloads.released_file_url(house, name.accession, name.version, 1, "consensus", "c"),
        "manifest": lambda name: manifest(house, who, ORGANISM, name),
    }
    if who is not None:
        asked["review"] = lambda name: review(house, who, ORGANISM, name)
    if who is MAINTAINER:
        asked["glass"] = lambda name: originals.open_originals(house, who, name, REASON)
        asked["restore"] = lambda name: interventions.intervene(house, who, name, Step.RESTORE, REASON)
        asked["again"] = lambda name: process_again(house, name, REASON, "m")
    for ask in asked.values():
        for name in (public, private):
            with pytest.raises(Gone, match=REASON):
                ask(name)


def test_of_an_unreleased_version_only_its_tombstone_stays(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    name, _ = processed(house, group_id, files=(b"one",))
    documents(store, name)
    with house.sessions.begin() as session:
        earlier: dict[str, Any] = {"submitted_metadata": {"k": "v"}, "submitted_sequences": {}, "files": {}}
        place: dict[str, Any] = {"accession": name.accession, "version": name.version}
        session.add(SubmittedDataArchive(edited_by="alice", edited_at=1.0, **place, **earlier))
    done = erase(house, name)
    assert done.finished_at is not None
    assert keys(store) == set()
    for table in (EntryVersion, Job, Manifest, SubmittedDataArchive):
        assert rows(house, table) == []
    assert [row.accession for row in rows(house, DeletedEntryVersion)] == [name.accession]
    (grave,) = rows(house, ErasedVersion)
    assert (grave.was_released, grave.reason, len(grave.manifest_digests)) == (False, REASON, 1)


def test_what_others_have_too_goes_only_with_them(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    first = released(house, group_id, files=(b"one",), text=b">a\nAC\n")
    revised(house, {"accession": first.accession})
    with pytest.raises(Conflict, match=rf"{first.accession}\.2 \(1 of"):
        erasure.request(house, MAINTAINER, [first], REASON)
    same = released(house, group_id, files=(b"two",), text=b">a\nAC\n")
    with pytest.raises(Conflict, match=str(same)):
        erasure.request(house, MAINTAINER, [first, AccessionVersion(first.accession, 2)], REASON)
    assert erase(house, first, AccessionVersion(first.accession, 2), same).finished_at is not None
    assert keys(store) == set()


def test_a_machine_token_asks_but_never_confirms(house: House) -> None:
    """Whoever finds two maintainers' tokens erases nothing."""
    name = released(house, group(house, "alice"))
    asking, confirming = (replace(each, scopes=frozenset({"maintain"})) for each in (MAINTAINER, OTHER))
    asked, _ = erasure.request(house, asking, [name], REASON)
    with pytest.raises(Forbidden, match="not meant to confirm an erasure"):
        erasure.confirm(house, confirming, asked.id or 0, objects=asked.objects, code=asked.code)
    assert erasure.find(house, OTHER, asked.id or 0)[1] is State.REQUESTED


def test_who_may_ask_and_for_what(house: House) -> None:
    name = released(house, group(house, "alice"))
    with pytest.raises(Forbidden):
        erasure.request(house, ALICE, [name], REASON)
    with pytest.raises(BadRequest):
        erasure.request(house, MAINTAINER, [], REASON)
    with pytest.raises(BadRequest):
        erasure.request(house, MAINTAINER, [name], " ")
    with pytest.raises(NotFound):
        erasure.request(house, MAINTAINER, [AccessionVersion("LOC_NONE", 1)], REASON)
    with pytest.raises(NotFound):
        erasure.confirm(house, OTHER, 77, objects=1, code="x")
    erase(house, name)
    with pytest.raises(Conflict, match="already"):
        erasure.request(house, MAINTAINER, [name], REASON)


def test_a_list_that_changed_is_not_confirmed(house: House, store: MemoryStore) -> None:
    name = released(house, group(house, "alice"))
    asked, plan = erasure.request(house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    store.write(plan.lines[0].key, b"one more version")
    with pytest.raises(Conflict, match="Ask anew"):
        erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    again, _ = erasure.request(house, MAINTAINER, [name], REASON)
    assert again.id is not None
    erasure.confirm(house, OTHER, again.id, objects=again.objects, code=again.code)
    with pytest.raises(Conflict):
        erasure.confirm(house, OTHER, again.id, objects=again.objects, code=again.code)
    states = [state for _, state in erasure.page(house, MAINTAINER)]
    assert states == [State.CONFIRMED, State.REQUESTED]


def test_a_request_lapses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    name = released(house, group(house, "alice"))
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    now = clock.read
    monkeypatch.setattr(clock, "read", lambda session: now(session) + CONFIRM_WITHIN + 1)
    assert erasure.find(house, MAINTAINER, asked.id)[1] is State.EXPIRED
    with pytest.raises(Conflict, match="void"):
        erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)


def test_locked_versions_wait_for_the_maintainer(house: House, store: MemoryStore) -> None:
    name = released(house, group(house, "alice"), files=(b"one",))
    for each in list(pinned_versions(house)):
        store.lock(each.stored, until=4e9)
    second = MemoryStore()
    copied = replace(house, second_store=second)
    for key in list(store.versions):
        second.write(key, store.versions[key][0][1])
    waiting = erase(copied, name)
    assert waiting.finished_at is None
    assert waiting.waits_for == "the maintainer's own credential: a lock holds 2 versions"
    assert not second.versions, "what is not locked goes"
    assert waiting.id is not None
    assert shredding.carry_on_all(copied) == 0

    class Compliance:
        def delete(self, stored: Any, *, bypass: bool = False) -> bool:
            return False

    still = shredding.carry_on(copied, waiting.id, {"bucket": Compliance()})
    assert still.waits_for is not None
    assert "2096-10-02" in still.waits_for
    done = shredding.carry_on(copied, waiting.id, {"bucket": store})
    assert done.finished_at is not None
    assert done.proof is not None
    assert done.proof["search"]["places"] == ["bucket", "second"]
    assert {each["place"] for each in done.proof["objects"]} == {"bucket", "second"}
    assert not store.versions


def test_a_job_is_called_off_and_its_worker_waited_for(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    name, job_id = entry(house, group_id, files=(b"one",))
    claim = claimed(house, job_id)
    made = result(house, claim, text=b">a\nAC\n")  # stored, not registered yet
    scratch = house.settings.scratch / "host-1" / f"{job_id}-1"
    scratch.mkdir(parents=True)
    waiting = erase(house, name)
    assert waiting.waits_for is not None
    assert waiting.waits_for.startswith("a worker")
    with pytest.raises(LeaseLost):
        jobs.register(house, claim, made)
    with house.sessions.begin() as session:
        session.get_one(Erasure, waiting.id).not_before = 1.0
    assert waiting.id is not None
    assert "scratch" in str(shredding.carry_on(house, waiting.id).waits_for)
    scratch.rmdir()
    assert shredding.carry_on(house, waiting.id).finished_at is not None
    assert not store.versions, "what the job had stored went too"


def test_shredded_bytes_may_come_again_as_new_ones(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    first = released(house, group_id, files=(b"one",), text=b">a\nAC\n")
    _, job_id = entry(house, group_id, files=(b"other",))
    claim = claimed(house, job_id)
    made = result(house, claim, text=b">a\nAC\n")  # found in the vault and named, not registered yet
    erase(house, first)
    with pytest.raises(ProcessingFailure, match="stored again"):
        jobs.register(house, claim, made)
    again = result(house, claim, text=b">a\nAC\n")
    assert again.files[0].stored != made.files[0].stored
    jobs.register(house, claim, again)
    (row,) = rows(house, StoredObject)
    assert row.version_id == again.files[0].stored.version_id
    assert store.read(again.files[0].stored) == b">a\nAC\n"
    assert {each.key for each in pinned_versions(house)} >= {row.key}
    with pytest.raises(Gone):
        downloads.file_url(house, MAINTAINER, first.accession, 1, "consensus", "consensus.fasta")
    second, _ = erasure.request(house, MAINTAINER, [claim.accession_version], REASON)
    assert second.objects == 2


def test_quotas_are_freed_once_and_uploads_count_anew(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    (file_id,) = upload(house, ALICE, group_id, b"some reads")
    with_file = [{"id": "s", **METADATA, "files.rawReads": f"reads.fastq:{file_id}"}]
    first = submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(*with_file), metadata_name="m.tsv")[0]
    with house.sessions.read() as session:
        job_id = session.exec(select(Job.id)).one()
    jobs.record_hashes(house, claimed(house, job_id), {file_id: WANTED.sha256 or ""})
    used = {row.scope: row.sealed_bytes for row in rows(house, UploadUsage)}
    assert used == {f"group:{group_id}": 10, "user:alice": 10}
    assert request_uploads(house, ALICE, group_id, [WANTED])[0].already_yours
    name = AccessionVersion(first.accession or "", first.version)
    erase(house, name)
    shredding.carry_on_all(house)
    assert {row.sealed_bytes for row in rows(house, UploadUsage)} == {0}
    assert not request_uploads(house, ALICE, group_id, [WANTED])[0].already_yours
    with pytest.raises(Unprocessable, match="were erased"):
        submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(*with_file), metadata_name="m.tsv")


WANTED = WantedFile("f", 10, "d2dc95bc2a5c11c3e32c72178317a0b3af55791294f2fdd9f12e48ee11e8bed0")


@pytest.fixture
def shredding_house(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house whose organism shreds originals, and whose days are over at once."""
    rules = Pipeline(dehumanize=Dehumanize(originals=Originals(shred_after_days=30)))
    monkeypatch.setattr(shred_dates, "DAY", -1.0)
    return replace(house, organisms={ORGANISM: organism(tmp_path, pipeline=rules)})


def end_jobs(house: House) -> None:
    """What follows the approvals is done."""
    with house.sessions.begin() as session:
        for row in session.exec(select(Job).where(col(Job.state) != "done")):
            row.state, row.finished_at, row.lease_owner, row.lease_until = "done", 1.0, None, None


def test_originals_go_when_their_days_are_over(shredding_house: House, store: MemoryStore) -> None:
    house = shredding_house
    group_id = group(house, "alice")
    due = released(house, group_id, files=(b"one",), text=b">a\nAC\n", reads=b"screened")
    assert shred_dates.shred_due(house) == 0, "its release is under way"
    end_jobs(house)
    waiting, _ = processed(house, group_id, files=(b"two",), text=b">b\nAC\n")
    assert shred_dates.shred_due(house) == 1
    assert shredding.carry_on_all(house) == 1
    assert (shred_dates.shred_due(house), shredding.carry_on_all(house)) == (0, 0)
    (row,) = rows(house, Erasure)
    assert (row.requested_by, row.confirmed_by, row.accession_versions) == ("readvault", "readvault", [str(due)])
    assert [each["kind"] for each in row.proof["objects"]] == ["original"]
    assert sorted(key.partition("/")[0] for key in store.versions) == ["incoming", "vault", "vault", "vault"]
    assert downloads.file_url(house, None, due.accession, 1, "consensus", "consensus.fasta")
    with pytest.raises(Gone, match="kept for 30 days"):
        originals.open_originals(house, MAINTAINER, due, REASON)
    shown = review(house, ALICE, ORGANISM, due)
    assert shown["submittedData"]["files"]["rawReads"][0]["url"] is None
    assert originals.open_originals(house, MAINTAINER, waiting, REASON)
    assert rows(house, ErasedVersion) == []


def test_an_original_that_a_younger_version_needs_stays(shredding_house: House, store: MemoryStore) -> None:
    house = shredding_house
    first = released(house, group(house, "alice"), files=(b"one",), text=b">a\nAC\n")
    revised(house, {"accession": first.accession})
    end_jobs(house)
    assert shred_dates.shred_due(house) == 0
    assert len(store.versions) == 2


def test_what_lost_its_originals_on_purpose_says_so(shredding_house: House) -> None:
    house = shredding_house
    name = released(house, group(house, "alice"), files=(b"one",))
    end_jobs(house)
    assert shred_dates.shred_due(house) == 1
    rules = house.organisms[ORGANISM]
    newer = rules.model_copy(update={"pipeline": rules.pipeline.model_copy(update={"version": 2})})
    later = replace(house, organisms={ORGANISM: newer})
    job_id = process_again(later, name, REASON, "maintainer")
    with pytest.raises(ProcessingFailure, match="shredded on purpose"):
        jobs.inputs_of(later, claimed(later, job_id))
    with pytest.raises(Unprocessable, match="were erased"):
        revised(house, {"accession": name.accession})


def test_a_result_is_released_though_the_originals_are_gone(shredding_house: House, store: MemoryStore) -> None:
    house = shredding_house
    name = released(house, group(house, "alice"), files=(b"one",))
    end_jobs(house)
    assert (shred_dates.shred_due(house), shredding.carry_on_all(house)) == (1, 1)
    with house.sessions.read() as session:
        job_id = session.exec(select(Job.id).where(Job.kind == "release")).one()
    change(house, job_id, state="queued")
    assert publication.publish(house, claimed(house, job_id)) == 1
    assert f"records/{name.accession}/1/release.json" in store.versions


def _confirm_and_carry_out(house: House, asked: Erasure) -> Erasure:
    assert asked.id is not None
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    return shredding.carry_on(house, asked.id)


@pytest.mark.parametrize(
    "point",
    ["erase-before-confirm", "erase-confirmed", "erase-noted", "erase-between-deletions", "erase-before-proof",
     "erase-before-finish", "erase-finished"],
)  # fmt: skip
def test_killed_anywhere_it_is_finished_later(
    house: House, store: MemoryStore, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_id = group(house, "alice")
    name = released(house, group_id, files=(b"one", b"two"), text=b">a\nAC\n")
    kept = released(house, group_id, files=(b"three",), text=b">b\nAC\n")
    documents(store, name)
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    assert asked.id is not None

    class Killed(BaseException):
        pass

    armed = [point]

    def kill(reached: str) -> None:
        if armed and reached == armed[0]:
            armed.clear()
            raise Killed

    for module in (erasure, shredding):
        monkeypatch.setattr(module, "failpoint", kill)
    with pytest.raises(Killed):
        _confirm_and_carry_out(house, asked)
    if point == "erase-before-confirm":
        assert rows(house, ErasedObject) == []
        erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    shredding.carry_on_all(house)
    row, state = erasure.find(house, MAINTAINER, asked.id)
    assert state is State.FINISHED
    assert row.proof is not None
    assert len(row.proof["objects"]) == 5
    assert {each.key for each in pinned_versions(house)} == {
        key for key in store.versions if key.partition("/")[0] in ("incoming", "vault")
    }
    assert downloads.file_url(house, None, kept.accession, 1, "consensus", "consensus.fasta")
