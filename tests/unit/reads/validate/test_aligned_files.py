"""BAM, SAM and CRAM become the reads that the machine gave."""

from __future__ import annotations

import gzip
import io
import struct
import time
from pathlib import Path

import pysam
import pytest

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import ValidationReport
from readvault.reads.sample import InputFile, ReadFiles
from readvault.reads.validate import aligned_files
from readvault.reads.validate.aligned_header import BamStream, SamStream
from readvault.reads.validate.formats import UnreadableFileError
from readvault.reads.validate.validation import validate
from tests.unit.reads.fastq_maker import bases, records_of

HEADER = "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:ref\tLN:5000\n"
FORWARD, BACKWARD = "AACGTR", "YACGTT"


def line(
    name: str, flag: int = 4, cigar: str = "*", sequence: str = FORWARD, quality: str = "ABCDEF", *tags: str
) -> str:
    place = "*\t0\t0" if flag & 4 else "ref\t100\t60"
    return "\t".join([name, str(flag), place, cigar, "*\t0\t0", sequence, quality, *tags]) + "\n"


def mates(name: str, *tags: str) -> tuple[str, str]:
    """The first mate forward, the second one on the reverse strand."""
    return line(name, 0x63, "6M", "CCCCCC", "ABCDEF", *tags), line(name, 0x93, "2S4M", FORWARD, "ABCDEF", *tags)


def written(folder: Path, text: str, kind: str) -> Path:
    path = folder / f"x.{kind}"
    if kind == "bam":
        sam = folder / "x.sam"
        sam.write_text(text)
        pysam.view("-b", "--no-PG", "-o", str(path), str(sam), catch_stdout=False)
    else:
        path.write_bytes(gzip.compress(text.encode()) if kind == "sam.gz" else text.encode())
    return path


def validated(path: Path) -> tuple[ReadFiles, ValidationReport]:
    (scratch := path.parent / "scratch").mkdir(exist_ok=True)
    return validate([InputFile(path, path.name)], rules=FileCategory(), platform=None, directory=scratch)


def refused(path: Path) -> tuple[Annotation, ...]:
    with pytest.raises(InvalidSubmission) as refusal:
        validated(path)
    return refusal.value.annotations


KINDS = pytest.mark.parametrize("kind", ["bam", "sam", "sam.gz"])


@KINDS
def test_single_reads_keep_their_order_and_are_turned_back(tmp_path: Path, kind: str) -> None:
    """Duplicates stay, secondary and supplementary records go, soft clips stay."""
    text = HEADER + line("b", 0x10, "2S4M") + line("a") + line("c", 0x400, "6M") + line("a", 0x100, "6M", "*", "*")
    text += line("b", 0x800, "3H3M", "AAC", "ABC")
    found, report = validated(written(tmp_path, text, kind))
    assert found.layout is LibraryLayout.SINGLE
    assert records_of(found.r1[0]) == [
        ["@b", BACKWARD, "+", "FEDCBA"],
        ["@a", FORWARD, "+", "ABCDEF"],
        ["@c", FORWARD, "+", "ABCDEF"],
    ]
    assert (report.reads, report.warnings) == (3, ())


@KINDS
def test_mates_far_apart_come_together_in_the_order_of_the_first(tmp_path: Path, kind: str) -> None:
    pairs = [mates(f"p{n}") for n in range(30)]
    text = HEADER + "".join(two for _, two in reversed(pairs)) + "".join(one for one, _ in pairs)
    found, report = validated(written(tmp_path, text, kind))
    first, second = records_of(found.r1[0]), records_of(found.r2[0])
    assert [each[0] for each in first] == [each[0] for each in second] == [f"@p{n}" for n in reversed(range(30))]
    assert {tuple(each[1:]) for each in first} == {("CCCCCC", "+", "ABCDEF")}
    assert {tuple(each[1:]) for each in second} == {(BACKWARD, "+", "FEDCBA")}
    assert report.reads == 60


def test_many_scratch_files_give_every_pair_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.reads.validate.aligned_files._parts", lambda size: 7)
    monkeypatch.setattr("readvault.reads.validate.aligned_files._ROWS", 16)
    pairs = [mates(f"p{n}") for n in range(200)]
    text = HEADER + "".join(one for one, _ in pairs) + "".join(two for _, two in pairs)
    found, _ = validated(written(tmp_path, text, "bam"))
    names = [[each[0] for each in records_of(path)] for path in (found.r1[0], found.r2[0])]
    assert names[0] == names[1]
    assert sorted(names[0]) == sorted(f"@p{n}" for n in range(200))


@KINDS
def test_each_read_group_is_a_lane_in_the_order_of_the_header(tmp_path: Path, kind: str) -> None:
    header = HEADER + "@RG\tID:late\tPL:ONT\n@RG\tID:early\tPL:ONT\tSM:a person\n"
    reads = [
        line("a", 4, "*", FORWARD, "ABCDEF", "NM:i:1", "RG:Z:early"),
        line("b", 4, "*", FORWARD, "ABCDEF", "RG:Z:late"),
    ]
    found, report = validated(written(tmp_path, header + "".join(reads), kind))
    assert [records_of(path)[0][0] for path in found.r1] == ["@b", "@a"]
    assert report.platform is Platform.OXFORD_NANOPORE


@KINDS
def test_reads_without_their_mates_are_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    text = HEADER + "".join("".join(mates(f"p{n}")) for n in range(10)) + mates("lost")[0] + line("single")
    found, report = validated(written(tmp_path, text, kind))
    assert (found.layout, report.reads) == (LibraryLayout.PAIRED, 20)
    [warning] = report.warnings
    assert (warning.reason, warning.message[:2]) == (Reason.UNPAIRED_MATES, "2 ")


def test_a_file_with_few_pairs_is_taken_as_single_reads(tmp_path: Path) -> None:
    text = HEADER + "".join(mates("p")) + "".join(line(f"s{n}") for n in range(10))
    found, report = validated(written(tmp_path, text, "bam"))
    assert (found.layout, report.reads) == (LibraryLayout.SINGLE, 12)
    assert [warning.reason for warning in report.warnings] == [Reason.UNPAIRED_MATES]
    only_first = HEADER + "".join(mates(f"p{n}")[0] for n in range(3))
    found, report = validated(written(tmp_path, only_first, "bam"))
    assert (found.layout, report.reads) == (LibraryLayout.SINGLE, 3)
    assert [warning.reason for warning in report.warnings] == [Reason.UNPAIRED_MATES]


@KINDS
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line("x", 4, "*", "*", "*"), Reason.MALFORMED_RECORD),
        (line("x", 4, "*", FORWARD, "*"), Reason.MALFORMED_RECORD),
        (line("x", 4, "*", "AC=TTT"), Reason.INVALID_BASE),
        ("".join(mates("x")) + mates("x")[0], Reason.DUPLICATE_READ_NAME),
        (line("x") + line("x"), Reason.DUPLICATE_READ_NAME),
    ],
)
def test_what_is_no_read_is_refused(tmp_path: Path, kind: str, bad: str, reason: Reason) -> None:
    faults = refused(written(tmp_path, HEADER + line("a") + bad, kind))
    assert faults[0].reason is reason
    assert faults[0].record is not None


@pytest.mark.parametrize(
    "bad",
    [
        "x\t4\t*\t0\n",
        line("x").replace("\t4\t", "\tfour\t", 1),
        line("x").replace("\t4\t", "\t70000\t", 1),
        line("x", 0, "6Q"),
        line("x", 0, "M"),
        line("x", 0, "5M"),
        line("x", 4, "*", FORWARD, "ABC"),
        line("x", 0, "6M").replace("\t100\t", "\t-3\t"),
        "\n",
        line(""),
    ],
)
def test_a_line_of_sam_that_is_no_record_is_named(tmp_path: Path, bad: str) -> None:
    [fault] = refused(written(tmp_path, HEADER + line("a") + bad + line("b"), "sam"))
    assert (fault.reason, fault.record, fault.line) == (Reason.MALFORMED_RECORD, 2, 4)


def test_sam_may_lack_its_header_and_its_last_line_end(tmp_path: Path) -> None:
    text = line("a", 0, "6M") + line("b", 0x10, "6M").rstrip("\n")
    found, _ = validated(written(tmp_path, text.replace("\n", "\r\n"), "sam"))
    assert [each[:2] for each in records_of(found.r1[0])] == [["@a", FORWARD], ["@b", BACKWARD]]


def bgzf(data: bytes) -> bytes:
    """One block of BGZF and the empty one at the end."""
    packed = gzip.compress(data)[10:]
    head = bytes.fromhex("1f8b08040000000000ff0600424302 00".replace(" ", "")) + struct.pack("<H", len(packed) + 17)
    return head + packed + bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def bam_record(name: bytes = b"a\0", bases_: int = 4, *, size: int | None = None, **fields: int) -> bytes:
    values = {"reference": -1, "cigars": 0, "next": -1} | fields
    core = struct.pack(
        "<iiBBHHHiiii", values["reference"], -1, len(name), 0, 0, values["cigars"], 4, bases_, values["next"], -1, 0
    )
    body = core + name + b"\x11" * ((4 + 1) // 2) + b"\x1e" * 4
    return struct.pack("<i", len(body) if size is None else size) + body


BAM_HEADER = b"BAM\1" + struct.pack("<ii", 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"BAM\1" + struct.pack("<i", 2**31 - 1),
        b"BAM\1" + struct.pack("<i", -1),
        b"BAM\1" + struct.pack("<ii", 0, 2**31 - 1),
        BAM_HEADER + bam_record(bases_=-1),
        BAM_HEADER + bam_record(bases_=2**31 - 1),
        BAM_HEADER + bam_record(cigars=65535),
        BAM_HEADER + bam_record(name=b"ab"),
        BAM_HEADER + bam_record(reference=0),
        BAM_HEADER + bam_record(next=7),
        BAM_HEADER + bam_record(size=-5),
        BAM_HEADER + bam_record(size=2**31 - 1),
        BAM_HEADER + bam_record()[:-2],
        BAM_HEADER + bam_record() + b"\0",
    ],
)
def test_a_bam_that_lies_about_lengths_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.bam"
    path.write_bytes(bgzf(data))
    [fault] = refused(path)
    assert fault.reason in (Reason.UNREADABLE_FILE, Reason.TRUNCATED_FILE)
    path.write_bytes(bgzf(BAM_HEADER + bam_record()))
    assert validated(path)[1].reads == 1


def test_tags_that_lie_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.bam"
    whole = bam_record()
    for tag in (b"XXZno end", b"XXBi\xff\xff\xff\x7f", b"XX?1", b"XX", b"XXBi\xff\xff\xff\xff"):
        path.write_bytes(bgzf(BAM_HEADER + struct.pack("<i", len(whole) - 4 + len(tag)) + whole[4:] + tag))
        [fault] = refused(path)
        assert (fault.reason, fault.record) == (Reason.MALFORMED_RECORD, 1)
    good = b"XXA1" + b"XYBS\x02\0\0\0abcd" + b"XZZtext\0"
    path.write_bytes(bgzf(BAM_HEADER + struct.pack("<i", len(whole) - 4 + len(good)) + whole[4:] + good))
    assert validated(path)[1].reads == 1


def test_hard_clips_are_warned_about(tmp_path: Path) -> None:
    _, report = validated(written(tmp_path, HEADER + line("a", 0, "6M4H"), "bam"))
    assert [(w.reason, w.message[:8]) for w in report.warnings] == [(Reason.MALFORMED_RECORD, "1 reads ")]


@KINDS
def test_long_reads_pass_the_size_of_a_block(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.reads.validate.aligned_files._BLOCK", 1000)
    sequence = bases(20_001, 3)
    text = HEADER + line("a", 4, "*", sequence, "F" * 20_001) + line("b")
    found, _ = validated(written(tmp_path, text, kind))
    assert [each[1] for each in records_of(found.r1[0])] == [sequence, FORWARD]


@KINDS
@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        (line("c", 0x10, "6M", "AAC=GT"), Reason.INVALID_BASE, "base 3"),
        (line("a"), Reason.DUPLICATE_READ_NAME, "record 3"),
    ],
    ids=["base", "name"],
)
def test_a_fault_of_a_read_names_its_record_in_the_aligned_file(
    tmp_path: Path, kind: str, bad: str, reason: Reason, said: str
) -> None:
    """Records that are no reads of their own, and those of other read groups, count too."""
    text = HEADER + "@RG\tID:g\n" + line("b", 0, "6M") + line("b", 0x100, "6M", "*", "*") + line("a")
    text += line("d", 4, "*", FORWARD, "ABCDEF", "RG:Z:g") + bad
    [fault] = refused(written(tmp_path, text, kind))
    assert (fault.reason, fault.record, fault.line) == (reason, 5, None)
    assert said in fault.message


@KINDS
def test_old_endings_of_mates_are_no_part_of_their_names(tmp_path: Path, kind: str) -> None:
    text = HEADER + "".join(mates("p")).replace("p\t99", "p/1\t99").replace("p\t147", "p/2\t147") + line("s/1", 0x4)
    found, report = validated(written(tmp_path, text, kind))
    assert (report.layout, report.reads) == (LibraryLayout.PAIRED, 2)
    assert [records_of(path)[0][0] for path in (*found.r1, *found.r2)] == ["@p", "@p"]


class InPieces:
    """A stream that gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, 4096))


def test_the_header_of_a_sam_is_looked_through_once() -> None:
    """When each piece of it was begun anew, 30 MB took minutes."""
    stream = SamStream(InPieces(b"@\n" * 400_000 + b"@RG\tID:g\n\nr"))
    began = time.process_time()
    header = stream.header()
    assert (header.lines, len(header.groups), stream.read(10)) == (400_001, 1, b"\nr")
    assert time.process_time() - began < 1


def test_the_header_of_a_bam_is_taken_off_in_pieces() -> None:
    text, names = b"@RG\tID:g\n@CO\t" + b"x" * 9000 + b"\n", [b"n" * 5000 + b"\0", b"b\0"]
    data = b"BAM\1" + struct.pack("<i", len(text)) + text + struct.pack("<i", len(names))
    data += b"".join(struct.pack("<i", len(name)) + name + struct.pack("<i", 10) for name in names)
    stream = BamStream(InPieces(data + b"the rest"))
    header = stream.header()
    assert (header.references, len(header.groups)) == (2, 1)
    assert [stream.read(4), stream.read(10), stream.read(10)] == [b"the ", b"rest", b""]
    with pytest.raises(UnreadableFileError, match="cut off"):
        BamStream(InPieces(data[:-1])).header()


def test_aligned_files_are_lanes_in_the_order_of_their_names(tmp_path: Path) -> None:
    inputs = []
    for name in ("x10", "x2"):
        (path := tmp_path / name).write_text(HEADER + line(name))
        inputs.append(InputFile(path, f"{name}.sam"))
    found, _ = validate(inputs, rules=FileCategory(), platform=None, directory=tmp_path)
    assert [records_of(path)[0][0] for path in found.r1] == ["@x2", "@x10"]


def test_mates_that_all_have_one_name_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligned_files, "LARGEST_PART", 10_000)
    [fault] = refused(written(tmp_path, HEADER + line("p", 0x4D) * 200, "bam"))
    assert (fault.reason, fault.record) == (Reason.DUPLICATE_READ_NAME, None)
    assert validated(written(tmp_path, HEADER + line("s", 0x4) + line("p", 0x4D) * 1, "bam"))[1].reads == 2


def test_fastq_beside_an_aligned_file_is_warned_about(tmp_path: Path) -> None:
    bam, fastq = written(tmp_path, HEADER + line("a"), "bam"), tmp_path / "x.fastq"
    fastq.write_text("@a\nACGT\n+\nIIII\n")
    inputs = [InputFile(fastq, "x.fastq"), InputFile(bam, "x.bam")]
    _, report = validate(inputs, rules=FileCategory(), platform=None, directory=tmp_path)
    assert [(each.reason, each.file) for each in report.warnings] == [(Reason.REPEATED_FILE, "x.bam")]
