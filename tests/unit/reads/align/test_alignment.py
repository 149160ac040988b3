"""Reads land where they come from, in a BAM that tells nothing else."""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pysam
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import AlignmentReport
from readvault.reads import references, tools
from readvault.reads.align import alignment, primers
from readvault.reads.sample import Alignment, ReadFiles, Segment

_DICE = random.Random(11)
GENOME = "".join(_DICE.choices("ACGT", k=3000))
COMPLEMENT = str.maketrans("ACGT", "TGCA")
QUALITY = "I" * 100


def reverse(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.fasta"
    path.write_text(f">genome a description\n{GENOME[:1500].lower()}\n{GENOME[1500:]}\n")
    return path


def pairs(directory: Path, starts: range, *, insert: int = 240) -> ReadFiles:
    """Mates of 100 bases from fragments that begin at `starts`, named by ordinal; and one pair of noise."""
    one, two = [], []
    noise = random.Random(5)
    for number, start in enumerate([*starts, None], start=1):
        fragment = "".join(noise.choices("ACGT", k=insert)) if start is None else GENOME[start : start + insert]
        one.append(f"@{number}\n{fragment[:100]}\n+\n{QUALITY}\n")
        two.append(f"@{number}\n{reverse(fragment)[:100]}\n+\n{QUALITY}\n")
    first, second = directory / "r1.fastq.gz", directory / "r2.fastq.gz"
    first.write_bytes(gzip.compress("".join(one).encode()))
    second.write_bytes(gzip.compress("".join(two).encode()))
    return ReadFiles(Platform.ILLUMINA, LibraryLayout.PAIRED, (first,), (second,))


def aligned(
    reads: ReadFiles, reference: Path, directory: Path, *, bed: Path | None = None, threads: int = 1, name: str = "S.1"
) -> tuple[Alignment, AlignmentReport]:
    directory.mkdir(exist_ok=True)
    return alignment.align(
        reads, reference, preset="auto", primers=bed, sample_name=name, directory=directory, threads=threads
    )


def test_reads_lie_where_they_come_from_and_unmapped_ones_are_only_counted(tmp_path: Path, reference: Path) -> None:
    found, report = aligned(pairs(tmp_path, range(0, 2000, 100)), reference, tmp_path / "out")
    with pysam.AlignmentFile(str(found.bam)) as bam:
        records = [(r.query_name, r.is_reverse, r.reference_start, r.cigarstring) for r in bam.fetch("genome", 0, 3000)]
    expected = [(str(i + 1), side, 100 * i + 140 * side, "100M") for i in range(20) for side in (False, True)]
    assert sorted(records) == sorted(expected)
    assert (report.reads, report.mapped_reads, report.preset) == (42, 40, "sr")
    assert report.mapped_fraction == pytest.approx(40 / 42)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alignment.bam", "alignment.bam.bai"]


def test_the_header_says_reference_and_sample_and_nothing_else(tmp_path: Path, reference: Path) -> None:
    found, _ = aligned(pairs(tmp_path, range(0, 300, 100)), reference, tmp_path / "out", name="a\tb \\t ü.1")
    with pysam.AlignmentFile(str(found.bam)) as bam:
        header = str(bam.header)
        tags = {tag for record in bam for tag, _ in record.get_tags()}
    checksum = hashlib.md5(GENOME.encode(), usedforsecurity=False).hexdigest()
    assert header == (
        "@HD\tVN:1.6\tSO:coordinate\n"
        f"@SQ\tSN:genome\tLN:3000\tM5:{checksum}\n"
        "@RG\tID:a_b__t__.1\tSM:a_b__t__.1\tPL:ILLUMINA\n"
    )
    assert tags == {"NM", "AS", "RG"}


def test_the_bytes_do_not_depend_on_threads_and_folders(tmp_path: Path, reference: Path) -> None:
    reads = pairs(tmp_path, range(0, 2000, 7))
    one, _ = aligned(reads, reference, tmp_path / "one", threads=1)
    two, _ = aligned(reads, reference, tmp_path / "two", threads=2)
    assert one.bam.read_bytes() == two.bam.read_bytes()
    assert one.bai.read_bytes() == two.bai.read_bytes()


def test_bases_from_primers_are_clipped_whatever_accession_the_scheme_names(tmp_path: Path, reference: Path) -> None:
    scheme = tmp_path / "scheme.bed"
    scheme.write_text("other.1\t100\t120\tamplicon_1_LEFT\tpool\nother.1\t320\t340\tamplicon_1_RIGHT\tpool\n")
    found, report = aligned(pairs(tmp_path, range(100, 101)), reference, tmp_path / "out", bed=scheme)
    with pysam.AlignmentFile(str(found.bam)) as bam:
        records = [(r.reference_start, r.cigarstring, r.next_reference_start, r.template_length) for r in bam]
    assert records == [(120, "20S80M", 240, 200), (240, "80M20S", 120, -200)]
    assert report.primer_sites == 2
    assert report.primers_sha256 is not None


def test_several_files_are_read_in_order_plain_or_gzip(tmp_path: Path, reference: Path) -> None:
    files = []
    for number, suffix in enumerate((".fastq", ".fastq.gz", ".fastq")):
        content = f"@{number}\n{GENOME[500 * number : 500 * number + 100]}\n+\n{QUALITY}\n".encode()
        files.append(tmp_path / f"lane{number}{suffix}")
        files[-1].write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    reads = ReadFiles(Platform.ILLUMINA, LibraryLayout.SINGLE, tuple(files))
    found, report = aligned(reads, reference, tmp_path / "out")
    with pysam.AlignmentFile(str(found.bam)) as bam:
        assert [(r.query_name, r.reference_start) for r in bam] == [("0", 0), ("1", 500), ("2", 1000)]
    assert report.mapped_reads == 3


def test_when_minimap2_fails_it_is_our_failure_and_nothing_is_left(tmp_path: Path, reference: Path) -> None:
    reads = ReadFiles(Platform.ILLUMINA, LibraryLayout.SINGLE, (tmp_path / "absent.fastq",))
    with pytest.raises(ProcessingFailure, match="align: ") as failure:
        aligned(reads, reference, tmp_path / "out")
    assert "absent" not in str(failure.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "preset"),
    [(Platform.ILLUMINA, "sr"), (Platform.OXFORD_NANOPORE, "map-ont"), (Platform.PACBIO_SMRT, "map-hifi")],
)
def test_every_platform_has_its_preset(platform: Platform, preset: str) -> None:
    assert alignment.PRESETS[platform] == preset


@pytest.mark.parametrize("line", ["genome\t1\tx\tname", "genome\t5\t5\tname", "genome\t2990\t3001\tname", "a b c", "#"])
def test_a_scheme_that_does_not_fit_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "scheme.bed").write_text(line + "\n")
    with pytest.raises(ProcessingFailure):
        primers.load_primers(tmp_path / "scheme.bed", (Segment("genome", GENOME),))


def test_primers_of_a_segmented_reference_need_its_names(tmp_path: Path) -> None:
    (tmp_path / "scheme.bed").write_text("HA\t1\t20\tHA_1_LEFT\nNA\t5\t25\tNA_1_RIGHT\t1\t-\tACGT\n")
    segments = (Segment("HA", "A" * 50), Segment("NA", "C" * 50))
    sites = primers.load_primers(tmp_path / "scheme.bed", segments)
    assert [(s.segment, s.start, s.strand) for s in sites] == [("HA", 1, "+"), ("NA", 5, "-")]
    with pytest.raises(ProcessingFailure, match="does not fit"):
        primers.load_primers(tmp_path / "scheme.bed", (segments[0], Segment("PB2", "C" * 50)))


def test_the_digest_of_a_reference_is_of_its_content(tmp_path: Path, reference: Path) -> None:
    same = tmp_path / "same.fasta.gz"
    same.write_bytes(gzip.compress(f">genome\n{GENOME}\n".encode()))
    other = tmp_path / "other.fasta"
    other.write_text(f">genome\n{GENOME[:-1]}\n")
    assert references.digest(same) == references.digest(reference) != references.digest(other)
    assert references.load_segments(reference) == (Segment("genome", GENOME),)


@pytest.mark.parametrize("content", ["", "ACGT\n", ">a\n>b\nACGT\n", ">a\nA\n>a\nC\n", "@r\nA\n+\nI\n"])
def test_a_reference_that_is_none_is_our_failure(tmp_path: Path, content: str) -> None:
    (tmp_path / "reference.fasta").write_text(content)
    with pytest.raises(ProcessingFailure):
        references.load_segments(tmp_path / "reference.fasta")


def test_versions_name_all_tools() -> None:
    versions = tools.versions()
    assert {"readvault", "minimap2", "samtools", "htslib", "deacon"} <= versions.keys()
    assert all(version[0].isdigit() for version in versions.values())


def test_every_lane_has_its_read_group_whether_minimap2_is_needed_or_not(tmp_path: Path, reference: Path) -> None:
    reads = replace(pairs(tmp_path, range(0, 2000, 100)), lanes=(5, 0, 16))
    found, _ = aligned(reads, reference, tmp_path / "out")
    with pysam.AlignmentFile(str(found.bam)) as bam:
        groups = [(group["ID"], group["SM"]) for group in bam.header.to_dict()["RG"]]
        by_read = {(int(r.query_name), r.get_tag("RG")) for r in bam}
    assert groups == [("S.1.1", "S.1"), ("S.1.2", "S.1"), ("S.1.3", "S.1")]
    assert by_read == {(n, "S.1.1" if n <= 5 else "S.1.3") for n in range(1, 21)}
