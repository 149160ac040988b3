"""Workers that wake up when their job is done."""

from __future__ import annotations

from tests.faults.campaign import Campaign
from tests.faults.deliveries import zombies

CAMPAIGN = Campaign(
    name="zombies",
    promise="P4 Who lost a job writes nothing",
    how="a worker is stopped beyond its lease at each point of processing and release,"
    " another does its job, then it wakes up: no row and no object of the job changes",
    full=200,
    run=zombies,
    unit="wake-ups",
    tiny=2,
)
