"""What strangers ask while approval and release are killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.faults import release_kills
from tests.faults.campaign import Campaign, Outcome


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many questions."""
    if not trials:
        return Outcome(0, [], "nothing was run")
    _, probes, outcome = release_kills.run(folder, seed // 100, probes=trials)
    return replace(outcome, trials=probes)


CAMPAIGN = Campaign(
    name="private_probes",
    promise="P3 Private stays private until the approval is committed",
    how="anonymous and other-group requests to every readable route with the right IDs, and to the bucket itself,"
    " before, during and after a kill -9 inside approve and release",
    full=100_000,
    run=run,
    unit="probes",
    part=2000,
    tiny=0,  # those of `release_kills` ask the same
)
