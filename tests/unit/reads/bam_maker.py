"""Tiny BAMs from rows that a reader of a test can check by eye."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pysam

from readvault.domain.reads import Platform
from readvault.reads.sample import Alignment, Segment


@dataclass(frozen=True)
class Read:
    """One alignment. `start` is 0-based; `quality` is one Phred value for all bases, or one for each."""

    name: str
    start: int
    cigar: str
    sequence: str
    flag: int = 0
    quality: int | tuple[int, ...] = 40
    segment: int = 0
    mate_start: int | None = None


def make_bam(directory: Path, segments: Iterable[Segment], reads: Iterable[Read], *, level: int = 6) -> Alignment:
    """A coordinate-sorted BAM of these alignments."""
    segments = tuple(segments)
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": s.name, "LN": len(s.sequence)} for s in segments]}
    unsorted, bam = directory / "unsorted.bam", directory / "alignment.bam"
    with pysam.AlignmentFile(str(unsorted), "wb", header=header) as out:
        for read in reads:
            record = pysam.AlignedSegment(out.header)
            record.query_name = read.name
            record.flag = read.flag
            record.reference_id = read.segment
            record.reference_start = read.start
            record.mapping_quality = 60
            record.cigarstring = read.cigar
            if read.mate_start is not None:
                record.next_reference_id = read.segment
                record.next_reference_start = read.mate_start
            record.query_sequence = read.sequence
            qualities = read.quality if isinstance(read.quality, tuple) else (read.quality,) * len(read.sequence)
            record.query_qualities = pysam.qualitystring_to_array("".join(chr(q + 33) for q in qualities))
            out.write(record)
    pysam.sort("-l", str(level), "-o", str(bam), str(unsorted), catch_stdout=False)
    pysam.index(str(bam), catch_stdout=False)
    return Alignment(bam=bam, bai=directory / "alignment.bam.bai", reference=bam, platform=Platform.ILLUMINA)


def pair(name: str, first: tuple[int, str, str], second: tuple[int, str, str], **more: int) -> list[Read]:
    """Mates: (start, cigar, sequence) of the forward one and of the reverse one."""
    (start, cigar, sequence), (mate_start, mate_cigar, mate_sequence) = first, second
    quality, mate_quality = more.get("quality", 40), more.get("mate_quality", 40)
    return [
        Read(name, start, cigar, sequence, flag=0x63, quality=quality, mate_start=mate_start),
        Read(name, mate_start, mate_cigar, mate_sequence, flag=0x93, quality=mate_quality, mate_start=start),
    ]
