"""How long small samples take: a cold command, a child of a warm nursery, nanopore reads on a large genome."""

from __future__ import annotations

import random
import resource
import sys
from itertools import islice
from pathlib import Path
from time import perf_counter

from isal import igzip

from benchmarks.measured import timed

_PAIRS = 1000


def report(place: Path, index: Path, r1: Path, r2: Path, threads: int) -> None:
    """Print the times of the small runs; reads are the first ones of the large sample."""
    few = tuple(_first(path, place / f"few_{path.name}") for path in (r1, r2))
    organism = place / "organism.yaml"
    command = [sys.executable, "-m", "readvault.cli.main", "process", "--host-index", str(index)]
    command += ["--threads", str(threads), "--out", "out", "--organism"]
    cold = timed([*command, str(organism), "--platform", "illumina", *map(str, few)], place / "cold")
    print(f"{_PAIRS} pairs, cold command: {cold.wall:.2f} s wall, {cold.cpu:.2f} s CPU")
    print(f"{_PAIRS} pairs, child of a warm nursery: {_warm(place, organism, index, few, threads):.2f} s wall")
    large, reads = _large_genome(place)
    run = timed([*command, str(large), "--platform", "ont", str(reads)], place / "large")
    print(f"{_PAIRS} nanopore reads on 197 kb, cold command: {run.wall:.2f} s wall, {run.cpu:.2f} s CPU")


def steps(place: Path, organism: Path, index: Path, r1: Path, r2: Path, threads: int) -> None:
    """Print the CPU seconds of each step of ours, run one after the other in this process."""
    from readvault.config import load_organism
    from readvault.domain.reads import Platform
    from readvault.reads.local_run import LocalRun
    from readvault.reads.sample import InputFile, Sample

    directory = place / "steps"
    directory.mkdir()
    inputs = tuple(InputFile(path, path.name) for path in (r1, r2))
    sample = Sample("bench", load_organism(organism), inputs, directory, index, Platform.ILLUMINA, threads=threads)
    run = LocalRun(sample)
    for step in ("validate", "dehumanize", "align", "consensus", "check"):
        cpu, wall = _cpu(), perf_counter()
        run.run(step)
        print(f"  {step:12}{perf_counter() - wall:10.2f} s wall{_cpu() - cpu:10.2f} s CPU")


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _first(path: Path, target: Path) -> Path:
    with igzip.open(path, "rb") as source, igzip.open(target, "wb") as out:
        out.writelines(islice(source, 4 * _PAIRS))
    return target


def _warm(place: Path, organism: Path, index: Path, reads: tuple[Path, ...], threads: int) -> float:
    """The best of three runs of all local steps, each in a fresh child."""
    from readvault.config import WorkerSettings, load_organism
    from readvault.domain.reads import Platform
    from readvault.nursery.nursery import Nursery
    from readvault.reads.sample import InputFile, Sample

    nursery = Nursery(WorkerSettings(scratch=place), {"bench": index})
    nursery.start()
    walls = []
    try:
        for number in range(3):
            directory = place / f"warm-{number}"
            directory.mkdir()
            inputs = tuple(InputFile(path, path.name) for path in reads)
            sample = Sample(
                "bench", load_organism(organism), inputs, directory, index, Platform.ILLUMINA, threads=threads
            )
            start = perf_counter()
            with nursery.child(sample) as child:
                for step in ("validate", "dehumanize", "align", "consensus", "check"):
                    child.run(step)
                child.result()
            walls.append(perf_counter() - start)
    finally:
        nursery.stop()
    return min(walls)


def _large_genome(place: Path) -> tuple[Path, Path]:
    """An organism with a genome as large as a poxvirus', and nanopore reads of it."""
    from readvault.domain.reads import Platform
    from readvault.reads.simulate import simulation

    fasta, organism = place / "large.fasta", place / "large.yaml"
    fasta.write_text(">large\n" + "".join(random.Random(2).choices("ACGT", k=197_000)) + "\n")
    organism.write_text(f"name: large\nreference: {{fasta: {fasta}}}\n")
    reads = place / "large_reads"
    reads.mkdir()
    simulated = simulation.simulate(fasta, reads, pairs=_PAIRS, length=1500, seed=3, platform=Platform.OXFORD_NANOPORE)
    return organism, simulated.r1
