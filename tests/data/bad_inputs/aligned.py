"""SAM and BAM with one fault."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

from readvault.domain.annotations import Reason
from tests.data.bad_inputs.row import Row, bgzf, changed_at
from tests.unit.reads.fastq_maker import bases

REFERENCE = bases(3000, 11)
"""What the test's organism has."""
BAD, CUT, DAMAGED = Reason.MALFORMED_RECORD, Reason.TRUNCATED_FILE, Reason.UNREADABLE_FILE
COUNT = 9
PLACES = {"first": 0, "middle": 4, "last": COUNT - 1}
SAM_HEADER = "@HD\tVN:1.6\n@SQ\tSN:ref\tLN:3000\n"


def rows() -> Iterator[Row]:
    """All of them."""
    yield from _sam()
    yield from _bam()


# ------------------------------------------------------------------ SAM


def columns(number: int) -> list[str]:
    sequence = REFERENCE[number * 50 : number * 50 + 60]
    return [f"r{number}", "0", "ref", str(number * 50 + 1), "60", "60M", "*", "0", "0", sequence, "F" * 60, "NM:i:0"]


def _changed(column: int, value: str) -> dict[int, str]:
    return {column: value}


SAM_FAULTS: list[tuple[str, dict[int, str], Reason]] = [
    ("no name", {0: ""}, BAD),
    ("name *", {0: "*"}, BAD),
    ("a blank in the name", {0: " x"}, BAD),
    ("FLAG is no number", {1: "x"}, BAD),
    ("FLAG is negative", {1: "-1"}, BAD),
    ("FLAG is too large", {1: "65536"}, BAD),
    ("POS is no number", {3: "1.5"}, BAD),
    ("POS is negative", {3: "-1"}, BAD),
    ("MAPQ is no number", {4: ""}, BAD),
    ("CIGAR of letters", {5: "MMM"}, BAD),
    ("CIGAR of numbers", {5: "60"}, BAD),
    ("CIGAR with an unknown operation", {5: "60Q"}, BAD),
    ("CIGAR of another length", {5: "59M"}, BAD),
    ("PNEXT is no number", {7: "x"}, BAD),
    ("TLEN is no number", {8: "+-3"}, BAD),
    ("no bases", {9: "*", 5: "*"}, BAD),
    ("empty bases", {9: "", 10: "", 5: "*"}, BAD),
    ("no qualities", {10: "*"}, BAD),
    ("one quality too few", {10: "F" * 59}, BAD),
    ("a base that is none", {9: "A-" * 30}, Reason.INVALID_BASE),
    ("bases as in the reference (=)", {9: "=" * 60}, Reason.INVALID_BASE),
    ("a blank among the qualities", {10: "F" * 30 + " " + "F" * 29}, Reason.INVALID_QUALITY),
]


def sam(changes: dict[int, dict[int, str]] | None = None, *, header: str = SAM_HEADER) -> bytes:
    lines = []
    for number in range(COUNT):
        changed = (changes or {}).get(number, {})
        lines.append("\t".join(changed.get(place, value) for place, value in enumerate(columns(number))))
    return (header + "".join(f"{line}\n" for line in lines)).encode("latin-1")


def _sam() -> Iterator[Row]:
    for name, changed, reason in SAM_FAULTS:
        for place, number in PLACES.items():
            also = (Reason.MALFORMED_RECORD,) if reason is not BAD else ()
            for ending, packed in ((".sam", False), (".sam.gz", True)):
                data = sam({number: changed})
                data = gzip.compress(data) if packed else data
                line = number + 3 if reason is BAD and changed.get(0) != " x" else None
                yield Row(
                    f"SAM: {name}",
                    place + ending,
                    lambda d=data, e=ending: {f"x{e}": d},
                    reason,
                    number + 1,
                    line,
                    also=also,
                )
    whole = sam()
    for name, data, reason, also in (
        ("cut within a line", whole[:-40], BAD, ()),
        ("only a header", SAM_HEADER.encode(), Reason.NO_READS, ()),
        ("a header line among the records", whole + b"@CO\tlate\n", BAD, ()),
        ("a blank line", whole + b"\n", BAD, ()),
        ("two reads of one name", sam({3: {0: "r1"}}), Reason.DUPLICATE_READ_NAME, ()),
        ("only secondary records", sam({n: {1: "256"} for n in range(COUNT)}), Reason.NO_READS, ()),
    ):
        yield Row(f"SAM: {name}", "plain", lambda d=data: {"x.sam": d}, reason, also=also)
    yield Row("SAM: named BAM", "plain", lambda: {"x.bam": whole}, Reason.WRONG_FORMAT)
    yield Row("right: SAM", "with header", lambda: {"x.sam": whole})
    yield Row("right: SAM", "without header", lambda: {"x.sam": sam(header="")})
    yield Row("right: SAM", "CR LF", lambda: {"x.sam": whole.replace(b"\n", b"\r\n")})
    yield Row("right: SAM", "gzip", lambda: {"x.sam.gz": gzip.compress(whole)})


# ------------------------------------------------------------------ BAM

BAM_HEADER = (
    b"BAM\1"
    + struct.pack("<i", len(SAM_HEADER))
    + SAM_HEADER.encode()
    + struct.pack("<ii", 1, 4)
    + b"ref\0"
    + struct.pack("<i", 3000)
)


def bam_record(
    number: int = 0, *, name: bytes | None = None, tags: bytes = b"", quality: int = 30, **fields: int
) -> bytes:
    """A record of ten bases; any length in it can be a lie."""
    name = b"r%d\0" % number if name is None else name
    core = struct.pack(
        "<iiBBHHHiiii",
        *(fields.get("reference", 0), number),
        *(fields.get("name_size", len(name)), 60, 0),
        *(fields.get("cigars", 1), fields.get("flag", 0), fields.get("bases", 10)),
        *(fields.get("next", -1), -1, 0),
    )
    body = (
        core
        + name
        + struct.pack("<I", fields.get("cigar", 10 << 4))
        + b"\x12\x48\x12\x48\x12"
        + bytes([quality]) * 10
        + tags
    )
    return struct.pack("<i", fields.get("size", len(body))) + body


BAM_FAULTS: list[tuple[str, dict, tuple[Reason, ...]]] = [
    ("size of a record is negative", {"size": -1}, (DAMAGED,)),
    ("size of a record is zero", {"size": 0}, (DAMAGED,)),
    ("size of a record is too small", {"size": 40}, (DAMAGED,)),
    ("size of a record is a little too large", {"size": 80}, (DAMAGED, CUT, BAD)),
    ("size of a record is enormous", {"size": 2**31 - 1}, (DAMAGED,)),
    ("number of bases is negative", {"bases": -1}, (DAMAGED,)),
    ("number of bases is enormous", {"bases": 2**31 - 1}, (DAMAGED,)),
    ("number of bases is too large", {"bases": 11}, (DAMAGED, BAD)),
    ("number of CIGAR operations lies", {"cigars": 65535}, (DAMAGED,)),
    ("length of the name lies", {"name_size": 200}, (DAMAGED,)),
    ("length of the name is zero", {"name_size": 0}, (DAMAGED,)),
    ("name without its zero", {"name": b"abc"}, (DAMAGED,)),
    ("empty name", {"name": b"\0"}, (BAD,)),
    ("name with a zero inside", {"name": b"a\0b\0"}, (BAD,)),
    ("name with a control character", {"name": b"a\x07b\0"}, (BAD,)),
    ("reference that is not there", {"reference": 1}, (DAMAGED,)),
    ("reference below -1", {"reference": -2}, (DAMAGED,)),
    ("mate's reference that is not there", {"next": 5}, (DAMAGED,)),
    ("CIGAR of another length", {"cigar": 9 << 4}, (BAD,)),
    ("CIGAR with an unknown operation", {"cigar": 10 << 4 | 12}, (BAD,)),
    ("no qualities", {"quality": 255}, (BAD,)),
    ("qualities above 93", {"quality": 94}, (Reason.INVALID_QUALITY,)),
    ("tag without an end", {"tags": b"XXZtext"}, (BAD,)),
    ("tag of an unknown type", {"tags": b"XX?1"}, (BAD,)),
    ("tag with an array that lies", {"tags": b"XXBi\xff\xff\xff\x7f"}, (BAD,)),
    ("tag with a negative array", {"tags": b"XXBi\xff\xff\xff\xff"}, (BAD,)),
    ("half a tag", {"tags": b"XX"}, (BAD,)),
]


def bam(changes: dict[int, dict] | None = None) -> bytes:
    return BAM_HEADER + b"".join(bam_record(n, **(changes or {}).get(n, {})) for n in range(COUNT))


def _bam() -> Iterator[Row]:
    for name, changed, reasons in BAM_FAULTS:
        for place, number in PLACES.items():
            data = bgzf(bam({number: changed}))
            # A last record that states more than there is, is cut off.
            also = (*reasons[1:], CUT) if number == COUNT - 1 else reasons[1:]
            yield Row(f"BAM: {name}", place, lambda d=data: {"x.bam": d}, reasons[0], also=also)
    whole = bam()
    for name, data, reason in (
        ("no end-of-file block", bgzf(whole, end=False), CUT),
        ("not compressed", whole, Reason.CORRUPT_COMPRESSION),
        ("gzip instead of BGZF", gzip.compress(whole), Reason.CORRUPT_COMPRESSION),
        ("only a header", bgzf(BAM_HEADER), Reason.NO_READS),
        ("the header's text is endless", bgzf(b"BAM\1" + struct.pack("<i", 2**31 - 1)), DAMAGED),
        ("the header's text is negative", bgzf(b"BAM\1" + struct.pack("<i", -4)), DAMAGED),
        ("a negative number of references", bgzf(b"BAM\1" + struct.pack("<ii", 0, -1)), DAMAGED),
        ("references that are not there", bgzf(b"BAM\1" + struct.pack("<ii", 0, 1000)), CUT),
        ("cut within the header", bgzf(BAM_HEADER[:30]), CUT),
        ("two reads of one name", bgzf(whole + bam_record(3)), Reason.DUPLICATE_READ_NAME),
        ("a mate twice", bgzf(whole + bam_record(3, name=b"p\0", flag=0x41) * 2), Reason.DUPLICATE_READ_NAME),
        ("something follows", bgzf(whole) + b"garbage", Reason.CORRUPT_COMPRESSION),
        ("only supplementary records", bgzf(bam({n: {"flag": 0x800} for n in range(COUNT)})), Reason.NO_READS),
    ):
        yield Row(f"BAM: {name}", "BGZF", lambda d=data: {"x.bam": d}, reason)
    for tenth in range(1, 10):
        data = bgzf(whole)
        place = len(data) * tenth // 10
        yield Row("BAM: cut off", f"at {tenth}0 %", lambda d=data[:place]: {"x.bam": d}, CUT)
        inside = bgzf(whole[: len(BAM_HEADER) + (len(whole) - len(BAM_HEADER)) * tenth // 10])
        yield Row("BAM: records cut off before they were packed", f"at {tenth}0 %", lambda d=inside: {"x.bam": d}, CUT)
        flipped = changed_at(data, place)
        also = (CUT, DAMAGED, Reason.WRONG_FORMAT, Reason.UNKNOWN_FORMAT)
        yield Row(
            "BAM: eight bytes changed",
            f"at {tenth}0 %",
            lambda d=flipped: {"x.bam": d},
            Reason.CORRUPT_COMPRESSION,
            also=also,
        )
    yield Row("BAM: named FASTQ", "BGZF", lambda: {"x.fastq.gz": bgzf(whole)}, Reason.WRONG_FORMAT)
    yield Row("right: BAM", "BGZF", lambda: {"x.bam": bgzf(whole)})
    yield Row("right: BAM", "zeros after it", lambda: {"x.bam": bgzf(whole) + bytes(100)})
