"""What the database says lies in the bucket too, soon after each commit, and the audit log's ends with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from readvault.db import immutability, records
from readvault.db.tables import PendingRecord
from readvault.domain.actor import Actor
from readvault.domain.interventions import Step
from readvault.failpoints import failpoint
from readvault.services import trail
from readvault.services.house import House
from readvault.services.people.groups import edit_group, remove_member
from readvault.services.release.interventions import intervene
from readvault.services.storage.integrity import copies
from readvault.services.storage.rebuilding.records import export, queue_head, queued
from readvault.services.submission import terms
from readvault.services.uploads import limits
from tests.fakes import MemoryStore
from tests.houses import ALICE, GROUP, MAINTAINER, group_of
from tests.integration.services.published import make_current, processed_again, released
from tests.integration.services.scenes import processed


def store_of(house: House) -> MemoryStore:
    assert isinstance(house.store, MemoryStore)
    return house.store


def newest(house: House, prefix: str) -> dict[str, Any]:
    """The rows of the newest document under a prefix, once all is exported."""
    export(house)
    store = store_of(house)
    key = max(key for key in store.versions if key.startswith(prefix))
    rows: dict[str, Any] = json.loads(store.versions[key][-1][1])["rows"]
    return rows


def test_a_released_version_is_told_in_full(house: House) -> None:
    group = group_of(house, ALICE)
    name, digest = released(house, group, accession="LOC_000001Y")
    told = newest(house, f"records/{name.accession}/1/state-")
    assert told["entry_version"][0]["submitted_metadata"] == {"date": "2020-01-01"}
    assert told["entry_version"][0]["released"] is True
    assert [row["approver"] for row in told["release"]] == ["alice"]
    assert [row["digest"] for row in told["results"]] == [digest]
    assert told["uploaded_file"][0]["version_id"]
    result = newest(house, f"records/{name.accession}/1/result-")
    assert result["manifest"][0]["processed_data"]["metadata"] == {"date": "2020-01-01"}
    assert result["manifest"][0]["private_body"]
    assert result["stored_object"][0]["key"].startswith("vault/")
    assert result["manifest_file"][0]["file_id"]


def test_what_becomes_of_a_version_later_is_told(house: House) -> None:
    name, _ = released(house, group_of(house, ALICE))
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "a reason")
    told = newest(house, f"records/{name.accession}/1/state-")
    assert [row["reason"] for row in told["intervention"]] == ["a reason"]


def test_the_result_of_a_newer_pipeline_is_told_when_it_is_published(house: House) -> None:
    name, _ = released(house, group_of(house, ALICE))
    make_current(house, name, processed_again(house, name, b">main\nACGA\n"))
    with house.sessions.begin() as session:
        records.changed(session, [name])
    told = newest(house, f"records/{name.accession}/1/state-")
    assert len(told["results"]) == 2
    assert told["current_result"][0]["reason"] == "a better pipeline"


def test_a_group_and_its_members_are_told_without_any_password(house: House) -> None:
    group = group_of(house, ALICE)
    edit_group(house, ALICE, group, GROUP.model_copy(update={"group_name": "New"}))
    remove_member(house, ALICE, group, "alice")
    told = newest(house, f"records/groups/{group:09d}/")
    assert told["submitting_group"][0]["name"] == "New"
    assert told["group_member"] == []
    assert not any("user_account" in str(each) for each in store_of(house).versions.values())


def test_other_limits_are_told(house: House) -> None:
    group = group_of(house, ALICE)
    limits.set_limits(house, MAINTAINER, f"group:{group}", reason="a reason", bytes_total=5)
    export(house)
    [key] = [key for key in store_of(house).versions if key.startswith("records/limits/")]
    assert json.loads(store_of(house).versions[key][0][1])["limits"]["bytes_total"] == 5


def test_other_terms_of_many_are_queued_at_once_and_told_one_by_one(house: House) -> None:
    house = replace(house, settings=house.settings.model_copy(update={"data_use_terms": True}))
    group = group_of(house, ALICE)
    many = {"terms_type": "RESTRICTED", "restricted_until": "2999-01-01"}
    names = [processed(house, group, **many)[0].accession for _ in range(3)]
    export(house)
    terms.change(house, ALICE, names, terms_type="OPEN", restricted_until=None)
    assert queued(house) == 3
    told = [newest(house, f"records/{name}/terms-")["data_use_terms"] for name in names]
    assert [[row["terms_type"] for row in rows] for rows in told] == [["RESTRICTED", "OPEN"]] * 3


def test_nothing_queued_costs_one_look(house: House) -> None:
    assert export(house) == 0
    assert store_of(house).calls == []


def test_a_record_that_was_written_and_not_taken_off_is_written_again_to_no_harm(
    house: House,
) -> None:
    group_of(house, ALICE)
    with house.sessions.begin() as session:
        records.queue(session, "records/repairs", {"repair": {}})
        rows = [row.model_dump() for row in session.exec(select(PendingRecord))]
    export(house)
    with house.sessions.begin() as session:
        session.add_all(PendingRecord(**row) for row in rows)
    export(house)
    assert queued(house) == 0
    repairs = [each for key, each in store_of(house).versions.items() if key.startswith("records/repairs/")]
    assert [len(versions) for versions in repairs] == [1]


def test_a_number_of_the_queue_is_never_used_again(house: House) -> None:
    group_of(house, ALICE)
    with house.sessions.read() as session:
        [before] = session.exec(select(PendingRecord.id)).all()
    export(house)
    group_of(house, ALICE)
    with house.sessions.read() as session:
        [after] = session.exec(select(PendingRecord.id)).all()
    assert after != before  # else whoever is slow to take off what he wrote takes off what is new


def test_broken_off_between_two_records_the_rest_comes_next_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        group_of(house, ALICE)
    left = [1]

    def dies(name: str) -> None:
        failpoint(name)
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    monkeypatch.setattr("readvault.services.storage.rebuilding.records.failpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        export(house)
    monkeypatch.undo()
    assert 0 < queued(house) < 3
    export(house)
    assert queued(house) == 0
    assert len({key.split("/")[2] for key in store_of(house).versions if key.startswith("records/groups/")}) == 3


def test_with_the_bucket_down_everything_stays_queued(house: House) -> None:
    group_of(house, ALICE)
    before = queued(house)
    store_of(house).down = True
    assert export(house) == 0
    assert queued(house) == before


def test_the_second_bucket_gets_every_record_too(house: House) -> None:
    second = MemoryStore()
    released(replace(house, second_store=second), group_of(house, ALICE))
    export(replace(house, second_store=second))
    told = {key for key in store_of(house).versions if key.startswith("records/")}
    assert told == set(second.versions)


def test_a_second_bucket_that_is_down_holds_up_no_record_of_the_first(house: House) -> None:
    """Else a long outage of the one would leave nothing to restore a lost database from in the other."""
    both = replace(house, second_store=MemoryStore(down=True))
    second = both.second_store
    assert isinstance(second, MemoryStore)
    released(both, group_of(both, ALICE))
    assert export(both) > 3
    assert queued(both) == 0
    assert len(second.calls) == 1  # each try may take minutes
    second.down = False
    copies.make(both)
    told = {key for key in store_of(house).versions if key.startswith("records/")}
    assert len(told) > 3
    assert told <= set(second.versions)


def cut(house: House, statement: str) -> None:
    with house.sessions.begin() as session:
        immutability.lift(session.connection())
        session.connection().execute(text(statement))


def test_an_approval_exports_the_end_of_the_log_and_locks_it(house: House) -> None:
    released(house, group_of(house, ALICE))
    export(house)
    heads = [key for key in store_of(house).versions if key.startswith("records/audit/")]
    assert len(heads) == 1
    assert [key for key, _ in store_of(house).locked] == heads
    verdict = trail.verify(house)
    assert (verdict.whole, verdict.heads) == (True, 1)


CUTS = {
    "the last row": "DELETE FROM audit_log WHERE id = (SELECT MAX(id) FROM audit_log)",
    "all rows": "DELETE FROM audit_log",
}


@pytest.mark.parametrize("statement", CUTS.values(), ids=CUTS.keys())
def test_rows_cut_off_at_the_end_are_found_by_the_exported_end(house: House, statement: str) -> None:
    group_of(house, Actor("carol"))
    group_of(house, ALICE)
    assert queue_head(house)
    export(house)
    cut(house, statement)
    verdict = trail.verify(house)
    assert not verdict.whole
    assert "bucket" in verdict.fault


def test_the_end_of_an_empty_log_is_nothing(house: House) -> None:
    assert not queue_head(house)
    assert queued(house) == 0
