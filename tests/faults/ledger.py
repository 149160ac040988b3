"""The ledger: what campaigns have shown so far, one committed line for each part of a run.

A line is never changed. Where a failure led to a repair of readvault, a line with `restart` says what
was repaired: counting begins anew there, and what came before stays visible.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.campaign import Campaign, Outcome

HERE = Path(__file__).parent
COUNTS = HERE / "counts.jsonl"
PROMISES = HERE.parent.parent / "docs" / "promises.md"
INTRODUCTION = HERE / "promises_introduction.md"
DESCRIBED = 5
"""How many failures of a part are described in its line."""


@dataclass(frozen=True, slots=True)
class Total:
    """What the lines of one campaign add up to, since its last restart; `before` counts what came earlier."""

    n: int
    failures: int
    conditions: dict[str, int]
    dates: tuple[str, ...]
    before: tuple[int, int] = (0, 0)
    repaired: tuple[str, ...] = ()


def lines(counts: Path = COUNTS) -> list[dict[str, Any]]:
    """All lines, oldest first."""
    if not counts.exists():
        return []
    return [json.loads(line) for line in counts.read_text(encoding="utf-8").splitlines() if line.strip()]


def total(name: str, written: Sequence[dict[str, Any]]) -> Total:
    """The sum of one campaign's lines."""
    n = failures = 0
    before = (0, 0)
    conditions: dict[str, int] = {}
    dates: list[str] = []
    repaired: list[str] = []
    for line in written:
        if line["campaign"] != name:
            continue
        if "restart" in line:
            before = (before[0] + n, before[1] + failures)
            n, failures, conditions, dates = 0, 0, {}, []
            repaired.append(line["restart"])
            continue
        n += line["n"]
        failures += line["failures"]
        conditions[line["conditions"]] = conditions.get(line["conditions"], 0) + line["n"]
        dates.append(line["date"])
    return Total(n, failures, conditions, tuple(sorted(set(dates))), before, tuple(repaired))


def append(campaign: Campaign, outcome: Outcome, seconds: float, counts: Path = COUNTS) -> None:
    """Write down what a part of a run showed."""
    line = {
        "campaign": campaign.name,
        "n": outcome.trials,
        "failures": len(outcome.failures),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "seconds": round(seconds, 1),
        "conditions": outcome.conditions,
    }
    if outcome.failures:
        line["what"] = [failure[:300] for failure in outcome.failures[:DESCRIBED]]
    _write(line, counts)


def restart(campaign: Campaign, repaired: str, counts: Path = COUNTS) -> None:
    """Begin to count anew, because what failed was repaired."""
    _write({"campaign": campaign.name, "restart": repaired, "date": datetime.now(UTC).date().isoformat()}, counts)


def publish(campaigns: Sequence[Campaign]) -> None:
    """Write docs/promises.md from the ledger."""
    with _alone():
        PROMISES.write_text(page(campaigns, lines()), encoding="utf-8")


def page(campaigns: Sequence[Campaign], written: Sequence[dict[str, Any]]) -> str:
    """docs/promises.md: the introduction and one row for each campaign."""
    head = [
        "promise",
        "campaign: how it is tested",
        "n of full n",
        "failures",
        "true rate, 95 %",
        "dates",
        "conditions",
    ]
    rows = [head, ["---"] * len(head), *(_row(campaign, total(campaign.name, written)) for campaign in campaigns)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = [
        f"- `{campaign.name}`, before the count began anew: {sums.before[1]} in {sums.before[0]:,}. "
        f"Repaired: {'; '.join(sums.repaired)}."
        for campaign in campaigns
        if (sums := total(campaign.name, written)).repaired
    ]
    parts = [INTRODUCTION.read_text(encoding="utf-8").rstrip(), table]
    if notes:
        parts += ["## What failed once", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def _row(campaign: Campaign, sums: Total) -> list[str]:
    share = f"{sums.n:,} of {campaign.full:,} {campaign.unit} ({100 * sums.n / campaign.full:.0f} %)"
    how = f"`{campaign.name}`: {campaign.how}"
    if not sums.n:
        return [campaign.promise, how, share, "–", "–", "–", "not run yet"]
    if sums.failures:
        bound = f"{sums.failures / sums.n:.2g} seen"
    else:
        bound = f"0 in {sums.n:,}: below {100 * min(1.0, 3 / sums.n):.2g} %"
    dates = sums.dates[0] if len(sums.dates) == 1 else f"{sums.dates[0]} to {sums.dates[-1]}"
    shares = "; ".join(f"{n:,}: {text}" for text, n in sorted(sums.conditions.items(), key=lambda each: -each[1]))
    return [campaign.promise, how, share, str(sums.failures), bound, dates, shares]


def _write(line: dict[str, Any], counts: Path) -> None:
    with _alone(), counts.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


@contextmanager
def _alone() -> Iterator[None]:
    """Several campaigns may run side by side."""
    with (HERE / "ledger.py").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"
