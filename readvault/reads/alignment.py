"""Reads onto the reference: minimap2, primer clipping, a sorted and indexed BAM.

The BAM holds primary and supplementary alignments: a read across a large deletion is two
alignments, and without the second one the far side would look uncovered. Unmapped reads are counted
and left out, secondary alignments are not made. Its bytes depend on reads, reference, preset,
primers and sample name, never on the number of threads, paths, hosts or the day.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pysam

from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import AlignmentReport
from readvault.reads import primers as primer_schemes
from readvault.reads import references, tools
from readvault.reads.sample import Alignment, ReadFiles, Segment

STEP = "align"
PRESETS = {Platform.ILLUMINA: "sr", Platform.OXFORD_NANOPORE: "map-ont", Platform.PACBIO_SMRT: "map-hifi"}
"""minimap2's presets when the organism says `auto`."""

KEPT_TAGS = "NM,AS,RG"
"""Clipping primers makes MD stale, and readers who want it can make it from the reference."""

SORT_MEMORY = "256M"
_READ_GROUP_PLATFORMS = {Platform.ILLUMINA: "ILLUMINA", Platform.OXFORD_NANOPORE: "ONT", Platform.PACBIO_SMRT: "PACBIO"}


def align(
    reads: ReadFiles,
    reference: Path,
    *,
    preset: str,
    primers: Path | None,
    sample_name: str,
    directory: Path,
    threads: int,
) -> tuple[Alignment, AlignmentReport]:
    """Align reads to the reference; leaves `alignment.bam` and `alignment.bam.bai` in `directory`.

    `preset` is one of minimap2's, or `auto`. With `primers` (BED), bases that come from primers
    are soft-clipped by samtools' method (`samtools ampliconclip --both-ends`). Read names stay as
    they are. Raises ProcessingFailure when a tool fails.
    """
    segments = references.load_segments(reference)
    preset = PRESETS[reads.platform] if preset == "auto" else preset
    sites = primer_schemes.load_primers(primers, segments) if primers is not None else ()
    scratch = directory / "alignment.scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        read_group = _read_group(sample_name, reads.platform)
        mapped, mapped_reads, unmapped = _map(reads, reference, preset, read_group, scratch, threads)
        total = mapped_reads + unmapped
        if sites:
            mapped = _clip_primers(mapped, sites, scratch)
            mapped_reads = _count_primary(mapped, scratch)
        alignment = _finish(mapped, _header(segments, read_group), scratch, reads, reference, directory, threads)
        alignment = replace(alignment, primers=sites)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report = AlignmentReport(
        reads=total,
        mapped_reads=mapped_reads,
        mapped_fraction=mapped_reads / total if total else 0.0,
        reference_sha256=references.digest_of(segments),
        preset=preset,
        primer_sites=len(sites),
        primers_sha256=primer_schemes.digest(sites) if sites else None,
    )
    return alignment, report


def _map(
    reads: ReadFiles, reference: Path, preset: str, read_group: str, scratch: Path, threads: int
) -> tuple[Path, int, int]:
    """Map all reads: a BAM of the mapped ones in the order of the input, how many mapped, how many did not."""
    inputs = [str(_one_file(reads.r1, scratch / "r1"))]
    if reads.layout is LibraryLayout.PAIRED:
        inputs.append(str(_one_file(reads.r2, scratch / "r2")))
    arguments = ["-a", "-x", preset, "-t", str(threads), "--secondary=no", "-R", read_group, str(reference), *inputs]
    mapped, counts = scratch / "mapped.bam", scratch / "counts.json"
    with tools.minimap2(STEP, arguments) as sam:
        options = ["-u", "--no-PG", "-F", "4", "--keep-tag", KEPT_TAGS, "--save-counts", str(counts)]
        tools.samtools(STEP, pysam.view, *options, "-o", str(mapped), sam)
    unmapped = int(json.loads(counts.read_text())["records_filter_rejected"])
    return mapped, _count_primary(mapped, scratch), unmapped


def _clip_primers(mapped: Path, sites: tuple[primer_schemes.PrimerSite, ...], scratch: Path) -> Path:
    """Soft-clip primer bases at both ends; reads of which nothing is left are dropped, mates told."""
    bed, clipped, mated, kept = (scratch / name for name in ("primers.bed", "clipped.bam", "mated.bam", "kept.bam"))
    primer_schemes.write_bed(sites, bed)
    options = ["-u", "--no-PG", "--soft-clip", "--both-ends", "-f", str(scratch / "clipping.txt"), "-b", str(bed)]
    tools.samtools(STEP, pysam.ampliconclip, *options, "-o", str(clipped), str(mapped))
    mapped.unlink()
    tools.samtools(STEP, pysam.fixmate, "-u", "-r", "--no-PG", str(clipped), str(mated))
    clipped.unlink()
    options = ["-u", "--no-PG", "-F", "4", "--keep-tag", KEPT_TAGS, "-o", str(kept)]
    tools.samtools(STEP, pysam.view, *options, str(mated))
    mated.unlink()
    return kept


def _finish(
    mapped: Path, header: str, scratch: Path, reads: ReadFiles, reference: Path, directory: Path, threads: int
) -> Alignment:
    """Sort, put the clean header on, index. Sorting is stable, so threads can't change the order of ties."""
    ordered, header_file = scratch / "sorted.bam", scratch / "header.sam"
    options = ["--no-PG", "-@", str(threads - 1), "-m", SORT_MEMORY, "-T", str(scratch / "sort")]
    tools.samtools(STEP, pysam.sort, *options, "-o", str(ordered), str(mapped))
    header_file.write_text(header, encoding="ascii")
    bam = directory / "alignment.bam"
    try:
        pysam.reheader("--no-PG", str(header_file), str(ordered), save_stdout=str(bam))
    except pysam.SamtoolsError as fault:
        raise ProcessingFailure(STEP, "samtools reheader failed") from fault
    bai = directory / "alignment.bam.bai"
    tools.samtools(STEP, pysam.index, "-b", "-@", str(threads - 1), str(bam), str(bai))
    return Alignment(bam=bam, bai=bai, reference=reference, platform=reads.platform)


def _header(segments: tuple[Segment, ...], read_group: str) -> str:
    """The BAM's whole header: no programs, no command lines, no paths, no dates."""
    lines = ["@HD\tVN:1.6\tSO:coordinate"]
    for segment in segments:
        checksum = hashlib.md5(segment.sequence.encode(), usedforsecurity=False).hexdigest()
        lines.append(f"@SQ\tSN:{segment.name}\tLN:{len(segment.sequence)}\tM5:{checksum}")
    return "\n".join([*lines, read_group.replace("\\t", "\t"), ""])


def _read_group(sample_name: str, platform: Platform) -> str:
    """The @RG line as minimap2 takes it; anything but printable ASCII in the name becomes `_`."""
    name = re.sub(r"[^!-~]|\\", "_", sample_name)
    return f"@RG\\tID:{name}\\tSM:{name}\\tPL:{_READ_GROUP_PLATFORMS[platform]}"


def _one_file(files: tuple[Path, ...], joined: Path) -> Path:
    """One file with all reads in order: minimap2 takes several files for mates of each other."""
    if len(files) == 1:
        return files[0]
    with joined.open("wb") as target:
        for file in files:
            with file.open("rb") as probe:
                compressed = probe.read(2) == b"\x1f\x8b"
            with gzip.open(file) if compressed else file.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    return joined


def _count_primary(bam: Path, scratch: Path) -> int:
    """How many reads, not alignments, a BAM holds."""
    count = scratch / "primary.txt"
    tools.samtools(STEP, pysam.view, "-c", "-F", "0x900", "-o", str(count), str(bam))
    return int(count.read_text())
