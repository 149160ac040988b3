"""kill -9 of Prefect's server too, at random times, while people submit, approve and revise."""

from __future__ import annotations

from pathlib import Path

from tests.faults import town
from tests.faults.campaign import Campaign, Outcome

VICTIMS = {"worker": 4, "child": 2, "nursery": 2, "API": 2, "Prefect": 10}
"""Who is killed how often, in twentieths."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many kills."""
    if not trials:
        return Outcome(0, [], "nothing was run")
    return town.run(trials, seed, folder, VICTIMS, with_prefect=True)


CAMPAIGN = Campaign(
    name="prefect_kills",
    promise="P1, P2, P6 What was answered is done: nothing is lost, altered or half there",
    how="kill -9 of Prefect's server, as `readvault up` starts it (`readvault.adapters.prefect_server`), and of worker,"
    " nursery, child and API, at random times while people submit, approve and revise over HTTP;"
    " every answered request is done, with the manifest of an undisturbed run",
    full=100,
    run=run,
    unit="kills",
    part=20,
    tiny=0,
)
