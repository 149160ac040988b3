"""Approval: what a person saw becomes public, once, or nothing does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.db import audit
from readvault.db.tables import Job, Manifest, Release
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, LeaseLost, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Review
from readvault.domain.status import JobKind, JobState, Status
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review import approval, listing
from readvault.services.review.approval import Scope, approve
from tests.fakes import RecordingOrchestrator
from tests.houses import ALICE, BOB, MAINTAINER, organism
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    WARNING,
    audit_log,
    change,
    claimed,
    entry,
    group,
    job,
    manifests,
    of_next_pipeline,
    processed,
    result,
)


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _approve(
    house: House,
    *named: AccessionVersion | tuple[AccessionVersion, str | None],
    actor: Actor | None = ALICE,
    scope: Scope = Scope.ALL,
    **filters: Any,
) -> list[AccessionVersion]:
    versions = [each if isinstance(each, tuple) else (each, None) for each in named]
    return approve(house, actor, ORGANISM, scope=scope, accession_versions=versions or None, **filters)


def _releases(house: House) -> dict[AccessionVersion, Release]:
    with house.sessions.read() as session:
        return {AccessionVersion(row.accession, row.version): row for row in session.exec(select(Release))}


def _release_jobs(house: House) -> list[Job]:
    with house.sessions.read() as session:
        return list(session.exec(select(Job).where(Job.kind == JobKind.RELEASE.value)))


def test_an_approved_version_is_released_with_the_manifest_that_was_seen(
    house: House, mine: int, orchestrator: RecordingOrchestrator
) -> None:
    name, digest = processed(house, mine)
    assert _approve(house, (name, digest)) == [name]
    release = _releases(house)[name]
    (manifest,) = manifests(house, name)
    assert (release.manifest_id, release.approver, release.digest_was_given) == (manifest.id, "alice", True)
    (row,) = _release_jobs(house)
    assert (row.accession, row.version, row.state) == (name.accession, name.version, "queued")
    assert [(delivery.job_id, delivery.kind) for delivery in orchestrator.deliveries] == [(row.id, "release")]
    line = audit_log(house)[-1]
    assert (line.actor, line.action, line.subject) == ("alice", "approve", ORGANISM)
    assert line.details["approved"] == [
        {"accessionVersion": str(name), "manifestDigest": digest, "digestWasGiven": True}
    ]
    with house.sessions.read() as session:
        assert audit.verify(session) == []


def test_without_a_digest_the_current_manifest_is_approved_and_the_audit_log_says_so(house: House, mine: int) -> None:
    name, digest = processed(house, mine)
    assert _approve(house, name) == [name]
    assert not _releases(house)[name].digest_was_given
    (approved,) = audit_log(house)[-1].details["approved"]
    assert approved == {"accessionVersion": str(name), "manifestDigest": digest, "digestWasGiven": False}


def test_another_digest_approves_nothing_of_the_request(house: House, mine: int) -> None:
    first, digest = processed(house, mine)
    second, _ = processed(house, mine, text=b">main\nTTTT\n")
    with pytest.raises(Conflict, match=f"have changed since they were reviewed: {second}"):
        _approve(house, (first, digest), (second, digest))
    assert _releases(house) == {}
    assert _release_jobs(house) == []


def test_an_organism_can_demand_digests(house: House, mine: int, tmp_path: Any) -> None:
    strict = replace(house, organisms={ORGANISM: organism(tmp_path, review=Review(require_digest=True))})
    name, digest = processed(house, mine)
    with pytest.raises(Unprocessable, match=str(name)):
        _approve(strict, name)
    with pytest.raises(Unprocessable, match="needs the accession versions"):
        _approve(strict)
    assert _approve(strict, (name, digest)) == [name]


def test_a_named_version_must_be_processed_without_errors(house: House, mine: int) -> None:
    good, _ = processed(house, mine)
    received, job_id = entry(house, mine)
    with pytest.raises(Unprocessable) as refusal:
        _approve(house, good, received)
    assert str(refusal.value) == f"Accession versions are not in one of the states [PROCESSED]: {received} - RECEIVED"
    claimed(house, job_id)
    with pytest.raises(Unprocessable, match=f"{received} - IN_PROCESSING"):
        _approve(house, received)
    bad, _ = processed(house, mine, errors=(ERROR,))
    with pytest.raises(Unprocessable) as refusal:
        _approve(house, good, bad)
    assert str(refusal.value) == f"Accession versions have errors: {bad}"
    assert _releases(house) == {}


def test_a_released_version_is_not_approved_again(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    _approve(house, name)
    with pytest.raises(Unprocessable, match=f"{name} - APPROVED_FOR_RELEASE"):
        _approve(house, name)
    assert _approve(house) == []
    assert len(_release_jobs(house)) == 1


def test_unknown_versions_and_those_of_another_organism_are_refused(house: House, mine: int, tmp_path: Any) -> None:
    both = replace(house, organisms={**house.organisms, "rsv-b": organism(tmp_path, "rsv-b")})
    name, _ = processed(house, mine)
    with pytest.raises(Unprocessable, match=r"Accession versions LOC_NONE\.3 do not exist"):
        _approve(house, name, AccessionVersion("LOC_NONE", 3))
    with pytest.raises(Unprocessable, match=f"not of organism rsv-b: {name}"):
        approve(both, ALICE, "rsv-b", scope=Scope.ALL, accession_versions=[(name, None)])
    with pytest.raises(BadRequest, match="Invalid organism"):
        approve(house, ALICE, "ebola", scope=Scope.ALL)
    assert approve(both, ALICE, "rsv-b", scope=Scope.ALL) == []


def test_only_the_group_and_maintainers_approve(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    for call in (lambda: _approve(house, name, actor=BOB), lambda: _approve(house, actor=BOB, group_ids=[mine])):
        with pytest.raises(Forbidden, match=r"User bob is not a member of group\(s\)"):
            call()
    assert _approve(house, actor=BOB) == []
    for named in ((name,), ()):
        with pytest.raises(Unauthenticated):
            _approve(house, *named, actor=None)
    assert _releases(house) == {}
    assert _approve(house, name, actor=MAINTAINER) == [name]


def test_without_names_everything_approvable_is_approved_and_the_rest_skipped(house: House, mine: int) -> None:
    other = group(house, "bob")
    good, _ = processed(house, mine)
    warned, _ = processed(house, mine, warnings=(WARNING,))
    processed(house, mine, errors=(ERROR,))
    entry(house, mine)
    foreign, _ = processed(house, other)
    assert _approve(house, scope=Scope.WITHOUT_WARNINGS) == [good]
    assert _approve(house, scope=Scope.ALL) == [warned]
    assert set(_releases(house)) == {good, warned}
    assert _approve(house, actor=MAINTAINER) == [foreign]


def test_filters_narrow_what_is_approved(house: House, mine: int) -> None:
    second = group(house, "alice")
    a, _ = processed(house, mine, submitter="alice")
    b, _ = processed(house, mine, submitter="carol")
    c, _ = processed(house, second, warnings=(WARNING,))
    assert _approve(house, submitters=["carol"]) == [b]
    assert _approve(house, group_ids=[second]) == [c]
    assert _approve(house, a, group_ids=[second]) == []
    assert _approve(house, a, submitters=["alice"], scope=Scope.WITHOUT_WARNINGS) == [a]


def test_named_versions_with_warnings_are_left_out_when_asked(house: House, mine: int) -> None:
    warned, _ = processed(house, mine, warnings=(WARNING,))
    assert _approve(house, warned, scope=Scope.WITHOUT_WARNINGS) == []
    assert _approve(house, warned, warned) == [warned]


def test_the_newest_result_is_what_is_approved(house: House, mine: int) -> None:
    """A superseded manifest and one of an older pipeline version are not."""
    name, old = processed(house, mine)
    with house.sessions.read() as session:
        job_id = session.exec(select(Job.id)).one()
    change(house, job_id, state=JobState.QUEUED.value)
    claim = claimed(of_next_pipeline(house), job_id)
    new = jobs.register(house, claim, result(house, claim))
    assert new != old
    with pytest.raises(Conflict):
        _approve(house, (name, old))
    assert _approve(house, (name, new)) == [name]
    with house.sessions.read() as session:
        manifest = session.get_one(Manifest, _releases(house)[name].manifest_id)
        assert (manifest.digest, manifest.pipeline_version) == (new, 2)


def _at_once(*bodies: Callable[[], object]) -> list[object]:
    """What these calls return, or raise, when they start at the same moment."""
    start = threading.Barrier(len(bodies))
    answers: list[object] = [None] * len(bodies)

    def run(number: int) -> None:
        start.wait()
        try:
            answers[number] = bodies[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_racing_approvers_exactly_one_wins(house: House, mine: int) -> None:
    """Named or not: one release, one job; the others are told that it is released."""
    for with_name in (True, False, True, False):
        name, digest = processed(house, mine, files=())
        named: Sequence[tuple[AccessionVersion, str | None]] = [(name, digest)] if with_name else []
        answers = _at_once(*(lambda named=named: _approve(house, *named) for _ in range(4)))  # type: ignore[misc]
        winners = [answer for answer in answers if answer == [name]]
        assert len(winners) == 1
        for answer in answers:
            assert answer in ([name], []) or isinstance(answer, Unprocessable | Conflict)
    assert len(_releases(house)) == len(_release_jobs(house)) == 4


def test_approval_and_a_new_result_at_once_end_with_one_winner(house: House, mine: int) -> None:
    """Either the old result is released and the new one refused, or the new one stands and approval is refused."""
    outcomes = set()
    for _ in range(6):
        name, old = processed(house, mine, files=())
        with house.sessions.read() as session:
            job_id = session.exec(select(Job.id).where(Job.accession == name.accession)).one()
        change(house, job_id, state=JobState.QUEUED.value)
        claim = claimed(house, job_id)
        made = result(house, claim, text=b">main\nTTTT\n")
        approved, registered = _at_once(
            lambda name=name, old=old: _approve(house, (name, old)),  # type: ignore[misc]
            lambda claim=claim, made=made: jobs.register(house, claim, made),  # type: ignore[misc]
        )
        current = [row.digest for row in manifests(house, name) if row.superseded_at is None]
        if approved == [name]:
            assert isinstance(registered, LeaseLost)
            assert current == [old]
            assert job(house, job_id).state == "needs attention"
        else:
            assert isinstance(approved, Conflict)
            assert current == [registered]
            assert name not in _releases(house)
        outcomes.add(type(approved))
    assert outcomes <= {list, Conflict}


def test_nothing_is_released_when_the_commit_fails(
    house: House, mine: int, monkeypatch: pytest.MonkeyPatch, orchestrator: RecordingOrchestrator
) -> None:
    processed(house, mine)

    def broken(*_: object) -> None:
        raise RuntimeError("the connection is gone")

    monkeypatch.setattr(audit, "append", broken)
    with pytest.raises(RuntimeError):
        _approve(house)
    assert _releases(house) == {}
    assert _release_jobs(house) == orchestrator.deliveries == []


def test_approval_does_not_need_the_orchestrator(house: House, mine: int, orchestrator: RecordingOrchestrator) -> None:
    name, _ = processed(house, mine)
    orchestrator.down = True
    assert _approve(house) == [name]
    listed = listing.list_entries(house, ALICE, ORGANISM)
    assert [row["status"] for row in listed["sequenceEntries"]] == [Status.APPROVED_FOR_RELEASE]


def test_many_are_approved_in_pages(house: House, mine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "PAGE", 2)
    names = sorted(processed(house, mine, files=())[0] for _ in range(5))
    assert _approve(house, *names) == names
    assert [len(line.details["approved"]) for line in audit_log(house)[-3:]] == [2, 2, 1]
    assert len(_release_jobs(house)) == 5


@pytest.mark.parametrize("role", ["negativeControl", "PositiveControl"])
def test_controls_are_never_released(house: House, mine: int, role: str) -> None:
    control, _ = processed(house, mine, submitted_metadata={"date": "2020-01-01", "sampleRole": role})
    sample, _ = processed(house, mine, submitted_metadata={"date": "2020-01-01", "sampleRole": "sample"})
    with pytest.raises(Unprocessable, match=f"are controls .* never released: {control} - {role}$"):
        _approve(house, sample, control)
    assert _approve(house) == [sample]
    assert list(_releases(house)) == [sample]
