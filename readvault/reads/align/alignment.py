"""Reads onto the reference: minimap2, primer clipping, a sorted and indexed BAM.

The BAM holds primary and supplementary alignments: a read across a large deletion is two
alignments, and without the second one the far side would look uncovered. Unmapped reads are counted
and left out, secondary alignments are not made. Its bytes depend on reads, reference, preset,
primers and sample name, never on the number of threads, paths, hosts or the day.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pysam

from readvault.domain.reads import Platform
from readvault.domain.reports import AlignmentReport
from readvault.reads import references, tools
from readvault.reads.align import primers as primer_schemes
from readvault.reads.align.bam_index import BamIndex
from readvault.reads.align.bam_sort import RecordSorter
from readvault.reads.align.mapping import KEPT_TAGS, map_reads, take_bam
from readvault.reads.align.placement import Groups
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.sample import Alignment, PrimerSite, ReadFiles, Segment

STEP = "align"
PRESETS = {Platform.ILLUMINA: "sr", Platform.OXFORD_NANOPORE: "map-ont", Platform.PACBIO_SMRT: "map-hifi"}
"""minimap2's presets when the organism says `auto`."""

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
    lines, groups = _read_groups(sample_name, reads)
    header = _header(segments, lines)
    scratch = directory / "alignment.scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        sorter = cleanup.enter_context(RecordSorter(scratch))
        total, mapped_reads = map_reads(
            reads,
            reference,
            segments,
            preset=preset,
            groups=groups,
            sorter=sorter,
            by_place=not sites,
            scratch=scratch,
            threads=threads,
        )
        if sites:
            mapped = scratch / "mapped.bam"
            _write(mapped, header, segments, sorter)
            sorter = cleanup.enter_context(RecordSorter(scratch))
            mapped_reads = take_bam(_clip_primers(mapped, sites, scratch), segments, sorter)
        bam, bai = directory / "alignment.bam", directory / "alignment.bam.bai"
        _write(bam, header, segments, sorter, bai)
    alignment = Alignment(bam=bam, bai=bai, reference=reference, platform=reads.platform, primers=sites)
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


def _clip_primers(mapped: Path, sites: tuple[PrimerSite, ...], scratch: Path) -> Path:
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


def _write(
    bam: Path, header: str, segments: tuple[Segment, ...], sorter: RecordSorter, bai: Path | None = None
) -> None:
    """Write a BAM of the sorter's records and, where it is asked for, its index."""
    index = BamIndex(segments)
    text = header.encode("ascii")
    names = [segment.name.encode("ascii") + b"\0" for segment in segments]
    head = b"BAM\1" + struct.pack("<i", len(text)) + text + struct.pack("<i", len(segments))
    for name, segment in zip(names, segments, strict=True):
        head += struct.pack("<i", len(name)) + name + struct.pack("<i", len(segment.sequence))
    place = len(head)
    with BgzfWriter(bam) as out:
        out.write(head)
        for records in sorter.sorted():
            out.write(memoryview(records))
            if bai is not None:
                index.add(records, place)
                place += len(records)
    if bai is not None:
        index.write(bai, out.blocks())


def _header(segments: tuple[Segment, ...], read_groups: list[str]) -> str:
    """The BAM's whole header: no programs, no command lines, no paths, no dates."""
    lines = ["@HD\tVN:1.6\tSO:coordinate"]
    for segment in segments:
        checksum = hashlib.md5(segment.sequence.encode(), usedforsecurity=False).hexdigest()
        lines.append(f"@SQ\tSN:{segment.name}\tLN:{len(segment.sequence)}\tM5:{checksum}")
    return "\n".join([*lines, *read_groups, ""])


def _read_groups(sample_name: str, reads: ReadFiles) -> tuple[list[str], Groups]:
    """The @RG lines, one for each lane, and their tags; anything but printable ASCII in the name becomes `_`."""
    name = re.sub(r"[^!-~]|\\", "_", sample_name)
    several = len(reads.lanes) > 1
    names = [f"{name}.{number}" for number in range(1, len(reads.lanes) + 1)] if several else [name]
    lines = [f"@RG\tID:{group}\tSM:{name}\tPL:{_READ_GROUP_PLATFORMS[reads.platform]}" for group in names]
    tags = [f"RGZ{group}\0".encode("ascii") for group in names]
    table = np.zeros((len(tags), max(map(len, tags))), dtype=np.uint8)
    for row, tag in zip(table, tags, strict=True):
        row[: len(tag)] = np.frombuffer(tag, dtype=np.uint8)
    ends = np.cumsum(reads.lanes[:-1] if several else (), dtype=np.int64)
    return lines, Groups(table, np.array([len(tag) for tag in tags], dtype=np.int64), ends)
