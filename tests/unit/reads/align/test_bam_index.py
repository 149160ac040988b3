"""Our index finds what samtools' index finds."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pysam

from readvault.reads.align.bam_index import BamIndex
from readvault.reads.align.bam_records import BamReader
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.sample import Segment

_LENGTHS = {"one": 70_000, "none": 500, "two": 16_384, "late": 50_000}


def _records(path: Path, dice: random.Random) -> None:
    """Sorted alignments: dense, with long deletions, one segment without any and one that begins late."""
    header = pysam.AlignmentHeader.from_references(list(_LENGTHS), list(_LENGTHS.values()))
    with pysam.AlignmentFile(path, "wb", header=header) as out:
        for segment, (name, length) in enumerate(_LENGTHS.items()):
            count = 0 if name == "none" else 1500
            for start in sorted(dice.randrange(40_000 if name == "late" else 0, length - 100) for _ in range(count)):
                span = min(dice.choice([60, 60, 60, 8000]), length - start)
                read = pysam.AlignedSegment(header)
                read.query_name, read.flag, read.reference_id, read.reference_start = "r", 16, segment, start
                read.query_sequence = "".join(dice.choices("ACGT", k=60))
                read.cigartuples = (
                    [(0, 30), (2, span - 60), (0, 30)] if span > 60 else [(0, span), (4, 60 - span)][: 1 + (span < 60)]
                )
                read.query_qualities = pysam.qualitystring_to_array("".join(dice.choices("#:FI", k=60)))
                out.write(read)


def _indexed(source: Path, bam: Path) -> None:
    """Write the BAM with our writer, some bytes at a time, and index it."""
    segments = tuple(Segment(name, "A" * length) for name, length in _LENGTHS.items())
    index = BamIndex(segments)
    with BamReader(source) as reader:
        batch = reader.read()
    end = int(batch.offset[-1]) + 4 + int.from_bytes(batch.buffer[batch.offset[-1] : batch.offset[-1] + 4], "little")
    with pysam.BGZFile(str(source)) as file:
        content = file.read()
    head, records = content[: len(content) - end], np.frombuffer(content[len(content) - end :], np.uint8)
    with BgzfWriter(bam) as out:
        out.write(head)
        for begin, stop in ((0, int(batch.offset[1000])), (int(batch.offset[1000]), end)):
            out.write(memoryview(records[begin:stop]))
            index.add(records[begin:stop].copy(), len(head) + begin)
    index.write(bam.with_suffix(".bam.bai"), out.blocks())


def test_every_region_has_the_records_that_samtools_finds(tmp_path: Path) -> None:
    dice = random.Random(8)
    source, ours, theirs = (tmp_path / name for name in ("source.bam", "ours.bam", "theirs.bam"))
    _records(source, dice)
    _indexed(source, ours)
    shutil.copyfile(ours, theirs)
    pysam.index("-b", str(theirs))
    assert pysam.idxstats(str(ours)) == pysam.idxstats(str(theirs))
    with pysam.AlignmentFile(str(ours)) as one, pysam.AlignmentFile(str(theirs)) as other:
        found = 0
        for _ in range(150):
            name = dice.choice(list(_LENGTHS))
            begin = dice.randrange(_LENGTHS[name])
            end = min(begin + dice.choice([1, 50, 20_000]), _LENGTHS[name])
            records = [read.to_string() for read in one.fetch(name, begin, end)]
            assert records == [read.to_string() for read in other.fetch(name, begin, end)]
            found += len(records)
        assert found > 1000


def test_the_index_of_no_records_is_read(tmp_path: Path) -> None:
    bam = tmp_path / "empty.bam"
    header = pysam.AlignmentHeader.from_references(["one"], [100])
    pysam.AlignmentFile(bam, "wb", header=header).close()
    BamIndex((Segment("one", "A" * 100),)).write(tmp_path / "empty.bam.bai", np.zeros(1, np.int64))
    with pysam.AlignmentFile(str(bam)) as file:
        assert file.has_index()
        assert list(file.fetch("one")) == []
