"""`make faults`: go on with the campaigns where the ledger stopped, and write docs/promises.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import ledger
from tests.faults.campaign import Campaign, every, load, names


def main() -> int:
    """Run what is asked for; 1 when any trial failed."""
    wanted = _arguments()
    chosen = [load(f"campaign_{name}") for name in wanted.only] if wanted.only else every()
    started = time.monotonic()
    good = True
    for campaign in chosen if not wanted.table else []:
        good &= _go_on(campaign, wanted, started)
    _publish()
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    known = [name.removeprefix("campaign_") for name in names()]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=known, help="this campaign; may be given several times")
    parser.add_argument("--trials", type=int, help="at most so many more trials of each (default: one part)")
    parser.add_argument("--minutes", type=float, help="begin no further part after this time")
    parser.add_argument("--seed", type=int, help="instead of the number of trials so far")
    parser.add_argument("--table", action="store_true", help="run nothing; only write and show the table")
    return parser.parse_args()


def _go_on(campaign: Campaign, wanted: argparse.Namespace, started: float) -> bool:
    done = ledger.total(campaign.name, ledger.lines()).n
    end = min(campaign.full, done + (wanted.trials or campaign.part))
    while done < end:
        if wanted.minutes is not None and time.monotonic() - started > 60 * wanted.minutes:
            break
        seed = done if wanted.seed is None else wanted.seed + done
        print(f"{campaign.name}: {done:,} of {campaign.full:,} so far", flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            try:
                outcome = campaign.run(min(campaign.part, end - done), seed, Path(folder))
            except Exception:
                # The harness broke, not a promise: nothing is counted, and the other campaigns go on.
                traceback.print_exc()
                return False
        ledger.append(campaign, outcome, time.monotonic() - begun)
        for failure in outcome.failures:
            print(f"  FAILED: {failure}", flush=True)
        if outcome.failures or not outcome.trials:
            return False
        done += outcome.trials
    return True


def _publish() -> None:
    try:
        campaigns = every()
    except Exception:
        traceback.print_exc()
        print("docs/promises.md was left as it is", flush=True)
        return
    ledger.publish(campaigns)
    written = ledger.lines()
    for campaign in campaigns:
        sums = ledger.total(campaign.name, written)
        print(f"{campaign.name:24} {sums.n:>9,} of {campaign.full:>9,}  failures {sums.failures}")


if __name__ == "__main__":
    sys.exit(main())
