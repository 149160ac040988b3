"""Garbage is collected while entries live, with crashes between any two steps."""

from __future__ import annotations

import gc
import random
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.campaign import Campaign, Outcome
from tests.faults.garbage_machine import Garbage, Ground, lives, seed_of
from tests.faults.garbage_walk import walk

STEPS = 50
STEPS_OF_WALK = 200
TINY = 60
CONDITIONS = "SQLite, store in memory, moved clock, checks after each step"


def run(trials: int, first: int, folder: Path) -> Outcome:
    """Lives until there were so many steps in all: by Hypothesis where they are few, else by the same rules' walk."""
    with lives(folder) as ground:
        by = _by_hypothesis if trials <= TINY else _by_walk
        failures = by(ground, trials, first)
        return Outcome(ground.steps, failures, CONDITIONS)


def _by_walk(ground: Ground, trials: int, first: int) -> list[str]:
    gc.collect()
    gc.freeze()  # what is there for good is not looked through again and again
    try:
        number = 0
        while ground.steps < trials:
            number += 1
            chance = random.Random(seed_of(first * 1000 + number))
            if fault := walk(ground, chance, min(STEPS_OF_WALK, trials - ground.steps)):
                return [f"seed {first}, life {number}: {fault}"]
        return []
    finally:
        gc.unfreeze()


def _by_hypothesis(ground: Ground, trials: int, first: int) -> list[str]:
    number = 0
    while ground.steps < trials:
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
            return [f"seed {first}, run {number}: {type(failure).__name__}: {failure}"[:500]]
    return []


def _of(ground: Ground) -> type[Garbage]:
    class Life(Garbage):
        def __init__(self) -> None:
            super().__init__(ground)

    return Life


CAMPAIGN = Campaign(
    name="garbage",
    promise="P15 The garbage collector never deletes what anything refers to",
    how="The rules of a Hypothesis state machine upload, submit, revise, edit, process, hand on in a chain, approve,"
    " withdraw, delete and collect in any order, with jumps of the clock, lost S3 and crashes between any two steps of"
    " a collection; `make test` lets Hypothesis choose them, the campaign a random walk of known seed, which is faster."
    " After each step all that is referred to is there with its bytes and the quota is right, at the end of each"
    " life all invariants hold and all garbage is gone.",
    full=100_000,
    run=run,
    unit="steps",
    part=500,
    tiny=TINY,
)
