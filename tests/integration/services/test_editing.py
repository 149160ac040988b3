"""Editing: other data for the same version; what was there is archived and its results don't count any more."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import EntryFile, Job, SubmittedDataArchive
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    LeaseLost,
    ReadvaultError,
    TooLarge,
    Unauthenticated,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import FileCategory, Submission
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.reprocessing import process_again
from readvault.services.queue.lease import Lease
from readvault.services.review.approval import Scope, approve
from readvault.services.submission.editing import EditedData, edit
from readvault.services.submission.metadata_file import MAX_CELL, NamedFile
from readvault.services.submission.revocation import revoke
from tests.fakes import RecordingOrchestrator
from tests.houses import ALICE, BOB, MAINTAINER, upload
from tests.integration.services.life import (
    METADATA,
    at_once,
    counts,
    files_of,
    release,
    released,
    status,
    version,
    with_organism,
)
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    audit_log,
    claimed,
    entry,
    group,
    manifests,
    of_next_pipeline,
    processed,
    result,
)

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _edit(
    house: House,
    name: AccessionVersion,
    *,
    actor: Any = ALICE,
    metadata: dict[str, str] | None = None,
    sequences: dict[str, str] | None = None,
    files: dict[str, list[NamedFile]] | None = None,
) -> None:
    edit(house, actor, ORGANISM, name, EditedData(METADATA if metadata is None else metadata, sequences or {}, files))


def _refused(house: House, name: AccessionVersion, error: type[ReadvaultError] = Unprocessable, **options: Any) -> str:
    before = counts(house)
    with pytest.raises(error) as refusal:
        _edit(house, name, **options)
    assert type(refusal.value) is error
    assert counts(house) == before
    return str(refusal.value)


def _open_job(house: House, name: AccessionVersion) -> str:
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.version == name.version)
        return session.exec(query.where(Job.state == "queued")).one()


def test_an_edited_version_is_received_again_with_the_new_data(
    house: House, mine: int, orchestrator: RecordingOrchestrator
) -> None:
    name, _ = processed(house, mine, errors=(ERROR,), submitted_sequences={"old": "ACGT"})
    before = len(orchestrator.deliveries)
    _edit(house, name, metadata={**METADATA, "country": " CH\t"}, sequences={"new": "GGGG"}, actor=MAINTAINER)
    row = version(house, name)
    assert row.submitted_metadata == {**METADATA, "country": "CH"}, "as in a metadata file, no blanks at the ends"
    assert row.submitted_sequences == {"new": "GGGG"}
    assert row.submitter == "alice"
    assert status(house, name) == "RECEIVED"
    assert [each.superseded_at is None for each in manifests(house, name)] == [False]
    assert len(orchestrator.deliveries) == before + 1
    assert (audit_log(house)[-1].action, audit_log(house)[-1].actor) == ("edit", "maintainer")
    release(house, name)
    assert status(house, name) == "APPROVED_FOR_RELEASE"


def test_what_was_submitted_before_is_archived(house: House, mine: int) -> None:
    name, _ = processed(house, mine, submitted_metadata={"date": "2020-01-01"}, submitted_sequences={"s": "ACGT"})
    ((label, file_id),) = files_of(house, name)["rawReads"]
    _edit(house, name)
    with house.sessions.read() as session:
        (kept,) = session.exec(select(SubmittedDataArchive)).all()
    assert (kept.accession, kept.version, kept.edited_by) == (name.accession, 1, "alice")
    assert (kept.submitted_metadata, kept.submitted_sequences) == ({"date": "2020-01-01"}, {"s": "ACGT"})
    assert kept.files == {"rawReads": [{"name": label, "fileId": file_id}]}


def test_files_are_kept_when_absent_and_are_what_is_listed_otherwise(house: House, mine: int) -> None:
    name, _ = processed(house, mine, files=(b"one", b"two"))
    old = files_of(house, name)["rawReads"]
    _edit(house, name)
    assert files_of(house, name) == {"rawReads": old}
    job_id = _open_job(house, name)
    jobs.register(house, claim := claimed(house, job_id), result(house, claim))
    (new,) = upload(house, ALICE, mine, b"new")
    _edit(house, name, files={"alignment": [NamedFile("x.bam", new)], "rawReads": [NamedFile("one.fq", old[1][1])]})
    assert files_of(house, name) == {"alignment": [("x.bam", new)], "rawReads": [("one.fq", old[1][1])]}
    jobs.register(house, claim := claimed(house, _open_job(house, name)), result(house, claim))
    _edit(house, name, files={}, sequences={"s": "ACGT"})
    assert files_of(house, name) == {}


def test_all_faults_are_told_at_once(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    text = _refused(
        house,
        name,
        metadata={"date": "yesterday", "files.rawReads": "x", "id": "x", "long": "x" * (MAX_CELL + 1), " ": "x"},
        sequences={"a b": "ACGT", "s": "AC-T"},
        files={"rawReads": [NamedFile("a/b", UNKNOWN), NamedFile("r", UNKNOWN), NamedFile("r", UNKNOWN)]},
    )
    for fault in (
        "column 'date': 'yesterday' is no date",
        "'files.rawReads' can't be the name of a metadata field",
        "'id' can't be the name of a metadata field",
        f"column 'long': a value may have {MAX_CELL} characters",
        "' ' can't be the name of a metadata field",
        "Invalid filename 'a/b' in category 'rawReads'",
        "found duplicate file names in category 'rawReads': r",
        "column 'platform': a value is required",
        "'a b' is no ID of a sequence",
        "Sequence 's' has '-' at position 3",
    ):
        assert fault in text


def test_what_the_organism_demands(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    assert "neither a file of reads nor a consensus" in _refused(house, name, files={})
    assert "category secret is not part" in _refused(house, name, files={"secret": [NamedFile("x", UNKNOWN)]})
    strict = Submission(consensus_sequences="required", files={"rawReads": FileCategory(required=True, max_files=1)})
    ruled = with_organism(house, submission=strict)
    text = _refused(ruled, name, files={})
    assert "files.rawReads: a file is required" in text
    assert f"Submissions for organism {ORGANISM} require a sequence." in text
    many = {"rawReads": [NamedFile("a", UNKNOWN), NamedFile("b", UNKNOWN)]}
    assert "category 'rawReads' has 2 files; 1 are allowed" in _refused(ruled, name, files=many)
    none = with_organism(house, submission=Submission(consensus_sequences="forbidden", files={}))
    assert "Sequence uploads are not allowed" in _refused(none, name, BadRequest, sequences={"s": "A"})
    assert "does not support file submission" in _refused(none, name, BadRequest, files=many)
    small = with_organism(house, submission=Submission(files={"rawReads": FileCategory(max_bytes_per_file=2)}))
    assert "has 5 bytes" in _refused(small, name, TooLarge)


def test_foreign_and_unknown_files_have_one_answer(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    (foreign,) = upload(house, BOB, group(house, "bob"), b"secret")
    texts = [
        _refused(house, name, files={"rawReads": [NamedFile("r", file_id)]}).replace(file_id, "X")
        for file_id in (foreign, UNKNOWN)
    ]
    assert texts[0] == texts[1] == "The following file IDs do not exist: X"


def test_refusals(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    _refused(house, name, Unauthenticated, actor=None)
    assert "bob is not a member of group(s)" in _refused(house, name, Forbidden, actor=BOB)
    missing = AccessionVersion(name.accession, 2)
    assert _refused(house, missing) == f"Accession versions {missing} do not exist"
    other, _ = entry(house, mine, organism="other")
    assert "The following accession versions are not of organism" in _refused(house, other)
    received, job_id = entry(house, mine)
    text = "Accession versions are not in one of the states [PROCESSED]: "
    assert _refused(house, received) == f"{text}{received} - RECEIVED"
    claimed(house, job_id)
    assert _refused(house, received) == f"{text}{received} - IN_PROCESSING"
    public = released(house, mine)
    assert _refused(house, public) == f"{text}{public} - APPROVED_FOR_RELEASE"
    revoke(house, ALICE, ORGANISM, accessions=[public.accession])
    second = AccessionVersion(public.accession, 2)
    assert _refused(house, second) == f"Accession version {second} is a revocation."


# Workers and races


def test_a_worker_that_processes_it_again_has_lost_the_job(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    newer = of_next_pipeline(house)
    job_id = process_again(newer, name, "a reason", "maintainer")
    claim = jobs.claim(newer, job_id, "worker", {ORGANISM})
    assert claim is not None
    late = result(newer, claim)
    _edit(newer, name)
    for late_write in (
        lambda: jobs.register(newer, claim, late),
        lambda: jobs.complete(newer, claim),
        lambda: jobs.give_up(newer, claim, "cause", counted=True),
        lambda: jobs.record_hashes(newer, claim, {}),
    ):
        with pytest.raises(LeaseLost):
            late_write()
    with Lease(newer, claim) as lease:
        assert lease.lost.wait(10)
    assert status(newer, name) == "RECEIVED"
    assert all(each.superseded_at is not None for each in manifests(house, name))
    assert claimed(newer, _open_job(newer, name)).accession_version == name


def test_an_approval_and_an_edit_at_once(house: House, mine: int) -> None:
    """Either the old data are released and stay, or the new ones wait: never new data under the old digest."""
    for _ in range(4):
        name, digest = processed(house, mine)
        approved, edited = at_once(
            lambda n=name, d=digest: approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(n, d)]),
            lambda n=name: _edit(house, n, metadata={**METADATA, "country": "edited"}),
        )
        data = version(house, name).submitted_metadata
        if isinstance(approved, list):
            assert isinstance(edited, Unprocessable), edited
            assert status(house, name) == "APPROVED_FOR_RELEASE"
            assert data == {"date": "2020-01-01"}
        else:
            assert isinstance(approved, Unprocessable | Conflict), approved
            assert edited is None
            assert status(house, name) == "RECEIVED"
            assert data["country"] == "edited"


def test_a_registration_and_an_edit_at_once(house: House, mine: int) -> None:
    """A result of the old data never stands for the new ones."""
    newer = of_next_pipeline(house)
    for number in range(4):
        name, _ = processed(house, mine)
        claim = jobs.claim(newer, process_again(newer, name, "a reason", "maintainer"), "worker", {ORGANISM})
        assert claim is not None
        made = result(newer, claim, text=f">main\nACGT{'A' * number}\n".encode())
        _, edited = at_once(lambda c=claim, m=made: jobs.register(newer, c, m), lambda n=name: _edit(newer, n))
        assert edited is None, edited
        assert status(house, name) == "RECEIVED"
        assert all(each.superseded_at is not None for each in manifests(house, name))


def test_two_edits_at_once(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    answers = at_once(*(lambda c=c: _edit(house, name, metadata={**METADATA, "country": c}) for c in "abc"))
    assert answers.count(None) == 1, answers
    assert all(isinstance(answer, Unprocessable | None) for answer in answers), answers
    with house.sessions.read() as session:
        assert len(session.exec(select(SubmittedDataArchive)).all()) == 1
        assert len(session.exec(select(EntryFile)).all()) == 1
        assert len(session.exec(select(Job).where(Job.state == "queued")).all()) == 1
