"""Campaigns: trials of one promise under faults, far more than a test run has time for.

A module `campaign_<name>.py` in this folder defines `CAMPAIGN`. The ledger adds up what all runs of it
have shown; `make faults` goes on from there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MODULES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What some trials showed. `failures` says in words what went wrong, one item for each trial that failed.

    `conditions` says what ran how ("SQLite, inline orchestrator, lease 2 s"): trials under other
    conditions are told apart in the table.
    """

    trials: int
    failures: list[str] = field(default_factory=list)
    conditions: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One promise, how it is tested, and how many trials it needs.

    `run(trials, seed, folder)` does that many trials in an empty folder, deterministic in its seed
    where it can be, checks the invariants and leaves no process behind. `part` trials make one line of
    the ledger, so a run that is broken off loses fewer than that. `tiny` trials are what `make test`
    does: one case of each class, in a few seconds.
    """

    name: str
    promise: str
    how: str
    full: int
    run: Callable[[int, int, Path], Outcome]
    unit: str = "trials"
    part: int = 25
    tiny: int = 1


def names() -> list[str]:
    """The modules that hold a campaign."""
    return sorted(path.stem for path in MODULES.glob("campaign_*.py"))


def load(module: str) -> Campaign:
    """The campaign of one module."""
    campaign = importlib.import_module(f"tests.faults.{module}").CAMPAIGN
    assert isinstance(campaign, Campaign)
    return campaign


def every() -> list[Campaign]:
    """All campaigns, by promise and name."""
    return sorted(map(load, names()), key=lambda campaign: (_number(campaign.promise), campaign.name))


def _number(promise: str) -> int:
    digits = promise.partition(" ")[0].removeprefix("P")
    return int(digits) if digits.isdigit() else 99
