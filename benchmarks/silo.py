"""How fast a sample's reads become lines of SILO, and in how much memory.

Simulated pairs of SARS-CoV-2 are aligned by the pipeline's own step; then each way of writing runs in a process of
its own: fragments (the default), one line for each read, fragments with amino acids, and a plain loop over pysam (on
fewer reads, from which the lines must come out alike). CPU seconds are of all threads: reading, pairing,
writing, checking each line, compressing. The first call of a compiled function loads it from its cache and counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

REFERENCES = Path(__file__).parents[1] / "deployments" / "references"
REFERENCE, GENES = REFERENCES / "NC_045512.2.fasta", REFERENCES / "NC_045512.2.gff3"
SR2SILO = 6_800
"""Reads per CPU-second of sr2silo 1.8.0 (nucleotides and amino acids, 50,000 reads), measured elsewhere."""

PLAIN_READS = 50_000
WAYS = ("fragments", "reads", "fragments, amino acids")


def main() -> None:
    """Make the BAM, take each way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--way", choices=(*WAYS, "plain loop"), help=argparse.SUPPRESS)
    parser.add_argument("--bam", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        _run(options.way, options.bam)
        return
    with tempfile.TemporaryDirectory(prefix="readvault-bench-") as place:
        bams = {count: _aligned(Path(place) / str(count), count) for count in {PLAIN_READS, options.reads}}
        print(f"{options.reads:,} reads of 150 bases, pairs, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'way':26}{'reads per CPU-second':>22}{'wall':>9}{'peak memory':>14}{'file':>9}")
        for way in (*WAYS, "plain loop"):
            bam = bams[PLAIN_READS if way == "plain loop" else options.reads]
            for _ in range(1 if way == "plain loop" else options.runs):
                subprocess.run([sys.executable, "-m", "benchmarks.silo", "--way", way, "--bam", str(bam)], check=True)
        print(f"{'sr2silo 1.8.0, elsewhere':26}{SR2SILO:22,}")


def _aligned(directory: Path, reads: int) -> Path:
    """The BAM that the step `align` makes of simulated pairs."""
    from readvault.domain.reads import LibraryLayout, Platform
    from readvault.reads.align import alignment
    from readvault.reads.sample import ReadFiles
    from readvault.reads.simulate import simulation

    directory.mkdir()
    planted = {"substitutions": 60, "insertions": 3, "deletions": 3, "shares": (0.6, 0.1)}
    made = simulation.simulate(
        REFERENCE, directory, pairs=reads // 2, length=150, seed=1, **planted  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.r2 is not None
    numbered = tuple(_numbered(path) for path in (made.r1, made.r2))
    files = ReadFiles(Platform.ILLUMINA, LibraryLayout.PAIRED, numbered[:1], numbered[1:])
    found, _ = alignment.align(
        files, REFERENCE, preset="auto", primers=None, sample_name="bench", directory=directory, threads=2
    )
    return found.bam


def _numbered(path: Path) -> Path:
    """The reads under the names that the screen for human reads gives: their ordinals."""
    from isal import igzip

    target = path.with_name(f"numbered_{path.name}")
    with igzip.open(path, "rb") as source, target.open("wb") as out:
        for number, line in enumerate(source):
            out.write(b"@%d\n" % (number // 4 + 1) if number % 4 == 0 else line)
    return target.rename(target.with_suffix("")) if target.suffix == ".gz" else target


def _run(way: str, bam: Path) -> None:
    """Take one way and print its row."""
    from readvault.domain import silo_lines
    from readvault.reads.call.gene_annotation import load_genes
    from readvault.reads.references import load_segments
    from readvault.reads.silo import conversion

    segments = load_segments(REFERENCE)
    genes = load_genes((GENES,), segments) if "amino" in way else ()
    with tempfile.TemporaryDirectory(dir=bam.parent) as place:
        cpu, wall = process_time(), perf_counter()
        if way == "plain loop":
            reads, written = _plainly(bam, Path(place))
        else:
            report = conversion.write(
                bam,
                segments,
                names=("main",),
                genes=genes,
                merged=way != "reads",
                min_base_quality=20,
                directory=Path(place),
            )
            reads, written = report.reads, (Path(place) / silo_lines.FILE_NAME).stat().st_size
        cpu, wall = process_time() - cpu, perf_counter() - wall
    print(f"{way:26}{reads / cpu:22,.0f}{wall:7.1f} s{_peak() / 1e6:11.0f} MB{written / 1e6:6.1f} MB", flush=True)


def _peak() -> int:
    """The most bytes of this process that were resident; what its parent had before the fork is no part of it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _plainly(bam: Path, place: Path) -> tuple[int, int]:
    """The oracle of the tests; its lines must be those of the native code."""
    import zstandard

    from readvault.domain import silo_lines
    from readvault.reads.references import load_segments
    from readvault.reads.silo import conversion
    from tests import silo_oracle

    segments = load_segments(REFERENCE)
    lines = "".join(silo_oracle.lines(bam, segments, names=("main",), minimum=20)).encode()
    report = conversion.write(bam, segments, names=("main",), min_base_quality=20, directory=place)
    with (place / silo_lines.FILE_NAME).open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        if stream.read() != lines:
            sys.exit("the native code and the plain loop differ")
    return report.reads, (place / silo_lines.FILE_NAME).stat().st_size


if __name__ == "__main__":
    main()
