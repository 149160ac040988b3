"""What people see: each entry's status, and for a review every file with a fresh URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from readvault.domain.errors import BadRequest, Forbidden, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobState, ProcessingResult, Status
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from readvault.services.review.entries import list_entries, submitted_and_processed
from tests.houses import ALICE, BOB, MAINTAINER, organism
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    WARNING,
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


def _statuses(house: House) -> dict[str, tuple[str, str | None]]:
    rows = list_entries(house, ALICE, ORGANISM)["sequenceEntries"]
    return {f"{row['accession']}.{row['version']}": (row["status"], row["processingResult"]) for row in rows}


def test_a_status_follows_the_entry_from_submission_to_release(house: House, mine: int) -> None:
    name, job_id = entry(house, mine)
    assert _statuses(house)[str(name)] == ("RECEIVED", None)
    claim = claimed(house, job_id)
    assert _statuses(house)[str(name)] == ("IN_PROCESSING", None)
    jobs.give_up(house, claim, "drained", counted=False)
    assert _statuses(house)[str(name)] == ("RECEIVED", None)
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value)
    assert _statuses(house)[str(name)] == ("RECEIVED", None)
    change(house, job_id, state=JobState.QUEUED.value)
    claim = claimed(house, job_id)
    jobs.register(house, claim, result(house, claim, warnings=(WARNING,)))
    assert _statuses(house)[str(name)] == ("PROCESSED", "HAS_WARNINGS")
    change(house, job_id, state=JobState.QUEUED.value)
    claimed(house, job_id)
    assert _statuses(house)[str(name)] == ("PROCESSED", "HAS_WARNINGS")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    assert _statuses(house)[str(name)] == ("APPROVED_FOR_RELEASE", "HAS_WARNINGS")


def test_a_revocation_is_processed_at_once(house: House, mine: int) -> None:
    name, _ = entry(house, mine, is_revocation=True, files=())
    assert _statuses(house)[str(name)] == ("PROCESSED", "NO_ISSUES")


def test_the_list_has_loculuss_shape(house: House, mine: int) -> None:
    name, _ = entry(house, mine, terms_type="RESTRICTED", restricted_until="2030-01-01")
    assert list_entries(house, ALICE, ORGANISM) == {
        "sequenceEntries": [
            {
                "accession": name.accession,
                "version": 1,
                "status": "RECEIVED",
                "processingResult": None,
                "groupId": mine,
                "submitter": "alice",
                "isRevocation": False,
                "submissionId": f"sample-{name}",
                "dataUseTerms": {"type": "RESTRICTED", "restrictedUntil": "2030-01-01"},
            }
        ],
        "statusCounts": {"RECEIVED": 1, "IN_PROCESSING": 0, "PROCESSED": 0, "APPROVED_FOR_RELEASE": 0},
        "processingResultCounts": {"NO_ISSUES": 0, "HAS_WARNINGS": 0, "HAS_ERRORS": 0},
    }


def test_filters_and_pages_narrow_the_list_and_not_the_counts(house: House, mine: int) -> None:
    received, _ = entry(house, mine)
    good, _ = processed(house, mine)
    bad, _ = processed(house, mine, errors=(ERROR,))

    def listed(**filters: Any) -> list[AccessionVersion]:
        answer = list_entries(house, ALICE, ORGANISM, **filters)
        assert answer["statusCounts"] == {
            "RECEIVED": 1, "IN_PROCESSING": 0, "PROCESSED": 2, "APPROVED_FOR_RELEASE": 0
        }  # fmt: skip
        assert answer["processingResultCounts"] == {"NO_ISSUES": 1, "HAS_WARNINGS": 0, "HAS_ERRORS": 1}
        return [AccessionVersion(row["accession"], row["version"]) for row in answer["sequenceEntries"]]

    assert listed() == sorted([received, good, bad])
    assert listed(statuses=[Status.PROCESSED]) == sorted([good, bad])
    assert listed(results=[ProcessingResult.HAS_ERRORS]) == sorted([received, bad])
    assert listed(statuses=[Status.PROCESSED], results=[ProcessingResult.NO_ISSUES]) == [good]
    assert listed(page=0, size=2) + listed(page=1, size=2) == sorted([received, good, bad])
    assert listed(page=2, size=2) == []


def test_people_see_their_groups_and_maintainers_see_all(house: House, mine: int) -> None:
    theirs = group(house, "bob")
    entry(house, mine)
    entry(house, theirs)

    def seen(actor: Any, **filters: Any) -> list[int]:
        rows = list_entries(house, actor, ORGANISM, **filters)["sequenceEntries"]
        return sorted(row["groupId"] for row in rows)

    assert seen(ALICE) == seen(ALICE, group_ids=[mine]) == [mine]
    assert seen(MAINTAINER) == [mine, theirs]
    assert seen(MAINTAINER, group_ids=[theirs]) == [theirs]
    with pytest.raises(Forbidden):
        seen(ALICE, group_ids=[mine, theirs])
    with pytest.raises(NotFound):
        seen(ALICE, group_ids=[99])
    with pytest.raises(Unauthenticated):
        seen(None)
    with pytest.raises(BadRequest):
        list_entries(house, ALICE, "ebola")


def test_other_organisms_are_not_in_the_list(house: House, mine: int, tmp_path: Any) -> None:
    both = replace(house, organisms={**house.organisms, "rsv-b": organism(tmp_path, "rsv-b")})
    name, _ = entry(both, mine, organism="rsv-b")
    assert list_entries(both, ALICE, ORGANISM)["sequenceEntries"] == []
    with pytest.raises(Unprocessable, match="not of organism"):
        submitted_and_processed(both, ALICE, ORGANISM, name)


def test_a_reviewer_gets_originals_and_processed_files_with_fresh_urls(house: House, mine: int) -> None:
    name, digest = processed(house, mine, files=(b"one", b"two"), reads=b"kept", warnings=(WARNING,))
    data = submitted_and_processed(house, ALICE, ORGANISM, name)
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
    data = submitted_and_processed(house, ALICE, ORGANISM, name)
    assert (data["status"], data["processedData"], data["manifestDigest"]) == ("RECEIVED", None, None)
    assert data["submittedData"]["files"] is None


def test_a_maintainer_reviews_without_reading_originals(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    data = submitted_and_processed(house, MAINTAINER, ORGANISM, name)
    assert [file["url"] for file in data["submittedData"]["files"]["rawReads"]] == [None]
    assert data["processedData"]["files"]["consensus"][0]["url"] is not None


def test_what_went_wrong_on_our_side_is_told_in_full_to_maintainers_only(house: House, mine: int) -> None:
    name, job_id = entry(house, mine)
    jobs.give_up(house, claimed(house, job_id), "stage: the store answered 503", counted=True)
    seen = {
        actor: submitted_and_processed(house, actor, ORGANISM, name)["job"]["lastError"]
        for actor in (ALICE, MAINTAINER)
    }
    assert seen == {ALICE: "stage", MAINTAINER: "stage: the store answered 503"}


def test_a_review_is_refused_for_foreign_unknown_and_revoked_versions(house: House, mine: int) -> None:
    name, _ = processed(house, mine)
    with pytest.raises(Forbidden):
        submitted_and_processed(house, BOB, ORGANISM, name)
    with pytest.raises(Unauthenticated):
        submitted_and_processed(house, None, ORGANISM, name)
    with pytest.raises(Unprocessable, match="do not exist"):
        submitted_and_processed(house, ALICE, ORGANISM, AccessionVersion(name.accession, 2))
    revoked, _ = entry(house, mine, is_revocation=True, files=())
    with pytest.raises(Unprocessable, match=f"^Accession version {revoked} is a revocation.$"):
        submitted_and_processed(house, ALICE, ORGANISM, revoked)


def test_a_released_version_shows_the_released_result_for_ever(house: House, mine: int) -> None:
    name, job_id = entry(house, mine)
    claim = claimed(house, job_id)
    digest = jobs.register(house, claim, result(house, claim))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    change(house, job_id, state=JobState.QUEUED.value)
    claim = claimed(of_next_pipeline(house), job_id)
    assert jobs.register(house, claim, result(house, claim, text=b">main\nTTTT\n")) != digest
    assert submitted_and_processed(house, ALICE, ORGANISM, name)["manifestDigest"] == digest
