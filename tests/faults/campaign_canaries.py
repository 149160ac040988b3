"""Canaries in submissions, most of which fail, through a whole stack with Prefect; then everything is searched."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.faults import canaries
from tests.faults.campaign import Campaign, Outcome
from tests.prefect_database import PrefectDatabase
from tests.stack import Stack

WITH_PREFECT_FROM = 8
"""Fewer submissions than this go without Prefect, whose database and file search take longest."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """Plant, process, disturb, search. Nothing in `make test`: the journey plants one of each kind, with Prefect."""
    if not trials:
        return Outcome(0, [], "left to the journey")
    prefect = PrefectDatabase() if trials >= WITH_PREFECT_FROM else None
    style = ("text", "json")[seed % 2]
    stack = Stack(folder / "stack", prefect=prefect, environment={"READVAULT_LOG_FORMAT": style, **QUICK})
    failures: list[str] = []
    try:
        stack.start()
        planter = canaries.Planter(stack, stack.lab(), folder / "files", seed)
        planter.refusals()
        names = planter.submissions(trials)
        if prefect is not None and not _disturb(stack):
            failures.append("no child was killed: the run showed less than it says")
        for name in names:
            planter.lab.processed(*name, seconds=240)
        planter.remember_urls(names)
        planter.refusals()
        failures += canaries.found(stack, planter.planted)
        failures += canaries.what_the_search_missed(stack, names)
    finally:
        stack.stop()
    how = "Prefect, children and S3 killed" if prefect is not None else "inline"
    return Outcome(trials, failures, f"a whole stack, {how}, {style} logs")


def _disturb(stack: Stack) -> int:
    """Kill the children of running jobs, and S3 once, which is then started anew."""
    killed = 0
    for _ in range(10):
        killed += canaries.kill_children(stack)
        time.sleep(0.3)
    os.kill(stack.stack_json()["pids"]["s3"], signal.SIGKILL)
    return killed


QUICK = {
    "READVAULT_WORKER__RETRY_AFTER": "[0.5]",
    "READVAULT_WORKER__MAX_ATTEMPTS": "50",
    "READVAULT_WORKER__DISPATCH_EVERY": "0.3",
    "READVAULT_WORKER__THREADS": "1",
}
CAMPAIGN = Campaign(
    name="canaries",
    promise="P10 Nothing signed, no token, no read, no file name and no metadata in logs, Prefect, artifacts",
    how="canaries in file names, metadata, names of reads, reads (31-mers), tokens, passwords and signed URLs of"
    " submissions of which seven in eight are bad, children killed, S3 killed; then all logs, the whole Prefect"
    " database as text, its files, our audit log, causes of failures, arguments and environments of processes",
    full=200,
    run=run,
    unit="submissions",
    part=40,
    tiny=0,
)
