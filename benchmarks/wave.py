"""A wave of small jobs beside one big one: `python -m benchmarks.wave` (`make bench-wave`).

Two runs through `readvault up --no-prefect`, each with a stack of its own: so many small submissions,
and the same again after a big one has begun. Printed is how long the small ones took from their submit
to their result; the aim is that the 95th percentile is at most doubled by the big one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import quantiles

from sqlmodel import col, func, select

from readvault import bootstrap
from readvault.db.tables import Job
from readvault.domain.status import JobKind, JobState
from readvault.reads.simulate import simulation
from readvault.services.house import House
from tests.stack import Lab, Stack

AIM = 2.0
BLOCK = 20_000
"""Pairs that are simulated once; the big input is made of them under ever new names."""
_LINES = 4


def main() -> None:
    """Do both runs, print a table and a line of JSON; fail when the aim is missed or a job is not done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", type=int, default=2000, help="small submissions")
    parser.add_argument("--pairs", type=int, default=50, help="of each small submission")
    parser.add_argument("--megabytes", type=float, default=5000, help="of gzipped FASTQ in the big submission")
    parser.add_argument("--concurrency", type=int, default=2, help="small jobs at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readvault-wave-") as place:
        without = _run(Path(place) / "without", options, big=False)
        beside = _run(Path(place) / "beside", options, big=True)
    ratio = beside["p95"] / without["p95"]
    print(f"{options.small} small jobs of {options.pairs} pairs, {options.concurrency} at once")
    for name, figures in (("alone", without), (f"beside {options.megabytes:g} MB", beside)):
        told = ", ".join(f"{key} {value:.1f}" for key, value in figures.items())
        print(f"{name:>16}: {told} (seconds)")
    print(f"the 95th percentile is {ratio:.2f} times as long beside the big job (at most {AIM:g} is wanted)")
    print(json.dumps({"ratio": ratio, "alone": without, "beside": beside, **vars(options), "load": os.getloadavg()}))
    if ratio > AIM:
        sys.exit("the aim is missed")


def _run(place: Path, options: argparse.Namespace, *, big: bool) -> dict[str, float]:
    place.mkdir()
    environment = {
        "READVAULT_WORKER__CONCURRENCY": str(options.concurrency),
        "READVAULT_WORKER__LARGE_BYTES": str(min(2 * 10**9, int(options.megabytes * 10**6 / 2))),
    }
    stack = Stack(place / "stack", prefect=None, environment=environment)
    stack.start()
    try:
        lab, house = stack.lab(), bootstrap.house(stack.settings)
        reference = stack.organism().reference.fasta
        small = simulation.simulate(reference, place, pairs=options.pairs, length=150, seed=1)
        assert small.r2 is not None
        cell = lab.upload(small.r1, small.r2)
        if big:
            _begin_big(house, lab, reference, place, options.megabytes)
        submitted = time.monotonic()
        lab.submit(*[cell] * options.small)
        figures = _waits(house, options.small)
        figures["all of them"] = time.monotonic() - submitted
        if big and not _states(house, large=True).get(JobState.RUNNING):
            print("the big job had ended before the small ones: take a bigger one", file=sys.stderr)
        house.sessions.close()
    finally:
        stack.stop()
    return figures


def _begin_big(house: House, lab: Lab, reference: Path, place: Path, megabytes: float) -> None:
    """Submit the big input, and come back when a worker is at its local steps."""
    folder = place / "big"
    folder.mkdir()
    block = simulation.simulate(reference, folder, pairs=BLOCK, length=150, seed=2)
    assert block.r2 is not None
    mates = [folder / "big_R1.fastq.gz", folder / "big_R2.fastq.gz"]
    for source, target in zip((block.r1, block.r2), mates, strict=True):
        _multiply(source, target, int(megabytes * 10**6 / 2))
    lab.submit(lab.upload(*mates))
    for mate in mates:
        mate.unlink()
    while not _states(house, large=True).get(JobState.RUNNING):
        time.sleep(0.2)
    time.sleep(max(5.0, megabytes / 100))  # it is fetched first, which takes no processor


def _multiply(source: Path, target: Path, size: int) -> None:
    """Write the same reads again and again under new names, until the file has about so many bytes."""
    with gzip.open(source, "rb") as file:
        records = list(_records(file))
    with target.open("wb") as out:
        number = 0
        while out.tell() < size:
            number += 1
            text = b"".join(b"@%d.%s" % (number, record[1:]) for record in records)
            out.write(gzip.compress(text, compresslevel=1))


def _records(lines: Iterator[bytes]) -> Iterator[bytes]:
    while record := b"".join(islice(lines, _LINES)):
        yield record


def _waits(house: House, small: int) -> dict[str, float]:
    """Seconds from submit to result of the small ones, once all have one."""
    while _states(house, large=False).get(JobState.DONE, 0) < small:
        if stuck := _states(house, large=False).get(JobState.NEEDS_ATTENTION):
            sys.exit(f"{stuck} small jobs need attention")
        time.sleep(0.5)
    took = col(Job.finished_at) - col(Job.created_at)
    with house.sessions.read() as session:
        waits = sorted(session.exec(select(took).where(*_of(house, large=False))).all())
    cuts = quantiles(waits, n=20)
    return {"median": cuts[9], "p95": cuts[18], "longest": waits[-1]}


def _of(house: House, *, large: bool) -> tuple[object, ...]:
    bound = 10**6
    size = col(Job.input_bytes) >= bound if large else col(Job.input_bytes) < bound
    return (col(Job.kind) == JobKind.PROCESS_SUBMISSION.value, size)


def _states(house: House, *, large: bool) -> dict[str, int]:
    counted = select(Job.state, func.count()).where(*_of(house, large=large)).group_by(col(Job.state))
    with house.sessions.read() as session:
        return dict(session.exec(counted).all())


if __name__ == "__main__":
    main()
