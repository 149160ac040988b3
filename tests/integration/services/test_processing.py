"""Jobs: exactly one worker does each, and only the one that holds it can write."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from sqlmodel import col, func, select, update

from readvault.config import WorkerSettings
from readvault.db import audit
from readvault.db.tables import Job, Manifest, ManifestFile, StoredObject, UploadedFile
from readvault.domain.errors import Conflict, Forbidden, LeaseLost, NotFound, ProcessingFailure
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim
from readvault.services.queue.fence import LONGEST_SILENCE
from readvault.services.review import approval
from tests.houses import ALICE, MAINTAINER
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    READY,
    audit_log,
    change,
    claimed,
    entry,
    group,
    job,
    let_lease_run_out,
    make_due,
    manifests,
    of_next_pipeline,
    result,
)


@pytest.fixture
def job_id(house: House) -> str:
    return entry(house, group(house, "alice"))[1]


def test_a_claim_says_what_to_do_and_counts_itself(house: House, job_id: str) -> None:
    claim = claimed(house, job_id, "host:1")
    row = job(house, job_id)
    assert claim == Claim(
        job_id=job_id,
        attempt=1,
        kind=JobKind.PROCESS_SUBMISSION,
        organism=ORGANISM,
        accession_version=claim.accession_version,
        pipeline_version=1,
        worker="host:1",
        group_id=1,
    )
    assert str(claim.accession_version) == f"{row.accession}.{row.version}"
    assert (row.state, row.attempt, row.lease_owner) == ("running", 1, "host:1")


def test_nothing_to_claim(house: House, job_id: str) -> None:
    """Unknown, of an organism that can't be screened here, not due, leased, done, needing attention."""
    assert jobs.claim(house, "no such job", "w", READY) is None
    assert jobs.claim(house, job_id, "w", frozenset()) is None
    change(house, job_id, not_before=job(house, job_id).not_before + 1000)
    assert jobs.claim(house, job_id, "w", READY) is None
    make_due(house, job_id)
    claim = claimed(house, job_id)
    assert jobs.claim(house, job_id, "other", READY) is None
    jobs.complete(house, claim)
    assert jobs.claim(house, job_id, "w", READY) is None
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value)
    assert jobs.claim(house, job_id, "w", READY) is None
    assert job(house, job_id).attempt == 1


def test_a_job_is_done_and_registered_under_the_rules_that_the_worker_has(house: House, job_id: str) -> None:
    """The organism's file has got a new version since the job was written."""
    claim = claimed(of_next_pipeline(house), job_id)
    assert claim.pipeline_version == job(house, job_id).pipeline_version == 2
    jobs.register(house, claim, result(house, claim))
    assert [row.pipeline_version for row in manifests(house, claim.accession_version)] == [2]


def test_release_jobs_need_no_host_index(house: House, job_id: str) -> None:
    change(house, job_id, kind=JobKind.RELEASE.value)
    claim = jobs.claim(house, job_id, "w", frozenset())
    assert claim is not None
    assert claim.kind is JobKind.RELEASE


def _race(workers: int, body: Callable[[int], object]) -> list[object]:
    """What `workers` threads get that start at the same moment."""
    start = threading.Barrier(workers)
    answers: list[object] = [None] * workers

    def run(number: int) -> None:
        start.wait()
        answers[number] = body(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_racing_claimers_exactly_one_wins(house: House) -> None:
    group_id = group(house, "alice")
    for round_ in range(5):
        job_id = entry(house, group_id, files=())[1]
        if round_ % 2:
            claimed(house, job_id, "dead")
            let_lease_run_out(house, job_id)
        answers = _race(6, lambda n, job_id=job_id: jobs.claim(house, job_id, f"w{n}", READY))  # type: ignore[misc]
        winners = [answer for answer in answers if isinstance(answer, Claim)]
        assert len(winners) == 1
        assert job(house, job_id).lease_owner == winners[0].worker


def test_the_job_of_a_dead_worker_runs_alone_next_and_is_not_blamed(house: House, job_id: str) -> None:
    claimed(house, job_id, "dead")
    let_lease_run_out(house, job_id)
    claim = claimed(house, job_id, "alive")
    row = job(house, job_id)
    assert (claim.attempt, claim.runs_alone) == (2, True)
    assert (row.handbacks, row.failures, row.lease_owner) == (1, 0, "alive")


def test_a_job_whose_workers_all_died_needs_attention(house: House, job_id: str) -> None:
    limit = house.settings.worker.max_handbacks
    for number in range(limit + 1):
        claimed(house, job_id)
        change(house, job_id, run_id=f"run {number}")
        let_lease_run_out(house, job_id)
    assert jobs.claim(house, job_id, "w", READY) is None
    row = job(house, job_id)
    assert (row.state, row.attempt, row.handbacks) == ("needs attention", limit + 1, limit + 1)
    assert row.run_id == f"run {limit}", "a maintainer may look at it"


def test_inputs_are_the_sealed_files_in_the_submitters_order(house: House) -> None:
    name, job_id = entry(house, group(house, "alice"), files=(b"one", b"two"), submitted_sequences={"main": "ACGT"})
    inputs = jobs.inputs_of(house, claimed(house, job_id))
    assert [file.label for file in inputs.files] == ["reads_0.fastq", "reads_1.fastq"]
    assert [house.store.read(file.stored) for file in inputs.files] == [b"one", b"two"]  # type: ignore[attr-defined]
    assert [file.declared_sha256 for file in inputs.files] == [hashlib.sha256(b).hexdigest() for b in (b"one", b"two")]
    assert all(file.sha256 is None and file.category == "rawReads" for file in inputs.files)
    assert inputs.metadata == {"date": "2020-01-01"}
    assert inputs.sequences == {"main": "ACGT"}
    assert (inputs.submission_id, inputs.submitter) == (f"sample-{name}", "alice")


def test_a_file_that_is_not_sealed_is_our_fault(house: House, job_id: str) -> None:
    with house.sessions.begin() as session:
        for file in session.exec(select(UploadedFile)):
            session.add(UploadedFile(**(file.model_dump() | {"id": "open", "sealed_at": None})))
        session.flush()
        from readvault.db.tables import EntryFile

        session.execute(update(EntryFile).values(file_id="open"))
    with pytest.raises(ProcessingFailure, match="not sealed"):
        jobs.inputs_of(house, claimed(house, job_id))


def test_our_hash_of_an_original_never_changes(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    (file,) = jobs.inputs_of(house, claim).files
    jobs.record_hashes(house, claim, {file.file_id: "a" * 64})
    jobs.record_hashes(house, claim, {file.file_id: "a" * 64})
    with pytest.raises(ProcessingFailure, match="integrity"):
        jobs.record_hashes(house, claim, {file.file_id: "b" * 64})
    assert jobs.inputs_of(house, claim).files[0].sha256 == "a" * 64


def test_a_result_becomes_current_and_ends_the_job(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    made = result(house, claim, reads=b"reads without human ones")
    digest = jobs.register(house, claim, made)
    (row,) = manifests(house, claim.accession_version)
    assert row.digest == digest == hashlib.sha256(row.body.encode()).hexdigest()
    assert (row.processing_result, row.superseded_at) == ("NO_ISSUES", None)
    done = job(house, job_id)
    assert (done.state, done.lease_owner, done.last_error) == ("done", None, None)
    assert done.finished_at is not None
    with house.sessions.read() as session:
        files = session.exec(select(ManifestFile).order_by(col(ManifestFile.category))).all()
        assert [(file.category, file.name) for file in files] == [
            ("consensus", "consensus.fasta"),
            ("dehumanizedReads", "dehumanized.fastq.gz"),
        ]
        assert len({file.file_id for file in files}) == 2
        assert audit.verify(session) == []
    assert audit_log(house)[-1].details["manifestDigest"] == digest


def test_registering_again_after_a_lost_answer_changes_nothing(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    made = result(house, claim)
    assert jobs.register(house, claim, made) == jobs.register(house, claim, made)
    assert len(manifests(house, claim.accession_version)) == 1
    assert len(audit_log(house)) == 1
    with pytest.raises(LeaseLost):
        jobs.register(house, claim, result(house, claim, text=b">main\nTTTT\n"))


def test_a_stale_attempt_writes_nothing(house: House, job_id: str) -> None:
    """The fence: each write of a worker that lost its job is refused, before and after the new one is done."""
    stale = claimed(house, job_id, "slow")
    (file,) = jobs.inputs_of(house, stale).files
    let_lease_run_out(house, job_id)
    fresh = claimed(house, job_id, "fast")
    writes: list[Callable[[], object]] = [
        lambda: jobs.record_hashes(house, stale, {file.file_id: "b" * 64}),
        lambda: jobs.register(house, stale, result(house, stale, text=b">main\nTTTT\n")),
        lambda: jobs.complete(house, stale),
        lambda: jobs.give_up(house, stale, "step: cause", counted=True),
        lambda: jobs.give_up(house, stale, "step: cause", counted=False),
    ]

    def refused() -> None:
        before = job(house, job_id).model_dump()
        for write in writes:
            with pytest.raises(LeaseLost):
                write()
        assert job(house, job_id).model_dump() == before

    refused()
    assert manifests(house, fresh.accession_version) == []
    digest = jobs.register(house, fresh, result(house, fresh))
    refused()
    assert [row.digest for row in manifests(house, fresh.accession_version)] == [digest]
    assert jobs.inputs_of(house, fresh).files[0].sha256 is None
    with house.sessions.read() as session:
        assert session.exec(select(func.count()).select_from(StoredObject)).one() == 1


def test_a_worker_that_was_silent_for_a_week_writes_nothing_though_nobody_took_its_job(
    house: House, job_id: str
) -> None:
    """What it has staged may have been collected as garbage, and its name forgotten, while it slept."""
    claim = claimed(house, job_id, "slow")
    change(house, job_id, lease_until=time.time() - LONGEST_SILENCE + 60)
    jobs.record_hashes(house, claim, {})
    change(house, job_id, lease_until=time.time() - LONGEST_SILENCE - 60)
    with pytest.raises(LeaseLost):
        jobs.register(house, claim, result(house, claim))
    assert manifests(house, claim.accession_version) == []


def test_of_two_attempts_that_register_at_once_only_the_holder_does(house: House) -> None:
    group_id = group(house, "alice")
    for _ in range(4):
        name, job_id = entry(house, group_id, files=())
        stale = claimed(house, job_id, "slow")
        let_lease_run_out(house, job_id)
        fresh = claimed(house, job_id, "fast")
        made = [result(house, stale, text=b">main\nTTTT\n"), result(house, fresh)]

        def attempt(number: int, claims: tuple[Claim, Claim] = (stale, fresh), made: list = made) -> object:  # type: ignore[type-arg]
            try:
                return jobs.register(house, claims[number], made[number])
            except LeaseLost:
                return None

        answers = _race(2, attempt)
        assert answers[0] is None
        assert [row.digest for row in manifests(house, name)] == [answers[1]]


def test_an_unreleased_result_is_superseded_by_the_next(house: House, job_id: str) -> None:
    first = claimed(house, job_id)
    jobs.register(house, first, result(house, first))
    change(house, job_id, state=JobState.QUEUED.value)
    second = claimed(house, job_id)
    digest = jobs.register(house, second, result(house, second, text=b">main\nTTTT\n"))
    old, new = manifests(house, second.accession_version)
    assert old.superseded_at is not None
    assert (new.digest, new.superseded_at) == (digest, None)


def test_the_same_result_again_stays_the_same_manifest(house: House, job_id: str) -> None:
    first = claimed(house, job_id)
    digest = jobs.register(house, first, result(house, first))
    change(house, job_id, state=JobState.QUEUED.value)
    second = claimed(house, job_id)
    assert jobs.register(house, second, result(house, second)) == digest
    (row,) = manifests(house, second.accession_version)
    assert row.superseded_at is None
    assert job(house, job_id).state == "done"


def test_a_released_result_is_never_superseded(house: House, job_id: str) -> None:
    """A run that ends after the approval with another result needs attention; with the same one it is done."""
    first = claimed(house, job_id)
    digest = jobs.register(house, first, result(house, first))
    approval.approve(house, ALICE, ORGANISM, scope=approval.Scope.ALL)
    change(house, job_id, state=JobState.QUEUED.value)
    second = claimed(house, job_id)
    with pytest.raises(LeaseLost):
        jobs.register(house, second, result(house, second, text=b">main\nTTTT\n"))
    assert [row.digest for row in manifests(house, second.accession_version)] == [digest]
    row = job(house, job_id)
    assert row.state == "needs attention"
    assert "released" in (row.last_error or "")
    jobs.retry(house, MAINTAINER, job_id)
    third = claimed(house, job_id)
    assert jobs.register(house, third, result(house, third)) == digest
    assert job(house, job_id).state == "done"


def test_equal_files_of_a_group_are_stored_once_and_other_groups_see_nothing(house: House) -> None:
    mine, other = group(house, "alice"), group(house, "bob")
    sha256 = hashlib.sha256(b">main\nACGT\n").hexdigest()
    first = claimed(house, entry(house, mine)[1])
    assert jobs.stored(house, first, sha256) is None
    jobs.register(house, first, result(house, first))
    second, foreign = claimed(house, entry(house, mine)[1]), claimed(house, entry(house, other)[1])
    assert jobs.stored(house, foreign, sha256) is None
    stored = jobs.stored(house, second, sha256)
    assert stored is not None
    assert stored.key == f"vault/{mine}/{sha256}"
    jobs.register(house, second, result(house, second))
    jobs.register(house, foreign, result(house, foreign))
    with house.sessions.read() as session:
        assert sorted(row.group_id for row in session.exec(select(StoredObject))) == [mine, other]


def test_a_result_that_does_not_fit_is_refused_before_anything_is_written(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    unscreened = result(house, claim, reads=b"perhaps human", screened=False)
    with pytest.raises(ProcessingFailure, match="screen"):
        jobs.register(house, claim, unscreened)
    made = result(house, claim)
    without_file = jobs.ProcessedVersion(made.manifest, (), (), {}, ())
    with pytest.raises(ProcessingFailure, match="differ"):
        jobs.register(house, claim, without_file)
    other = jobs.ProcessedVersion({**made.manifest, "version": 2}, (), (), {}, made.files)
    with pytest.raises(ProcessingFailure, match="not about"):
        jobs.register(house, claim, other)
    assert manifests(house, claim.accession_version) == []
    assert job(house, job_id).state == "running"


def test_a_submitters_error_is_a_result(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    jobs.register(house, claim, result(house, claim, errors=(ERROR,)))
    (row,) = manifests(house, claim.accession_version)
    assert row.processing_result == "HAS_ERRORS"
    assert row.errors[0]["file"] == "secret-sample-name.fastq"
    assert "secret-sample-name" not in row.body


def test_completing_twice_is_a_success(house: House, job_id: str) -> None:
    claim = claimed(house, job_id)
    jobs.complete(house, claim)
    jobs.complete(house, claim)
    assert job(house, job_id).state == "done"


def test_our_failure_is_tried_again_later_and_the_third_needs_attention(house: House, job_id: str) -> None:
    limits: WorkerSettings = house.settings.worker
    waits = []
    for _ in range(limits.max_attempts):
        claim = claimed(house, job_id)
        jobs.give_up(house, claim, "fetch: the store can't be reached", counted=True)
        row = job(house, job_id)
        waits.append(row.not_before)
        assert (row.lease_owner, row.run_id, row.last_error) == (None, None, "fetch: the store can't be reached")
        if row.state == "queued":
            assert jobs.claim(house, job_id, "w", READY) is None
        make_due(house, job_id)
    assert row.state == "needs attention"
    assert (row.failures, row.handbacks, limits.max_attempts) == (3, 0, 3)
    assert 170 < waits[1] - waits[0] < 190
    assert jobs.claim(house, job_id, "w", READY) is None


def test_a_drain_hands_back_at_once_and_counts_no_failure(house: House, job_id: str) -> None:
    jobs.give_up(house, claimed(house, job_id), "drained", counted=False)
    assert (job(house, job_id).failures, job(house, job_id).handbacks) == (0, 1)
    claim = claimed(house, job_id)
    assert (claim.attempt, claim.runs_alone) == (2, False)
    jobs.give_up(house, claim, "the nursery died", counted=False, alone=True)
    assert claimed(house, job_id).runs_alone


def test_endless_handbacks_need_attention(house: House, job_id: str) -> None:
    for _ in range(house.settings.worker.max_handbacks + 1):
        jobs.give_up(house, claimed(house, job_id), "drained", counted=False)
    assert job(house, job_id).state == "needs attention"


def test_only_a_maintainer_retries_and_only_what_needs_attention(house: House, job_id: str) -> None:
    with pytest.raises(Conflict):
        jobs.retry(house, MAINTAINER, job_id)
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value, failures=3, handbacks=4)
    with pytest.raises(Forbidden):
        jobs.retry(house, ALICE, job_id)
    with pytest.raises(NotFound):
        jobs.retry(house, MAINTAINER, "no such job")
    jobs.retry(house, MAINTAINER, job_id)
    row = job(house, job_id)
    assert (row.state, row.failures, row.handbacks) == ("queued", 0, 0)
    assert claimed(house, job_id).attempt == 1
    assert [(line.actor, line.action) for line in audit_log(house)] == [("maintainer", "retry job")]


def test_all_writes_of_a_registration_happen_or_none(
    house: House, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(house, job_id)

    def broken(*_: object) -> None:
        raise RuntimeError("the connection is gone")

    monkeypatch.setattr(audit, "append", broken)
    with pytest.raises(RuntimeError):
        jobs.register(house, claim, result(house, claim))
    with house.sessions.read() as session:
        for table in (Manifest, ManifestFile, StoredObject):
            assert session.exec(select(func.count()).select_from(table)).one() == 0
        assert session.exec(select(Job.state)).one() == "running"
