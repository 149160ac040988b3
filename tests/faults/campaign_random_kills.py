"""kill -9 of worker, nursery, child and API at random times, while people submit, approve and revise."""

from __future__ import annotations

from pathlib import Path

from tests.faults import town
from tests.faults.campaign import Campaign, Outcome

VICTIMS = {"worker": 8, "child": 5, "nursery": 2, "API": 5}
"""Who is killed how often, in twentieths."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many kills."""
    return town.run(trials, seed, folder, VICTIMS)


CAMPAIGN = Campaign(
    name="random_kills",
    promise="P1, P2, P6 What was answered is done: nothing is lost, altered or half there",
    how="kill -9 of worker, nursery, child and API at random times while people submit, approve and revise over HTTP;"
    " every answered request is done, with the manifest of an undisturbed run",
    full=1000,
    run=run,
    unit="kills",
    part=25,
    tiny=2,
)
