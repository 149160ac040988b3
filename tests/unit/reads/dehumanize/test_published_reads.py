"""Only what lies on the reference is published when the organism says so; mates stay together, names stay."""

from __future__ import annotations

import gzip
from pathlib import Path

import pysam
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.reads.dehumanize import published_reads
from tests.unit.reads.fastq_maker import record, records_of

PRIMARY, REVERSE, UNMAPPED, SECONDARY, SUPPLEMENTARY = 0x41, 0x91, 0x4, 0x100, 0x800


def bam(path: Path, reads: list[tuple[str, int]]) -> Path:
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6"}, "SQ": [{"SN": "a", "LN": 99}, {"SN": "bb", "LN": 5}]}
    )
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for name, flag in reads:
            read = pysam.AlignedSegment(header)
            read.query_name, read.flag, read.query_sequence = name, flag, "ACGT" * 99
            if not flag & UNMAPPED:
                read.reference_id, read.reference_start, read.cigarstring = 0, 7, "396M"
            file.write(read)
    return path


def fastq(path: Path, count: int) -> Path:
    path.write_bytes(gzip.compress("".join(record(str(n), "ACGT" * n) for n in range(1, count + 1)).encode()))
    return path


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_templates_with_a_mapped_mate_stay_under_their_names(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mate is enough; an unmapped record, or a supplementary or secondary one alone, is not."""
    monkeypatch.setattr(published_reads, "_BLOCK", block)
    mates = (fastq(tmp_path / "1.fastq.gz", 20), fastq(tmp_path / "2.fastq.gz", 20))
    reads = [("20", REVERSE), ("3", PRIMARY), ("3", REVERSE), ("9", PRIMARY | SUPPLEMENTARY), ("9", PRIMARY)]
    reads += [("5", UNMAPPED), ("6", SUPPLEMENTARY), ("7", SECONDARY), ("11", 0)]
    kept = published_reads.keep_mapped(mates, bam(tmp_path / "x.bam", reads), 20)
    assert kept == 4
    for path in mates:
        assert [r[:2] for r in records_of(path)] == [[f"@{n}", "ACGT" * n] for n in (3, 9, 11, 20)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.fastq.gz", "2.fastq.gz", "x.bam"]


def test_nothing_on_the_reference_publishes_nothing(tmp_path: Path) -> None:
    path = fastq(tmp_path / "1.fastq.gz", 9)
    assert published_reads.keep_mapped((path,), bam(tmp_path / "x.bam", []), 9) == 0
    assert records_of(path) == []


@pytest.mark.parametrize("name", ["10", "0", "x1", "99999999999999999999999999"])
def test_a_read_that_is_not_among_the_dehumanized_ones_stops_it(tmp_path: Path, name: str) -> None:
    path = fastq(tmp_path / "1.fastq.gz", 9)
    before = path.read_bytes()
    with pytest.raises(ProcessingFailure):
        published_reads.keep_mapped((path,), bam(tmp_path / "x.bam", [(name, 0)]), 9)
    assert path.read_bytes() == before


def test_other_reads_than_were_counted_stop_it(tmp_path: Path) -> None:
    path = fastq(tmp_path / "1.fastq.gz", 9)
    with pytest.raises(ProcessingFailure):
        published_reads.keep_mapped((path,), bam(tmp_path / "x.bam", [("1", 0)]), 17)
    assert len(records_of(path)) == 9
