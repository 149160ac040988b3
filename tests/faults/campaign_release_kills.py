"""kill -9 between any two steps of approval and release."""

from __future__ import annotations

from pathlib import Path

from tests.faults import release_kills
from tests.faults.campaign import Campaign, Outcome


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many kills."""
    return release_kills.run(folder, seed, kills=trials)[2]


CAMPAIGN = Campaign(
    name="release_kills",
    promise="P3 Private stays private until the approval is committed; a version is public as a whole or not at all",
    how=f"kill -9 at {len(release_kills.POINTS)} points inside approve and release while strangers ask for everything;"
    " afterwards the reconciler finishes what was approved",
    full=1200,
    run=run,
    unit="kills",
    tiny=2,
)
