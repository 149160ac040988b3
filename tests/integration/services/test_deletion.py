"""Deleting what was never released: nothing of it stays but its name, which is never used again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import SQLModel, col, select

from readvault.db.tables import DeletedEntryVersion, Job, PartialResult, SentBack, UploadedFile
from readvault.domain.errors import Conflict, Forbidden, LeaseLost, ReadvaultError, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.reprocessing import process_again
from readvault.services.review.approval import Scope as ApprovalScope
from readvault.services.review.approval import approve
from readvault.services.submission.deletion import Scope, delete_versions
from readvault.services.submission.revocation import revoke
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.life import at_once, counts, released, revised, status
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    READY,
    WARNING,
    audit_log,
    claimed,
    entry,
    group,
    manifests,
    of_next_pipeline,
    processed,
    result,
)


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _delete(
    house: House, *names: AccessionVersion, actor: Any = ALICE, scope: Scope = Scope.ALL, **filters: Any
) -> list[AccessionVersion]:
    return delete_versions(house, actor, ORGANISM, scope=scope, accession_versions=list(names) or None, **filters)


def _refused(
    house: House, *names: AccessionVersion, error: type[ReadvaultError] = Unprocessable, **options: Any
) -> str:
    before = counts(house)
    with pytest.raises(error) as refusal:
        _delete(house, *names, **options)
    assert counts(house) == before
    return str(refusal.value)


def _rows_about(house: House, name: AccessionVersion) -> set[str]:
    """The tables that still have rows about an accession version."""
    tables = SQLModel.metadata.tables
    with house.sessions.read() as session:
        return {
            table.name
            for table in tables.values()
            if {"accession", "version"} <= set(table.c.keys())
            and session.execute(
                table.select().where(table.c.accession == name.accession, table.c.version == name.version)
            ).first()
        }


def test_received_and_processed_versions_go_with_all_that_belongs_to_them(house: House, mine: int) -> None:
    received, _ = entry(house, mine)
    good, _ = processed(house, mine)
    bad, _ = processed(house, mine, errors=(ERROR,))
    with house.sessions.begin() as session:
        session.add(SentBack(manifest_id=manifests(house, good)[0].id or 0, reason="no", sent_by="alice", sent_at=1.0))
        session.add(
            PartialResult(accession=good.accession, version=1, pipeline_version=1, source="readvault", body="{}",
                          processed_data={}, errors=[], warnings=[], files=[], created_at=1.0)
        )  # fmt: skip
    assert _delete(house, bad, received, good) == sorted([received, good, bad])
    for name in (received, good, bad):
        assert _rows_about(house, name) == {"deleted_entry_version"}
    assert audit_log(house)[-1].details == {"versions": [str(name) for name in sorted([received, good, bad])]}
    with house.sessions.read() as session:
        gone = session.exec(select(DeletedEntryVersion)).all()
        assert {(row.deleted_by, row.group_id, row.organism) for row in gone} == {("alice", mine, ORGANISM)}
        assert len(session.exec(select(UploadedFile)).all()) == 3, "the uploads stay the group's"


def test_a_revocation_that_is_not_approved_can_be_taken_back(house: House, mine: int) -> None:
    name = released(house, mine)
    revoke(house, ALICE, ORGANISM, accessions=[name.accession])
    second = AccessionVersion(name.accession, 2)
    assert _delete(house, second) == [second]
    assert status(house, name) == "APPROVED_FOR_RELEASE"
    assert revised(house, {"accession": name.accession})[0].version == 3, "version 2 was used"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope.ALL, ["received", "good", "warned", "bad"]),
        (Scope.PROCESSED_WITH_ERRORS, ["bad"]),
        (Scope.PROCESSED_WITH_WARNINGS, ["warned"]),
    ],
)
def test_scopes_without_names(house: House, mine: int, scope: Scope, expected: list[str]) -> None:
    made = {
        "received": entry(house, mine)[0],
        "good": processed(house, mine)[0],
        "warned": processed(house, mine, warnings=(WARNING,))[0],
        "bad": processed(house, mine, errors=(ERROR,))[0],
        "public": released(house, mine),
    }
    running, job_id = entry(house, mine)
    claimed(house, job_id)
    theirs, _ = entry(house, group(house, "bob"))
    assert _delete(house, scope=scope) == sorted(made[kind] for kind in expected)
    assert status(house, running) == "IN_PROCESSING"
    assert status(house, theirs) == "RECEIVED"
    assert status(house, made["public"]) == "APPROVED_FOR_RELEASE"


def test_a_scope_narrows_what_is_named(house: House, mine: int) -> None:
    good, _ = processed(house, mine)
    warned, _ = processed(house, mine, warnings=(WARNING,))
    assert _delete(house, good, warned, scope=Scope.PROCESSED_WITH_WARNINGS) == [warned]
    assert status(house, good) == "PROCESSED"


def test_groups(house: House, mine: int) -> None:
    other = group(house, "alice")
    here, _ = entry(house, mine)
    there, _ = entry(house, other)
    foreign = group(house, "bob")
    _refused(house, error=Forbidden, group_ids=[foreign])
    assert _delete(house, group_ids=[other]) == [there]
    assert status(house, here) == "RECEIVED"


def test_empty_lists_delete_nothing(house: House, mine: int) -> None:
    entry(house, mine)
    assert delete_versions(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[]) == []
    assert delete_versions(house, ALICE, ORGANISM, scope=Scope.ALL, group_ids=[]) == []


def test_a_maintainer_deletes_for_all_groups(house: House, mine: int) -> None:
    name, _ = entry(house, mine)
    other, _ = entry(house, group(house, "bob"))
    assert _delete(house, actor=MAINTAINER) == sorted([name, other])


def test_refusals(house: House, mine: int) -> None:
    name, _ = entry(house, mine)
    _refused(house, name, actor=None, error=Unauthenticated)
    assert "bob is not a member of group(s)" in _refused(house, name, actor=BOB, error=Forbidden)
    first, second = AccessionVersion("1", 123), AccessionVersion("123", 1)
    assert "Accession versions 1.123, 123.1 do not exist" in _refused(house, second, first, name)
    foreign, _ = entry(house, mine, organism="other")
    assert f"are not of organism {ORGANISM}: {foreign}" in _refused(house, foreign)
    running, job_id = entry(house, mine)
    claimed(house, job_id)
    public = released(house, mine)
    wrong = ", ".join(sorted([f"{running} - IN_PROCESSING", f"{public} - APPROVED_FOR_RELEASE"]))
    text = f"Accession versions are not in one of the states [RECEIVED, PROCESSED]: {wrong}"
    assert _refused(house, public, running, name) == text


# Workers and races


def test_a_worker_that_processes_it_again_has_lost_the_job(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    newer = of_next_pipeline(house)
    claim = jobs.claim(newer, process_again(newer, name, "a reason", "maintainer"), "worker", READY)
    assert claim is not None
    late = result(newer, claim)
    _delete(newer, name)
    for late_work in (
        lambda: jobs.inputs_of(newer, claim),
        lambda: jobs.record_hashes(newer, claim, {}),
        lambda: jobs.register(newer, claim, late),
        lambda: jobs.complete(newer, claim),
        lambda: jobs.give_up(newer, claim, "cause", counted=True),
    ):
        with pytest.raises(LeaseLost):
            late_work()
    assert _rows_about(house, name) == {"deleted_entry_version"}


def test_a_claim_and_a_deletion_at_once(house: House, mine: int) -> None:
    """Either a worker has it and it stays, or it is gone and nobody gets it."""
    for _ in range(4):
        name, job_id = entry(house, mine)
        claim, deleted = at_once(
            lambda j=job_id: jobs.claim(house, j, "worker", READY), lambda n=name: _delete(house, n)
        )
        if isinstance(deleted, list):
            assert claim is None
            assert _rows_about(house, name) == {"deleted_entry_version"}
        else:
            assert isinstance(deleted, Unprocessable), deleted
            assert claim is not None
            assert status(house, name) == "IN_PROCESSING"


def test_an_approval_and_a_deletion_at_once(house: House, mine: int) -> None:
    for _ in range(4):
        name, digest = processed(house, mine)
        approved, deleted = at_once(
            lambda n=name, d=digest: approve(
                house, ALICE, ORGANISM, scope=ApprovalScope.ALL, accession_versions=[(n, d)]
            ),
            lambda n=name: _delete(house, n),
        )
        if isinstance(approved, list):
            assert isinstance(deleted, Unprocessable), deleted
            assert status(house, name) == "APPROVED_FOR_RELEASE"
        else:
            assert isinstance(approved, Unprocessable | Conflict), approved
            assert deleted == [name]
            assert status(house, name) is None


def test_a_registration_and_a_deletion_at_once(house: House, mine: int) -> None:
    newer = of_next_pipeline(house)
    for number in range(4):
        name, _ = processed(house, mine)
        claim = jobs.claim(newer, process_again(newer, name, "a reason", "maintainer"), "worker", READY)
        assert claim is not None
        made = result(newer, claim, text=f">main\nACGT{'A' * number}\n".encode())
        registered, deleted = at_once(
            lambda c=claim, m=made: jobs.register(newer, c, m), lambda n=name: _delete(newer, n)
        )
        assert isinstance(registered, str | LeaseLost), registered
        assert deleted == [name]
        assert _rows_about(house, name) == {"deleted_entry_version"}


def test_two_deletions_at_once(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    answers = at_once(*(lambda: _delete(house, name) for _ in range(3)))
    assert sum(answer == [name] for answer in answers) == 1, answers
    with house.sessions.read() as session:
        assert session.exec(select(Job).where(col(Job.accession) == name.accession)).all() == []
