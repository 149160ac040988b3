"""Compare what `readvault process` calls with the truth of simulated samples, and with iVar and samtools.

The three programs get the same BAM and the same thresholds. The result is a page in Markdown: what was run, how
exact it was, where the programs differ and who is right. Debian's samtools and ivar are needed beside
what `make setup` installs. The same seeds and versions give the same page.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import accuracy_rivals
from benchmarks.accuracy_page import page
from benchmarks.accuracy_scenarios import OURS, SCENARIOS, Outcome, run

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"


def main() -> None:
    """Run all scenarios with all seeds, write the page; exit status 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--scenarios", nargs="+", default=[s.name for s in SCENARIOS], metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the Markdown goes")
    options = parser.parse_args()
    if missing := [tool for tool in accuracy_rivals.NEEDED if shutil.which(tool) is None]:
        sys.exit(f"the comparison needs {', '.join(missing)} (on Debian: apt-get install {' '.join(missing)})")
    outcomes = []
    for scenario in (s for s in SCENARIOS if s.name in options.scenarios):
        for seed in options.seeds:
            with tempfile.TemporaryDirectory(prefix="readvault-accuracy-") as place:
                outcome = run(scenario, seed, Path(place) / "sample", rivals=True, threads=options.threads)
            outcomes.append(outcome)
            print(_line(outcome), flush=True)
    options.page.write_text(page(outcomes), encoding="utf-8")
    if broken := broken_promises(outcomes):
        sys.exit("\n".join(broken))


def broken_promises(outcomes: Sequence[Outcome]) -> list[str]:
    """What is promised and did not hold, as sentences; recall and precision are of all seeds of a scenario together."""
    found = []
    for outcome in outcomes:
        where = f"{outcome.scenario.name}, seed {outcome.seed}"
        if outcome.deep:
            found.append(
                f"{where}: {len(outcome.deep)} errors of the consensus at 20 fragments or more: {outcome.deep}"
            )
        if outcome.scenario.min_depth >= 500 and (worst := outcome.judgements[OURS].worst_deviation) > 0.02:
            found.append(f"{where}: a frequency is {worst:.4f} off")
    for name in dict.fromkeys(outcome.scenario.name for outcome in outcomes):
        judged = [outcome.judgements[OURS] for outcome in outcomes if outcome.scenario.name == name]
        recall = sum(j.found for j in judged) / max(sum(j.wanted for j in judged), 1)
        precision = sum(j.right for j in judged) / max(sum(j.called for j in judged), 1)
        if recall < 0.99:
            found.append(f"{name}: recall is {recall:.4f}; missed {[call for j in judged for call in j.missed]}")
        if precision < 0.99:
            found.append(f"{name}: precision is {precision:.4f}; false {[call for j in judged for call in j.false]}")
    return found


def _line(outcome: Outcome) -> str:
    judged = outcome.judgements[OURS]
    errors = ", ".join(f"{name} {len(found)}" for name, found in outcome.errors.items())
    return (
        f"{outcome.scenario.name} seed {outcome.seed}: {outcome.mean_depth:.0f}x; consensus errors: {errors};"
        f" recall {judged.recall:.4f}, precision {judged.precision:.4f}, frequencies ±{judged.worst_deviation:.4f}"
    )


if __name__ == "__main__":
    main()
