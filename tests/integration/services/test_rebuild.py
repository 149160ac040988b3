"""A database that is lost comes back from the bucket, and says the same as before."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import AuditEntry, Group, Job, Repair, StoredObject
from readvault.domain.errors import Conflict, Forbidden
from readvault.domain.interventions import Step
from readvault.ports import ReadStore
from readvault.services import trail
from readvault.services.house import House
from readvault.services.people.groups import add_member, get_group
from readvault.services.processing import jobs
from readvault.services.release.interventions import history, intervene
from readvault.services.release.manifests import manifest
from readvault.services.reprocessing import decisions, feeding, orders
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.rebuilding import rebuild as rebuilding
from readvault.services.storage.rebuilding import record_reading
from readvault.services.storage.rebuilding.rebuild import LOST, rebuild
from readvault.services.storage.rebuilding.record_reading import AccessionRecords
from readvault.services.storage.rebuilding.records import export
from readvault.services.submission.new_entries import submit
from tests.fakes import MemoryStore
from tests.faults import invariants, rebuilt
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.services.published import released
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    claimed,
    manifests,
    of_next_pipeline,
    processed,
    result,
)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy."""
    path = tmp_path_factory.mktemp("empty") / "empty.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty(migrated: Path, tmp_path: Path) -> Iterator[Sessions]:
    """Another database, empty."""
    shutil.copyfile(migrated, tmp_path / "new.sqlite")
    sessions = Sessions(create_engine(f"sqlite:///{tmp_path / 'new.sqlite'}"))
    yield sessions
    sessions.close()


def again(house: House, empty: Sessions, *, said: list[str] | None = None) -> House:
    """What is in the bucket in another database."""
    export(house)
    new = replace(house, sessions=empty)
    rebuild(new, MAINTAINER, say=(said if said is not None else []).append)
    return new


def store_of(house: House) -> MemoryStore:
    assert isinstance(house.store, MemoryStore)
    return house.store


def test_what_was_released_and_what_was_not_comes_back_as_it_was(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)
    name, _ = released(house, group, accession="LOC_000001Y", reads=b"@r\nA\n+\nI\n")
    withdrawn, _ = released(house, group, accession="LOC_000002W")
    intervene(house, MAINTAINER, withdrawn, Step.WITHDRAW, "a wrong sample")
    open_one, digest = processed(house, group, accession="LOC_000003U")
    said: list[str] = []
    new = again(house, empty, said=said)
    assert said == []
    assert rebuilt.differences(house, new) == []
    assert [each.reason for each in history(new, MAINTAINER, withdrawn)] == ["a wrong sample"]
    assert not list(fsck(new))
    assert trail.verify(new).whole
    assert approve(new, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(open_one, digest)]) == [open_one]
    assert manifests(new, name)[0].digest == manifests(house, name)[0].digest


def test_new_accessions_go_on_beyond_those_that_were_given_out(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)

    def sent(house: House, name: str) -> str | None:
        [file] = upload(house, ALICE, group, name.encode())
        rows = tsv({"id": name, "date": "2020-01-01", "files.rawReads": f"{name}.fq:{file}", "platform": "ILLUMINA"})
        [entry] = submit(house, ALICE, ORGANISM, group_id=group, metadata=rows, metadata_name="m.tsv")
        return entry.accession

    names = [sent(house, "a"), sent(house, "b")]
    new = again(house, empty)
    assert sent(new, "c") not in names
    with new.sessions.read() as session:
        waiting = session.exec(select(Job.accession).where(Job.kind == "process-submission")).all()
    assert set(names) <= set(waiting)  # what was never processed is processed now


def test_groups_members_and_numbers_of_groups_come_back(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)
    with house.sessions.begin() as session:
        session.add(Group(id=group + 5, name="x", institution="", address={}, contact_email="", created_at=0.0))
    second = replace(house, settings=house.settings.model_copy(deep=True))
    second.settings.identity.issuer = "https://outside.example.org"
    add_member(second, ALICE, group, "bob")
    new = again(house, empty)
    assert get_group(new, BOB, group)[1] == ["alice", "bob"]
    assert group_of(new, BOB) > group


def test_a_database_with_anything_in_it_is_refused(house: House) -> None:
    group_of(house, ALICE)
    with pytest.raises(Conflict, match="not empty"):
        rebuild(house, MAINTAINER)


def test_only_maintainers_rebuild(house: House, empty: Sessions) -> None:
    with pytest.raises(Forbidden):
        rebuild(replace(house, sessions=empty), ALICE)


def test_a_rebuild_that_is_done_is_not_done_again(house: House, empty: Sessions) -> None:
    released(house, group_of(house, ALICE))
    new = again(house, empty)
    with pytest.raises(Conflict, match="not empty"):
        rebuild(new, MAINTAINER)


def test_broken_off_anywhere_it_goes_on(house: House, empty: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(house, ALICE)
    names = [released(house, group)[0] for _ in range(4)]
    export(house)
    new = replace(house, sessions=empty)
    real, left = rebuilding._restore, [2]

    def breaks(*given: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuilding, "PAGE", 1)
    monkeypatch.setattr(rebuilding, "_restore", breaks)
    with pytest.raises(KeyboardInterrupt):
        rebuild(new, MAINTAINER)
    monkeypatch.setattr(rebuilding, "_restore", real)
    read: list[str] = []
    read_accession = record_reading._read_accession

    def noted(store: ReadStore, accession: str, objects: list[record_reading.Listed]) -> AccessionRecords:
        read.append(accession)
        return read_accession(store, accession, objects)

    monkeypatch.setattr(record_reading, "_read_accession", noted)
    counts = rebuild(new, MAINTAINER)
    assert sorted(read) == sorted(name.accession for name in names)[2:]
    assert counts["accessions that were there already"] == 2
    assert counts["accessions"] == len(names) - 2
    assert rebuilt.differences(house, new) == []


def test_a_result_whose_bytes_are_others_is_refused_and_named(house: House, empty: Sessions) -> None:
    name, digest = released(house, group_of(house, ALICE))
    export(house)
    store = store_of(house)
    [key] = [key for key in store.versions if f"/{name.version}/result-0" in key]
    [(version_id, data)] = store.versions.pop(key)
    body = json.loads(data)
    body["rows"]["manifest"][0]["body"] = body["rows"]["manifest"][0]["body"].replace("2020", "2021")
    forged = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    store.versions[key[: -len(".json") - 64] + hashlib.sha256(forged).hexdigest() + ".json"] = [(version_id, forged)]
    said: list[str] = []
    new = again(house, empty, said=said)
    assert any(digest in line and str(name) in line for line in said)
    assert any("release" in line for line in said)
    assert manifests(new, name) == []


def test_a_record_with_other_bytes_gives_way_to_the_one_before(house: House, empty: Sessions) -> None:
    name, _ = released(house, group_of(house, ALICE))
    export(house)
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "a reason")
    export(house)
    store = store_of(house)
    key = max(key for key in store.versions if "/state-" in key)
    store.versions[key] = [("v", b"{}")]
    said: list[str] = []
    again(house, empty, said=said)
    assert said == [f"{key}: its bytes are not those that were written"]


def test_another_version_with_the_same_bytes_stands_for_one_that_is_gone(house: House, empty: Sessions) -> None:
    released(house, group_of(house, ALICE))
    export(house)
    store = store_of(house)
    key = next(key for key in store.versions if key.startswith("vault/"))
    store.versions[key] = [("other", b"x"), ("copied", store.versions[key][0][1])]
    said: list[str] = []
    new = again(house, empty, said=said)
    assert len(said) == 1
    assert "copied" in said[0]
    with new.sessions.read() as session:
        assert session.exec(select(StoredObject.version_id)).one() == "copied"
        assert session.exec(select(Repair.version_id)).one() == "copied"
    assert not [finding for finding in fsck(new) if finding.difference.loses_bytes]


def test_bytes_that_are_gone_are_named(house: House, empty: Sessions) -> None:
    released(house, group_of(house, ALICE))
    export(house)
    store = store_of(house)
    key = next(key for key in store.versions if key.startswith("vault/"))
    del store.versions[key]
    said: list[str] = []
    again(house, empty, said=said)
    assert said == [f"{key}: its bytes are not in the bucket"]


def test_the_second_bucket_serves_when_the_records_of_the_first_are_gone(house: House, empty: Sessions) -> None:
    second = MemoryStore()
    house = replace(house, second_store=second)
    released(house, group_of(house, ALICE))
    export(house)
    store = store_of(house)
    for key in [key for key in store.versions if key.startswith("records/")]:
        del store.versions[key]
    new = replace(house, sessions=empty)
    assert rebuild(new, MAINTAINER, source=second)[LOST] == 0
    assert rebuilt.differences(house, new) == []


def test_the_new_log_follows_the_last_end_of_the_old_one(house: House, empty: Sessions) -> None:
    released(house, group_of(house, ALICE))
    export(house)
    with house.sessions.read() as session:
        last = session.exec(select(AuditEntry).order_by(col(AuditEntry.id).desc())).first()
    assert last is not None
    new = again(house, empty)
    with new.sessions.read() as session:
        first, *_, end = session.exec(select(AuditEntry).order_by(col(AuditEntry.id))).all()
    assert (first.action, end.action) == ("begin rebuild", "rebuild")
    assert end.details["lastHead"] == {"id": last.id, "sha256": last.sha256}
    assert trail.verify(new).whole
    assert not trail.verify(house).whole  # the bucket knows that another log has begun


def test_invariants_hold_after_it(house: House, empty: Sessions) -> None:
    released(house, group_of(house, ALICE), reads=b"@r\nA\n+\nI\n")
    before = set(invariants.check(house, open_jobs=True))
    assert set(invariants.check(again(house, empty), open_jobs=True)) - before == set()


def test_hundreds_of_accessions_come_back_in_flat_memory(house: House, empty: Sessions) -> None:
    group = group_of(house, ALICE)
    many = rebuilt.ManyAccessions(store_of(house), group, 300)
    counts = rebuild(replace(house, sessions=empty, store=many), MAINTAINER)
    assert (counts["accessions"], counts[LOST]) == (300, 1)  # the group's own record is not there
    assert many.most_read_ahead < 100


def test_what_was_decided_of_newer_results_comes_back(house: House, empty: Sessions) -> None:
    """An unreleased entry must not get its worse result, nor a called-off reprocessing begin anew, by a loss."""
    group = group_of(house, ALICE)
    public, hidden = released(house, group)[0], processed(house, group)[0]
    later = of_next_pipeline(house)
    feeding.feed(later)
    with house.sessions.read() as session:
        queued = session.exec(select(Job).where(col(Job.reprocessing_id).is_not(None))).all()
    for job in queued:
        claim = claimed(later, job.id)
        errors = (ERROR,) if job.accession == hidden.accession else ()
        jobs.register(later, claim, result(house, claim, text=b">main\nTTTT\n", errors=errors))
    decisions.roll_back(house, MAINTAINER, public, "it is wrong after all")
    orders.cancel(house, MAINTAINER, 1)
    new = again(later, empty)
    assert rebuilt.differences(later, new) == []
    for name in (public, hidden):
        assert json.loads(manifest(new, ALICE, ORGANISM, name).body)["pipelineVersion"] == 1
    assert json.loads(manifest(new, None, ORGANISM, public, 2).body)["pipelineVersion"] == 2
    assert [each.row.state for each in orders.page(new, MAINTAINER)] == ["cancelled"]
    assert feeding.feed(new) == feeding.begin_again(new) == 0
