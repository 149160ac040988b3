"""What people see: each entry's status, and for a review every file with a fresh URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from readvault.domain.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobState, ProcessingResult, Status
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.review.approval import Scope, approve
from readvault.services.review.listing import list_entries
from tests.houses import ALICE, MAINTAINER, organism
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    WARNING,
    change,
    claimed,
    entry,
    group,
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
    entry(both, mine, organism="rsv-b")
    assert list_entries(both, ALICE, ORGANISM)["sequenceEntries"] == []
