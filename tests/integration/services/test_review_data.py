"""The review of one version: what was submitted, what was made of it, every file with a fresh URL that is logged."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from readvault.db.tables import FileAccess
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release.interventions import intervene
from readvault.services.review.approval import Scope, approve
from readvault.services.review.review import PROCESSED_KEYS, data_to_edit, file_url, review
from readvault.services.review.sending_back import send_back
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.scenes import (
    ORGANISM,
    WARNING,
    audit_log,
    change,
    claimed,
    entry,
    group,
    of_next_pipeline,
    processed,
    result,
)


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


def _reads(house: House) -> list[tuple[str, str, str]]:
    """Who was given a URL, of which category, what for."""
    with house.sessions.read() as session:
        return [(row.actor, row.category, row.purpose) for row in session.exec(select(FileAccess))]


def test_a_reviewer_gets_originals_and_processed_files_with_fresh_urls(house: House, mine: int) -> None:
    name, digest = processed(house, mine, files=(b"one", b"two"), reads=b"kept", warnings=(WARNING,))
    data = review(house, ALICE, ORGANISM, name)
    assert (data["accession"], data["version"], data["groupId"]) == (name.accession, 1, mine)
    assert (data["status"], data["processingResult"], data["manifestDigest"]) == ("PROCESSED", "HAS_WARNINGS", digest)
    assert data["submittedData"]["metadata"] == {"date": "2020-01-01"}
    originals = data["submittedData"]["files"]["rawReads"]
    assert [(file["name"], file["size"]) for file in originals] == [("reads_0.fastq", 3), ("reads_1.fastq", 3)]
    made = data["processedData"]["files"]
    assert {category: [file["name"] for file in files] for category, files in made.items()} == {
        "consensus": ["consensus.fasta"],
        "dehumanizedReads": ["dehumanized.fastq.gz"],
    }
    for file in [*originals, *made["consensus"], *made["dehumanizedReads"]]:
        assert file["url"].startswith("memory://")
        assert len(file["sha256"]) == 64
        assert file["fileId"]
    assert data["processedData"]["unalignedNucleotideSequences"] == {"main": "ACGT"}
    assert data["warnings"] == [WARNING.as_json()]
    assert data["errors"] == []
    assert data["job"]["state"] == "done"


def test_before_processing_there_is_only_what_was_submitted(house: House, mine: int) -> None:
    name, _ = entry(house, mine, files=())
    data = review(house, ALICE, ORGANISM, name)
    assert (data["status"], data["processedData"], data["manifestDigest"]) == ("RECEIVED", None, None)
    assert data["submittedData"]["files"] is None


def test_a_maintainer_reviews_without_reading_originals(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    data = review(house, MAINTAINER, ORGANISM, name)
    assert [file["url"] for file in data["submittedData"]["files"]["rawReads"]] == [None]
    assert data["processedData"]["files"]["consensus"][0]["url"] is not None


def test_what_went_wrong_on_our_side_is_told_in_full_to_maintainers_only(house: House, mine: int) -> None:
    name, job_id = entry(house, mine)
    jobs.give_up(house, claimed(house, job_id), "stage: the store answered 503", counted=True)
    seen = {actor: review(house, actor, ORGANISM, name)["job"]["lastError"] for actor in (ALICE, MAINTAINER)}
    assert seen == {ALICE: "stage", MAINTAINER: "stage: the store answered 503"}


def test_a_review_is_refused_for_foreign_unknown_and_revoked_versions(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    with pytest.raises(Forbidden):
        review(house, BOB, ORGANISM, name)
    with pytest.raises(Unauthenticated):
        review(house, None, ORGANISM, name)
    with pytest.raises(Unprocessable, match="do not exist"):
        review(house, ALICE, ORGANISM, AccessionVersion(name.accession, 2))


def test_a_released_version_shows_the_released_result_for_ever(house: House, mine: int) -> None:
    name, job_id = entry(house, mine)
    claim = claimed(house, job_id)
    digest = jobs.register(house, claim, result(house, claim))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    change(house, job_id, state=JobState.QUEUED.value)
    cautious = of_next_pipeline(house, switch="byMaintainer")
    claim = claimed(cautious, job_id)
    assert jobs.register(cautious, claim, result(house, claim, text=b">main\nTTTT\n")) != digest
    assert review(house, ALICE, ORGANISM, name)["manifestDigest"] == digest


def _file_ids(shown: dict[str, Any]) -> tuple[str, str]:
    return (
        shown["submittedData"]["files"]["rawReads"][0]["fileId"],
        shown["processedData"]["files"]["consensus"][0]["fileId"],
    )


def test_every_url_of_what_is_not_public_is_written_down(house: House, mine: int) -> None:
    name, digest = processed(house, mine)
    review(house, ALICE, ORGANISM, name)
    assert sorted(_reads(house)) == [("alice", "consensus", "review"), ("alice", "rawReads", "review")]
    assert audit_log(house)[-1].subject == str(name)
    review(house, MAINTAINER, ORGANISM, name)
    assert _reads(house)[2:] == [("maintainer", "consensus", "review")]
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    review(house, ALICE, ORGANISM, name)
    assert _reads(house)[3:] == [("alice", "rawReads", "review")]


def test_nothing_is_written_down_for_who_only_edits(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    data_to_edit(house, ALICE, ORGANISM, name)
    assert _reads(house) == []


def test_one_file_has_a_fresh_url_for_those_who_may_read_it(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    original, consensus = _file_ids(review(house, MAINTAINER, ORGANISM, name))
    before = len(_reads(house))
    assert file_url(house, ALICE, ORGANISM, name, original).startswith("memory://incoming/")
    assert file_url(house, MAINTAINER, ORGANISM, name, consensus).startswith("memory://vault/")
    assert _reads(house)[before:] == [("alice", "rawReads", "review"), ("maintainer", "consensus", "review")]
    with pytest.raises(NotFound) as private:
        file_url(house, MAINTAINER, ORGANISM, name, original)
    other, _ = processed(house, mine, files=(b"other",))
    with pytest.raises(NotFound) as unknown:
        file_url(house, ALICE, ORGANISM, other, original)
    assert str(private.value) == str(unknown.value)
    with pytest.raises(Forbidden):
        file_url(house, BOB, ORGANISM, name, consensus)


def test_what_is_edited_has_all_parts_of_loculus_shape(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    shown = data_to_edit(house, ALICE, ORGANISM, name)
    assert list(shown["processedData"]) == [*PROCESSED_KEYS, "files"]
    assert shown["processedData"]["nucleotideInsertions"] == {}
    assert list(shown["processedData"]["files"]["consensus"][0]) == ["fileId", "name"]
    assert list(shown["submittedData"]) == ["metadata", "unalignedNucleotideSequences", "files"]


def test_a_revocation_can_be_reviewed_but_not_edited(house: House, mine: int) -> None:
    revoked, _ = entry(house, mine, is_revocation=True, version_comment="wrong sample", files=())
    with pytest.raises(Unprocessable, match=f"^Accession version {revoked} is a revocation.$"):
        data_to_edit(house, ALICE, ORGANISM, revoked)
    shown = review(house, ALICE, ORGANISM, revoked)
    assert (shown["isRevocation"], shown["versionComment"]) == (True, "wrong sample")


def test_what_a_maintainer_withdrew_is_read_by_maintainers_only(house: House, mine: int) -> None:
    name, digest = processed(house, mine)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    assert review(house, ALICE, ORGANISM, name)["visibility"] == "PUBLIC"
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "a doubtful sample")
    before = len(_reads(house))
    shown = review(house, ALICE, ORGANISM, name)
    assert (shown["visibility"], shown["visibilityReason"]) == ("SUPPRESSED", "a doubtful sample")
    assert sorted(_reads(house)[before:]) == [("alice", "consensus", "review"), ("alice", "rawReads", "review")]
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "the patient asked for it")
    shown = review(house, ALICE, ORGANISM, name)
    assert shown["processedData"]["files"]["consensus"][0]["url"] is None
    assert shown["submittedData"]["files"]["rawReads"][0]["url"] is not None
    assert review(house, MAINTAINER, ORGANISM, name)["processedData"]["files"]["consensus"][0]["url"] is not None
    with pytest.raises(NotFound):
        file_url(house, ALICE, ORGANISM, name, shown["processedData"]["files"]["consensus"][0]["fileId"])


def test_history_has_other_versions_and_all_results(house: House, mine: int) -> None:
    name, first = processed(house, mine)
    send_back(house, ALICE, ORGANISM, [(name, first)], "the primers are wrong")
    with house.sessions.read() as session:
        job_id = session.exec(select(jobs.Job.id).where(jobs.Job.accession == name.accession)).one()
    change(house, job_id, state=JobState.QUEUED.value)
    claim = claimed(house, job_id)
    second = jobs.register(house, claim, result(house, claim, text=b">main\nTTTT\n"))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    newer, _ = entry(house, mine, accession=name.accession, version=2, files=())
    history = review(house, ALICE, ORGANISM, name)["history"]
    assert [(each["manifestDigest"], each["supersededAt"] is None) for each in history["results"]] == [
        (second, True),
        (first, False),
    ]
    assert history["results"][1]["sentBack"]["reason"] == "the primers are wrong"
    assert history["results"][0]["sentBack"] is None
    assert [(each["version"], each["status"]) for each in history["versions"]] == [(2, "RECEIVED")]
    (earlier,) = review(house, ALICE, ORGANISM, newer)["history"]["versions"]
    assert (earlier["version"], earlier["status"], earlier["processingResult"]) == (
        1,
        "APPROVED_FOR_RELEASE",
        "NO_ISSUES",
    )
    assert earlier["releasedAt"] > 0
