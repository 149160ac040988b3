"""Compare `readvault process` with the pipeline that one would write from stock tools.

Both get the same simulated pairs with 5 % host reads, the same threads and compression level (1: ours is
ISA-L's; the sizes of both BAMs are printed), and run alternately. Printed are wall and CPU seconds, peak memory
of the largest process and of all together, the ratio of each pair of runs, the steps of ours, and small samples.
Debian's minimap2, samtools and ivar are needed beside what `make setup` installs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import small_runs
from benchmarks.measured import timed

REFERENCE = Path(__file__).parents[1] / "deployments" / "references" / "NC_045512.2.fasta"
LEVEL = 1
NEEDED = ("minimap2", "samtools", "ivar")
STOCK = """
set -euo pipefail
exec 2> stock.log
{python} -c "
import deacon
index = deacon.Index('{index}')
index.filter('{r1}', input2='{r2}', deplete=True, output='c1.fq.gz', output2='c2.fq.gz', threads={threads})
"
minimap2 -ax sr -t {threads} {reference} c1.fq.gz c2.fq.gz | samtools sort -@ {threads} -l {level} -o sorted.bam -
samtools index sorted.bam
samtools mpileup -aa -A -d 0 -Q 20 sorted.bam | ivar consensus -q 20 -t 0.5 -m 10 -p consensus
samtools mpileup -aa -A -d 0 -B -Q 20 --reference {reference} sorted.bam |
  ivar variants -p variants -q 20 -t 0.03 -r {reference}
samtools depth -a sorted.bam > depth.tsv
"""


def main() -> None:
    """Make the reads, run both pipelines in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-pairs", type=int, help="also run ours once with so many pairs, for its memory")
    options = parser.parse_args()
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        sys.exit(f"the comparison needs {', '.join(missing)} (on Debian: apt-get install {' '.join(NEEDED)})")
    with tempfile.TemporaryDirectory(prefix="readvault-bench-") as place:
        _compare(Path(place), options)


def _compare(place: Path, options: argparse.Namespace) -> None:
    r1, r2, index = _reads(place, options.pairs)
    reference = place / "reference.fasta"  # a copy, since samtools writes an index beside it
    shutil.copyfile(REFERENCE, reference)
    organism = place / "organism.yaml"
    organism.write_text(f"name: bench\nreference: {{fasta: {reference}}}\n")
    stock = STOCK.format(
        python=sys.executable, index=index, r1=r1, r2=r2, threads=options.threads, reference=reference, level=LEVEL
    )
    ours = _ours(organism, index, options.threads, r1, r2)
    print(f"{options.pairs} pairs of 2 x 150, {options.threads} threads, {options.runs} alternating runs")
    print(f"{'':12}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}{'together':>10}{'BAM MB':>10}")
    ratios = []
    for number in range(options.runs):
        runs = {}
        for name, command, bam in (
            ("stock", ["bash", "-c", stock], "sorted.bam"),
            ("readvault", ours, "out/alignment.bam"),
        ):
            directory = place / f"{name}-{number}"
            run = runs[name] = timed(command, directory)
            memory = f"{run.memory / 1e6:10.0f}{run.memory_together / 1e6:10.0f}"
            size = (directory / bam).stat().st_size
            print(f"{name:12}{run.wall:10.1f}{run.cpu:10.1f}{memory}{size / 1e6:10.1f}", flush=True)
            shutil.rmtree(directory)
        ratios.append((runs["readvault"].wall / runs["stock"].wall, runs["readvault"].cpu / runs["stock"].cpu))
    for name, values in zip(("wall", "CPU"), zip(*ratios, strict=True), strict=True):
        spread = f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
        print(f"ratio readvault / stock, {name}: median {spread}")
    small_runs.steps(place, organism, index, r1, r2, options.threads)
    small_runs.report(place, index, r1, r2, options.threads)
    if options.memory_pairs:
        more = place / "more"
        more.mkdir()
        r1, r2, index = _reads(more, options.memory_pairs)
        run = timed(_ours(organism, index, options.threads, r1, r2), place / "memory")
        print(f"{options.memory_pairs} pairs: {run.wall:.1f} s wall, {run.cpu:.1f} s CPU", end=", ")
        print(f"peak {run.memory / 1e6:.0f} MB, together {run.memory_together / 1e6:.0f} MB")


def _ours(organism: Path, index: Path, threads: int, r1: Path, r2: Path) -> list[str]:
    command = [sys.executable, "-m", "readvault.cli.main", "process", "--organism", str(organism), "--host-index"]
    return [*command, str(index), "--out", "out", "--threads", str(threads), "--platform", "illumina", str(r1), str(r2)]


def _reads(place: Path, pairs: int) -> tuple[Path, Path, Path]:
    from readvault.reads.dehumanize import host_index
    from readvault.reads.simulate import simulation

    host, index = place / "host.fasta", place / "host.idx"
    simulation.synthetic_host(host, length=500_000, seed=1)
    host_index.build(host, index)
    simulated = simulation.simulate(
        REFERENCE,
        place,
        pairs=pairs - pairs // 20,
        length=150,
        seed=1,
        host=host,
        host_pairs=pairs // 20,
    )
    assert simulated.r2 is not None
    return simulated.r1, simulated.r2, index


if __name__ == "__main__":
    main()
