"""Garbage is collected while entries live, with crashes between any two steps."""

from __future__ import annotations

import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.campaign import Campaign, Outcome
from tests.faults.garbage_machine import Garbage, Ground, lives, seed_of

STEPS = 50
CONDITIONS = "SQLite, store in memory, moved clock, checks after each step"


def run(trials: int, first: int, folder: Path) -> Outcome:
    """Lives of at most 50 steps until there were so many steps in all."""
    failures: list[str] = []
    with lives(folder) as ground:
        number = 0
        while ground.steps < trials and not failures:
            number += 1
            chosen = settings(
                max_examples=max(1, min(40, (trials - ground.steps) // STEPS + 1)),
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            try:
                run_state_machine_as_test(seed(seed_of(first * 1000 + number))(_of(ground)), settings=chosen)
            except Exception as failure:
                traceback.print_exc()
                failures.append(f"seed {first}, run {number}: {type(failure).__name__}: {failure}"[:500])
        return Outcome(ground.steps, failures, CONDITIONS)


def _of(ground: Ground) -> type[Garbage]:
    class Life(Garbage):
        def __init__(self) -> None:
            super().__init__(ground)

    return Life


CAMPAIGN = Campaign(
    name="garbage",
    promise="P15 The garbage collector never deletes what anything refers to",
    how="A Hypothesis state machine uploads, submits, revises, edits, processes, approves, withdraws, deletes and"
    " collects in any order, with jumps of the clock, lost S3 and crashes between any two steps of a collection;"
    " after each step all that is referred to is there with its bytes and the quota is right, and in the end all"
    " garbage is gone.",
    full=100_000,
    run=run,
    unit="steps",
    part=300,
    tiny=60,
)
