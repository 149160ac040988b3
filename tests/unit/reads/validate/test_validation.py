"""Reads are accepted when they are right, and refused with file, record and line when not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.domain.reads import FileFormat, LibraryLayout, Platform
from readvault.domain.reports import ValidationReport
from readvault.reads.sample import InputFile, ReadFiles
from readvault.reads.validate import fastq_stream
from readvault.reads.validate.fastq_check import NameHashes, Profile, check
from readvault.reads.validate.fastq_duplicates import find_duplicates
from readvault.reads.validate.fastq_faults import find_faults
from readvault.reads.validate.fastq_lanes import Source
from readvault.reads.validate.formats import Compression, Decompressed
from readvault.reads.validate.validation import validate
from tests.unit.reads.fastq_maker import bases, reads, record, records_of, write


def validated(
    directory: Path, *files: Path, rules: FileCategory | None = None, platform: Platform | None = None
) -> tuple[ReadFiles, ValidationReport]:
    inputs = [InputFile(path, path.name) for path in files]
    return validate(inputs, rules=rules or FileCategory(), platform=platform, directory=directory)


def refused(directory: Path, *files: Path, rules: FileCategory | None = None) -> tuple[Annotation, ...]:
    with pytest.raises(InvalidSubmission) as refusal:
        validated(directory, *files, rules=rules)
    return refusal.value.annotations


def faults_of(directory: Path, *files: Path) -> tuple[Annotation, ...]:
    try:
        validated(directory, *files)
    except InvalidSubmission as refusal:
        return refusal.annotations
    return ()


# ------------------------------------------------------------------ the collection of bad files


def expectations(shared_data: Path) -> list[tuple[list[Path], str]]:
    rows = (shared_data / "bad" / "expected.tsv").read_text().splitlines()[1:]
    cells = [row.split("\t") for row in rows]
    return [([shared_data / "bad" / name for name in files.split()], verdict) for files, verdict, *_ in cells]


def test_every_collected_file_gets_its_verdict(shared_data: Path, tmp_path: Path) -> None:
    """ACCEPT and REJECT exactly; EITHER with a message; never anything but an answer."""
    collection = expectations(shared_data)
    wrong = []
    for number, (files, verdict) in enumerate(collection):
        (scratch := tmp_path / str(number)).mkdir()
        faults = faults_of(scratch, *files)
        found = "REJECT" if faults else "ACCEPT"
        if verdict not in (found, "EITHER"):
            wrong.append((files[0].name, verdict, found))
        labels = {path.name for path in files} | {None}
        assert all(fault.message and fault.file in labels for fault in faults)
    assert len(collection) >= 80
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "reason", "record", "line"),
    [
        ("fastq/biopython_error_qual_null.fastq", Reason.INVALID_QUALITY, 1, 4),
        ("fastq/biopython_error_diff_ids.fastq", Reason.MALFORMED_RECORD, 3, 11),
        ("fastq/biopython_error_trunc_in_title.fastq", Reason.TRUNCATED_FILE, 5, 17),
        ("fastq/fastq_utils_test_e9.fastq.gz", Reason.DUPLICATE_READ_NAME, 2, 5),
        ("fastq/sratools_001.read.no_sequence.fastq", Reason.MALFORMED_RECORD, 1, 3),
        ("fastq/dnaio_fasta_named_fastq.fastq", Reason.WRONG_FORMAT, None, None),
    ],
)
def test_real_accidents_are_named_by_record_and_line(
    shared_data: Path, tmp_path: Path, name: str, reason: Reason, record: int | None, line: int | None
) -> None:
    first = refused(tmp_path, shared_data / "bad" / name)[0]
    assert (first.reason, first.record, first.line) == (reason, record, line)


# ------------------------------------------------------------------ one file


def test_a_right_file_is_left_where_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "S1.fastq.gz", reads(40))
    found, report = validated(tmp_path, path)
    assert found == ReadFiles(Platform.ILLUMINA, LibraryLayout.SINGLE, (path,))
    assert (report.reads, report.bases, report.min_length, report.max_length) == (40, 2400, 60, 60)
    assert report.mean_quality == ord("F") - 33
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        (record("a", "ACGT") + "\n" + record("b", "ACGT"), Reason.MALFORMED_RECORD, (2, 5)),
        (record("a", "ACGT") + "b\nACGT\n+\nFFFF\n", Reason.MALFORMED_RECORD, (2, 5)),
        (record("", "ACGT"), Reason.MALFORMED_RECORD, (1, 1)),
        (record(" a", "ACGT"), Reason.MALFORMED_RECORD, (1, 1)),
        (record("a\x07", "ACGT"), Reason.MALFORMED_RECORD, (1, 1)),
        (record("größe", "ACGT"), Reason.MALFORMED_RECORD, (1, 1)),
        (record("a", "AC-T"), Reason.INVALID_BASE, (1, 2)),
        (record("a", "ACGT") + record("b", "ACGT", "FF F"), Reason.INVALID_QUALITY, (2, 8)),
        (record("a", "ACGT", "FFF\x7f"), Reason.INVALID_QUALITY, (1, 4)),
        (record("a", "ACGT", "FFF"), Reason.MALFORMED_RECORD, (1, 4)),
        ("@a\nACGT\n+b\nFFFF\n", Reason.MALFORMED_RECORD, (1, 3)),
        ("@a\nACGT\nACGT\n+\nFFFFFFFF\n", Reason.MALFORMED_RECORD, (1, 3)),
        ("@a\nACGTACGT\n+\nFFFF\nFFFF\n", Reason.MALFORMED_RECORD, (1, 5)),
        ("@a\n\n+\n\n", Reason.MALFORMED_RECORD, (1, 2)),
        (record("a", "ACGT")[:-6], Reason.TRUNCATED_FILE, (1, 3)),
        (record("a", "ACGT") + "\n", Reason.MALFORMED_RECORD, (2, 5)),
        (record("a", "ACGT") + record("b", "CCCC") + record("a", "ACGT"), Reason.DUPLICATE_READ_NAME, (3, 9)),
    ],
)
def test_each_fault_of_a_record_has_its_place(
    tmp_path: Path, text: str, reason: Reason, where: tuple[int, int]
) -> None:
    path = write(tmp_path / "bad.fastq", text)
    first = refused(tmp_path, path)[0]
    assert (first.reason, (first.record, first.line), first.file) == (reason, where, "bad.fastq")


def test_all_faults_of_all_files_come_at_once_and_the_rest_is_counted(tmp_path: Path) -> None:
    one = write(tmp_path / "one_1.fastq", "".join(record(f"r{n}", "ACXT") for n in range(130)))
    two = write(tmp_path / "one_2.fastq", "")
    faults = refused(tmp_path, one, two)
    assert faults[0].reason is Reason.EMPTY_FILE
    assert faults[0].file == "one_2.fastq"
    assert [fault.record for fault in faults[1:100]] == list(range(1, 100))
    assert faults[-1].reason is Reason.MORE_FAULTS
    assert "31" in faults[-1].message


def test_a_record_after_a_broken_one_is_still_judged(tmp_path: Path) -> None:
    text = record("a", "ACGT") + "ACGT\n+\nFFFF\n" + record("c", "AC!T") + record("d", "ACGT")
    faults = refused(tmp_path, write(tmp_path / "x.fastq", text))
    assert [(fault.record, fault.line) for fault in faults] == [(2, 5), (3, 9)]


def test_a_line_without_end_is_refused_without_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastq_stream, "LONGEST_RECORD", 1000)
    monkeypatch.setattr("readvault.reads.validate.fastq_faults.LONGEST_LINE", 250)
    path = write(tmp_path / "long.fastq", record("a", "ACGT") + "@b\n" + "A" * 5_000_000)
    fault = refused(tmp_path, path)[0]
    assert (fault.reason, fault.record, fault.line) == (Reason.RECORD_TOO_LONG, 2, 6)


@pytest.mark.parametrize("text", ["", "\n\n\n"])
def test_a_file_without_reads_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, write(tmp_path / "x.fastq.gz", text))


def test_a_bomb_and_a_cut_file_are_refused_and_the_other_file_is_judged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readvault.reads.validate.formats.RATIO_COUNTS_FROM", 1_000_000)
    bomb = write(tmp_path / "S_R1.fastq.gz", record("a", "N" * 100) * 20_000)
    whole = gzip.compress(reads(2000).encode())
    cut = tmp_path / "S_R2.fastq.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    reasons = {fault.file: fault.reason for fault in refused(tmp_path, bomb, cut)}
    assert reasons == {"S_R1.fastq.gz": Reason.COMPRESSION_BOMB, "S_R2.fastq.gz": Reason.TRUNCATED_FILE}


def test_what_other_tools_would_read_differently_is_written_anew(tmp_path: Path) -> None:
    """CR LF, lower case, U, dots and Zstandard are gone afterwards; names and qualities stay."""
    text = record("a x", "ACgu.n", "FFFF:F") + record("b", "AUGC", "FFFF")
    path = tmp_path / "odd.fastq.zst"
    path.write_bytes(zstandard.compress(text.replace("\n", "\r\n").encode()))
    (scratch := tmp_path / "scratch").mkdir()
    found, report = validated(scratch, path)
    assert found.r1[0].parent == scratch
    assert records_of(found.r1[0]) == [["@a x", "ACGTNN", "+", "FFFF:F"], ["@b", "ATGC", "+", "FFFF"]]
    assert [warning.reason for warning in report.warnings] == [Reason.LINE_ENDS]


def test_old_quality_scales_and_odd_names_are_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path / "old.fastq", reads(5).replace("F" * 60, "f" * 30 + "B" * 30))
    _, report = validated(tmp_path, path)
    assert [warning.reason for warning in report.warnings] == [Reason.QUALITY_ENCODING]
    misnamed = tmp_path / "x.fastq.gz"
    misnamed.write_text(reads(5))
    _, report = validated(tmp_path, misnamed)
    assert [warning.reason for warning in report.warnings] == [Reason.WRONG_FORMAT]


def test_only_the_formats_and_the_number_of_files_of_the_category_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fastq", reads(3))
    only_bam = FileCategory(formats=(FileFormat.BAM,))
    assert refused(tmp_path, path, rules=only_bam)[0].reason is Reason.FORMAT_NOT_ALLOWED
    one = FileCategory(max_files=1)
    assert refused(tmp_path, path, path, rules=one)[0].reason is Reason.TOO_MANY_FILES
    bam_name = write(tmp_path / "a.bam", reads(3))
    assert refused(tmp_path, bam_name)[0].reason is Reason.WRONG_FORMAT


# ------------------------------------------------------------------ mates, lanes, chunks


def pair(folder: Path, first: str, second: str, *, count: int = 20, seed: int = 0) -> tuple[Path, Path]:
    return (
        write(folder / first, reads(count, name="M1:7:FC:1:1101:10:{} 1:N:0:AC", seed=seed)),
        write(folder / second, reads(count, name="M1:7:FC:1:1101:10:{} 2:N:0:AC", seed=seed + 1)),
    )


@pytest.mark.parametrize(
    "names",
    [
        ("a_R1.fastq", "a_R2.fastq"),
        ("a_1.fq.gz", "a_2.fq.gz"),
        ("S_L001_R1_001.fastq", "S_L001_R2_001.fastq"),
        ("x", "y"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_two_files_are_mates_by_their_names_or_their_reads(
    tmp_path: Path, names: tuple[str, str], turned: bool
) -> None:
    files = pair(tmp_path, *names)
    found, report = validated(tmp_path, *(reversed(files) if turned else files))
    assert (found.layout, found.r1, found.r2) == (LibraryLayout.PAIRED, (files[0],), (files[1],))
    assert report.reads == 40


def test_mates_of_several_lanes_are_found_whatever_their_files_are_called(tmp_path: Path) -> None:
    """Else a human read's mate would stay."""
    lanes = [
        (
            write(tmp_path / f"{lane}_forward.fq", reads(3, name=lane + "{}", seed=n)),
            write(tmp_path / f"{lane}_reverse.fq", reads(3, name=lane + "{}", seed=n + 9)),
        )
        for n, lane in enumerate("ab")
    ]
    found, _ = validated(tmp_path, *lanes[0], *lanes[1])
    assert (found.r1, found.r2) == tuple(zip(*lanes, strict=True))
    single = write(tmp_path / "c.fq", reads(3, name="c{}"))
    assert refused(tmp_path, *lanes[0], single)[0].file == "c.fq"


def test_a_nanopore_file_sent_twice_is_no_pair(tmp_path: Path) -> None:
    text = reads(3, name="0000000{}-0000-4000-8000-000000000000")
    found, report = validated(tmp_path, write(tmp_path / "x.fastq", text), write(tmp_path / "y.fastq", text))
    assert (found.layout, [each.reason for each in report.warnings]) == (LibraryLayout.SINGLE, [Reason.REPEATED_FILE])


def test_lanes_are_grouped_in_one_order_for_both_mates(tmp_path: Path) -> None:
    lanes = [pair(tmp_path, f"S_L00{n}_R1_001.fastq", f"S_L00{n}_R2_001.fastq", seed=n) for n in (10, 2, 1)]
    found, _ = validated(tmp_path, *(lane[0] for lane in lanes), *(lane[1] for lane in reversed(lanes)))
    assert [path.name[:7] for path in found.r1] == ["S_L001_", "S_L002_", "S_L0010"]
    assert [path.name.replace("_R2_", "_R1_") for path in found.r2] == [path.name for path in found.r1]


def test_a_lane_without_its_mate_is_named(tmp_path: Path) -> None:
    one = pair(tmp_path, "S_L001_R1_001.fastq", "S_L001_R2_001.fastq")
    lost = write(tmp_path / "S_L002_R1_001.fastq", reads(5))
    [fault] = refused(tmp_path, *one, lost)
    assert (fault.reason, fault.file) == (Reason.UNPAIRED_MATES, "S_L002_R1_001.fastq")


def test_nanopore_chunks_are_one_stream_even_when_there_are_two(tmp_path: Path) -> None:
    uuid = "0b1e2639-bd29-4837-a33d-7f35c8e2{:04d} runid=ab12"
    chunks = [
        write(tmp_path / f"FAX_pass_{n}.fastq", reads(3, name=uuid.replace("0b1e", f"0b1{n}"), length=900))
        for n in (1, 2)
    ]
    found, report = validated(tmp_path, *chunks)
    assert (found.platform, found.layout, found.r1) == (Platform.OXFORD_NANOPORE, LibraryLayout.SINGLE, tuple(chunks))
    assert report.reads == 6


def test_interleaved_mates_are_taken_apart(tmp_path: Path) -> None:
    text = "".join(record(f"r{n}/{mate}", bases(30, n * mate)) for n in range(1, 400) for mate in (1, 2))
    (scratch := tmp_path / "scratch").mkdir()
    found, report = validated(scratch, write(tmp_path / "both.fastq.gz", text))
    assert (found.layout, report.reads) == (LibraryLayout.PAIRED, 798)
    first, second = records_of(found.r1[0]), records_of(found.r2[0])
    assert [r[0] for r in first] == [f"@r{n}/1" for n in range(1, 400)]
    assert [r[1] for r in second] == [bases(30, n * 2) for n in range(1, 400)]


@pytest.mark.parametrize(
    ("second", "record", "line"),
    [(reads(19), 20, None), (reads(9) + reads(11, name="other{}"), 10, 37), (reads(20, name="b{}"), 1, 1)],
)
def test_the_first_pair_out_of_step_is_named(tmp_path: Path, second: str, record: int, line: int | None) -> None:
    one, two = write(tmp_path / "a_R1.fq", reads(20)), write(tmp_path / "a_R2.fq", second)
    [fault] = refused(tmp_path, one, two)
    assert (fault.reason, fault.file, fault.record, fault.line) == (Reason.UNPAIRED_MATES, "a_R2.fq", record, line)


def test_the_same_mates_twice_are_no_pair(tmp_path: Path) -> None:
    one, _ = pair(tmp_path, "a_R1.fq", "spare.fq")
    copy = write(tmp_path / "a_R2.fq", one.read_text())
    [fault] = refused(tmp_path, one, copy)
    assert fault.reason is Reason.UNPAIRED_MATES


def test_mates_in_one_file_but_apart_are_no_duplicates_and_no_pairs(tmp_path: Path) -> None:
    text = "".join(record(f"r{n}/{mate}", "ACGT") for mate in (1, 2) for n in range(5))
    [fault] = refused(tmp_path, write(tmp_path / "apart.fastq", text))
    assert (fault.reason, fault.record, fault.line) == (Reason.UNPAIRED_MATES, 6, 21)
    assert "record 1;" in fault.message


def test_names_of_mates_may_end_as_fastq_dump_ends_them(tmp_path: Path) -> None:
    one = write(tmp_path / "E_1.fastq", reads(9, name="ERR1.{}.1"))
    two = write(tmp_path / "E_2.fastq", reads(9, name="ERR1.{}.2"))
    assert validated(tmp_path, one, two)[1].reads == 18


# ------------------------------------------------------------------ platform


@pytest.mark.parametrize(
    ("name", "length", "platform"),
    [
        ("M01761:444:000000000-J7FJ5:1:1101:10001:{}", 60, Platform.ILLUMINA),
        ("HWI-EAS1:2:1:20677:{}#0/1", 60, Platform.ILLUMINA),
        ("e5577b91-0071-4a2a-b0ce-7c6ee1cd{:04d}", 60, Platform.OXFORD_NANOPORE),
        ("m64012_190920_173625/{}/ccs", 60, Platform.PACBIO_SMRT),
        ("SRR1.{}", 150, Platform.ILLUMINA),
        ("SRR1.{}", 2000, Platform.PACBIO_SMRT),
    ],
)
def test_names_and_lengths_tell_the_platform(tmp_path: Path, name: str, length: int, platform: Platform) -> None:
    path = write(tmp_path / "x.fastq", reads(6, name=name, length=length))
    assert validated(tmp_path, path)[1].platform is platform


def test_the_given_platform_wins_and_a_contradiction_is_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fastq", reads(6))
    _, report = validated(tmp_path, path, platform=Platform.OXFORD_NANOPORE)
    assert report.platform is Platform.OXFORD_NANOPORE
    assert [warning.reason for warning in report.warnings] == [Reason.PLATFORM_MISMATCH]


# ------------------------------------------------------------------ BAM


def test_bam_becomes_the_reads_it_was_made_of(shared_data: Path, tmp_path: Path) -> None:
    """The aligned BAM of the tiny sample gives its 100 pairs back, reverse reads turned."""
    found, report = validated(tmp_path, shared_data / "dev" / "sc2_tiny" / "tiny_aligned.bam")
    assert (found.layout, report.reads) == (LibraryLayout.PAIRED, 200)
    originals = {
        (r[0][1:].split()[0], r[1])
        for mate in (1, 2)
        for r in records_of(shared_data / "dev" / "sc2_tiny" / f"tiny_R{mate}.fastq.gz")
    }
    for path in (*found.r1, *found.r2):
        assert {(r[0][1:].split()[0], r[1]) for r in records_of(path)} <= originals


# ------------------------------------------------------------------ the two checks agree


def fast_says_right(path: Path) -> bool:
    with Decompressed(path, Compression.NONE, limit=10**9) as stream:
        names = NameHashes(path.parent)
        try:
            return check(stream, Profile(), names, block=256)
        finally:
            names.close()


def slow_says_right(path: Path) -> bool:
    with Decompressed(path, Compression.NONE, limit=10**9) as stream:
        return not find_faults(stream, "x")


VALID = (reads(3, length=12) + record("b x", "ACgtN.u") + "@c\nAC\n+c\n@+\n").encode()


@settings(max_examples=100, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(VALID)),
            st.integers(0, 3),
            st.sampled_from([b"", b"\n", b"\r", b"@", b"+", b"\0", b" ", b"A"]),
        ),
        max_size=4,
    ),
    cut=st.integers(0, len(VALID)),
)
def test_the_fast_check_and_the_slow_one_never_disagree(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]], cut: int
) -> None:
    data = VALID
    for place, removed, added in edits:
        data = data[:place] + added + data[place + removed :]
    data = data[: len(data) - cut] if cut % 3 == 0 else data
    path = tmp_path_factory.getbasetemp() / "mutant.fastq"
    path.write_bytes(data)
    assert fast_says_right(path) == slow_says_right(path)


def test_equal_hashes_of_different_names_are_no_duplicates(tmp_path: Path) -> None:
    """When hashes collide, the names themselves decide."""
    path = write(tmp_path / "x.fastq", record("aa", "AC") + record("bb", "AC") + record("aa", "AC"))
    names = NameHashes(tmp_path)
    names.add(np.full(3, 7, np.int64))
    source = Source(path, "x", Compression.NONE, ())
    with Decompressed(path, Compression.NONE, limit=1000) as stream:
        assert [fault.record for fault in find_duplicates(names, stream, source)] == [3]
    names.close()


# ------------------------------------------------------------------ files that repeat each other


def test_one_file_sent_as_both_mates_is_told(tmp_path: Path) -> None:
    """Names without a mate's number can't tell; the bases can."""
    text = reads(30, name="SRR1.{}")
    mates = write(tmp_path / "a_R1.fastq", text), write(tmp_path / "a_R2.fastq.gz", text)
    (warning,) = validated(tmp_path, *mates)[1].warnings
    assert (warning.reason, warning.file) == (Reason.REPEATED_FILE, "a_R2.fastq.gz")
    assert "a_R1" not in warning.message, "messages are shown in the public report"


def test_a_lane_sent_twice_is_told(tmp_path: Path) -> None:
    lanes = [
        write(tmp_path / f"chunk_{n}.fastq", reads(30, name="c.{}", seed=seed)) for n, seed in enumerate((1, 2, 1))
    ]
    (warning,) = validated(tmp_path, *lanes)[1].warnings
    assert (warning.reason, warning.file) == (Reason.REPEATED_FILE, "chunk_2.fastq")


@pytest.mark.parametrize("zeros", [10, 512, 100_000])
def test_zeros_after_a_gzip_are_cut_off(tmp_path: Path, zeros: int) -> None:
    """gzip ignores them; deacon does not, and its failure would be called ours."""
    padded = write(tmp_path / "a.fastq", gzip.compress(reads(30).encode()) + bytes(zeros))
    padded = padded.rename(tmp_path / "a.fastq.gz")
    found, report = validated(tmp_path, padded)
    assert report.reads == 30
    assert found.r1[0] != padded
    assert records_of(found.r1[0]) == records_of(write(tmp_path / "plain.fastq", reads(30)))
