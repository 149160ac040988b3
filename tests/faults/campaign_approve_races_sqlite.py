"""Sixteen threads change the same entry at once, on SQLite."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign, Outcome
from tests.faults.races import run as race


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many racing operations."""
    return race(trials, seed, folder, "sqlite")


CAMPAIGN = Campaign(
    name="approve_races_sqlite",
    promise="P5 What was reviewed is what is released; of those who change an entry at once one wins",
    how="16 threads approve, revise, revoke, edit, delete, withdraw, suppress, restore, send back, reprocess and"
    " register results of the same entries at once; an order must exist in which every answer is right",
    full=32_000,
    run=run,
    unit="operations",
    part=1600,
    tiny=48,
)
