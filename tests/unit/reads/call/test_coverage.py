"""The tables have a line for every position and the same bytes for the same counts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from readvault.reads.call import coverage
from readvault.reads.call.allele_counts import AlleleCounts, count
from readvault.reads.call.table_lines import lines
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam

SEGMENTS = (Segment("one", "ACGT"), Segment("two", "TTT"))


def counts(directory: Path) -> AlleleCounts:
    reads = [
        Read("1", 0, "2M2I2M", "ATCCGT"),
        Read("2", 1, "1M1D1M", "CT", flag=0x10),
        Read("3", 2, "1M", "N", segment=1),
    ]
    return count(make_bam(directory, SEGMENTS, reads), SEGMENTS, min_base_quality=20)


def test_coverage_lists_every_position_of_every_segment(tmp_path: Path) -> None:
    coverage.write_coverage(tmp_path / "coverage.tsv.gz", counts(tmp_path))
    assert gzip.decompress((tmp_path / "coverage.tsv.gz").read_bytes()).decode() == (
        "segment\tposition\tdepth\none\t1\t1\none\t2\t2\none\t3\t2\none\t4\t2\ntwo\t1\t0\ntwo\t2\t0\ntwo\t3\t0\n"
    )


def test_allele_counts_list_bases_deletions_and_insertions_by_strand(tmp_path: Path) -> None:
    coverage.write_allele_counts(tmp_path / "allele_counts.tsv.gz", counts(tmp_path))
    lines = gzip.decompress((tmp_path / "allele_counts.tsv.gz").read_bytes()).decode().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    said = [{name: value for name, value in row.items() if value != "0"} for row in rows]
    assert said[1] == {
        "segment": "one", "position": "2", "reference": "C", "depth": "2",
        "T_forward": "1", "insertion_forward": "1", "C_reverse": "1",
    }  # fmt: skip
    assert said[2] == {
        "segment": "one", "position": "3", "reference": "G", "depth": "2", "G_forward": "1", "deletion_reverse": "1",
    }  # fmt: skip
    assert said[6] == {"segment": "two", "position": "3", "reference": "T", "N_forward": "1"}
    assert len(rows) == 7


def test_numbers_of_any_width_are_written_as_python_writes_them() -> None:
    numbers = np.array([[1, 0, 10**18], [999, 1000, 9], [10, 123456, 2**63 - 1]], dtype=np.int64)
    plain = "".join("s\t" + "\t".join(map(str, row)) + "\n" for row in numbers.tolist())
    assert lines(b"s\t", numbers) == plain.encode()


def test_tables_carry_no_date(tmp_path: Path) -> None:
    found = counts(tmp_path)
    coverage.write_coverage(tmp_path / "a.gz", found)
    coverage.write_coverage(tmp_path / "b.gz", found)
    content = (tmp_path / "a.gz").read_bytes()
    assert content == (tmp_path / "b.gz").read_bytes()
    assert content[4:8] == bytes(4)
    assert content[3] == 4  # only the extra field of BGZF: no file name either
