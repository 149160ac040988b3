"""When human reads are too many, by share or by bases, and what follows; every read is accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from readvault.domain.annotations import Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reports import HostDepletionReport
from readvault.reads.dehumanize.host_verdict import HostTally, judge

DIGEST = "0" * 64


def verdict(tally: HostTally, **rules: Any) -> HostDepletionReport:
    return judge(tally, index_sha256=DIGEST, rules=Dehumanize(**rules), publish_unscreened=False)


def tally(removed: int, *, bases: int = 0, short: int = 0, of: int = 100) -> HostTally:
    return HostTally(
        reads_in=of,
        reads_removed=removed,
        bases_removed=bases,
        reads_too_short=short,
        reads_kept=of - removed - short,
    )


@pytest.mark.parametrize("above", ["remove", "reject"])
@pytest.mark.parametrize(
    ("found", "rules", "too_much"),
    [
        (tally(50), {}, 0),
        (tally(51), {}, 1),
        (tally(20), {"max_human_fraction": 0.2}, 0),
        (tally(21), {"max_human_fraction": 0.2}, 1),
        (tally(1, bases=1000), {"max_human_bases": 1000}, 0),
        (tally(1, bases=1001), {"max_human_bases": 1000}, 1),
        (tally(0), {"max_human_bases": 0, "max_human_fraction": 0}, 0),
        (tally(1, bases=150), {"max_human_bases": 0, "max_human_fraction": 0}, 2),
        (tally(1, bases=10**12), {}, 0),
    ],
)
def test_exactly_the_limit_is_accepted_and_one_more_is_not(
    found: HostTally, rules: dict[str, Any], too_much: int, above: str
) -> None:
    """With `remove` a warning says so and the rest goes on; with `reject` the submission is refused."""
    if above == "reject" and too_much:
        with pytest.raises(InvalidSubmission) as refusal:
            verdict(found, above=above, **rules)
        said = refusal.value.annotations
    else:
        report = verdict(found, above=above, **rules)
        said = report.warnings
        assert report.reads_kept == found.reads_kept
    assert [annotation.reason for annotation in said] == [Reason.TOO_MUCH_HUMAN] * too_much


def test_a_refusal_says_all_that_is_wrong() -> None:
    with pytest.raises(InvalidSubmission) as refusal:
        verdict(tally(60, bases=9000, short=40), above="reject", max_human_bases=100)
    reasons = [annotation.reason for annotation in refusal.value.annotations]
    assert reasons == [Reason.TOO_MUCH_HUMAN, Reason.TOO_MUCH_HUMAN, Reason.UNSCREENABLE_READS, Reason.NO_READS_LEFT]
    messages = " ".join(annotation.message for annotation in refusal.value.annotations)
    assert "60.0% of the reads are human" in messages
    assert "9000 bases" in messages
    assert "No read is left of 100: 60 are human, 40 are too short" in messages


@pytest.mark.parametrize(("short", "warned"), [(5, False), (6, True)])
def test_many_reads_that_are_too_short_are_warned_of(short: int, warned: bool) -> None:
    said = [annotation.reason for annotation in verdict(tally(0, short=short)).warnings]
    assert said == ([Reason.UNSCREENABLE_READS] if warned else [])


def test_a_read_that_nobody_accounts_for_is_our_failure() -> None:
    found = tally(10)
    found.reads_kept -= 1
    with pytest.raises(ProcessingFailure):
        verdict(found)
