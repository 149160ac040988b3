"""The page of promises says what the ledger says."""

from __future__ import annotations

from pathlib import Path

from tests.faults import ledger
from tests.faults.campaign import Campaign, Outcome, every


def _campaign(full: int = 1000) -> Campaign:
    return Campaign("kills", "P1 nothing is lost", "kills", full, lambda trials, *_: Outcome(trials))


def test_the_page_is_written_from_the_ledger() -> None:
    page = ledger.PROMISES.read_text(encoding="utf-8")
    assert page == ledger.page(every(), ledger.lines()), "run `python -m tests.faults --table`"


def test_runs_add_up(tmp_path: Path) -> None:
    counts = tmp_path / "counts.jsonl"
    ledger.append(_campaign(), Outcome(10, [], "inline"), 1.0, counts)
    ledger.append(_campaign(), Outcome(20, ["lost"], "Prefect"), 1.0, counts)
    sums = ledger.total("kills", ledger.lines(counts))
    assert (sums.n, sums.failures, sums.conditions) == (30, 1, {"inline": 10, "Prefect": 20})
    assert ledger.lines(counts)[1]["what"] == ["lost"]
    assert "30 of 1,000 trials (3 %)" in ledger.page([_campaign()], ledger.lines(counts))


def test_a_count_that_began_anew_still_tells_what_failed(tmp_path: Path) -> None:
    counts = tmp_path / "counts.jsonl"
    ledger.append(_campaign(), Outcome(20, ["lost"], "inline"), 1.0, counts)
    ledger.restart(_campaign(), "the commit comes first", counts)
    ledger.append(_campaign(), Outcome(300, [], "inline"), 1.0, counts)
    page = ledger.page([_campaign()], ledger.lines(counts))
    assert "0 in 300: below 1 %" in page
    assert "1 in 20. Repaired: the commit comes first" in page


def test_other_campaigns_do_not_count(tmp_path: Path) -> None:
    counts = tmp_path / "counts.jsonl"
    ledger.append(_campaign(), Outcome(20, [], "inline"), 1.0, counts)
    assert ledger.total("races", ledger.lines(counts)).n == 0
