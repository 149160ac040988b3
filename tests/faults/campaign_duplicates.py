"""One delivery done by several at once."""

from __future__ import annotations

from tests.faults.campaign import Campaign
from tests.faults.deliveries import duplicates

CAMPAIGN = Campaign(
    name="duplicates",
    promise="P4 A delivery may come any number of times; its effect comes once",
    how="the same delivery done by two to ten workers at once and once more later: one claim, one manifest,"
    " one line in the audit log",
    full=1000,
    run=duplicates,
    unit="deliveries",
    tiny=2,
)
