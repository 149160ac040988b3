"""One FASTQ file with one fault: each kind at the beginning, in the middle and at the end, in each packing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from readvault.domain.annotations import Reason
from tests.data.bad_inputs.row import PACKINGS, Row
from tests.unit.reads.fastq_maker import bases

RECORDS = 12
PLACES = {"first": 0, "middle": 5, "last": RECORDS - 1}
Record = list[bytes]


def records(name: str = "M1:7:FC:1:1101:10:{}", count: int = RECORDS, seed: int = 0) -> list[Record]:
    """Right records of 40 bases."""
    sequences = [bases(40, seed * 100 + n).encode() for n in range(count)]
    return [[b"@" + name.format(n + 1).encode(), sequence, b"+", b"F" * 40] for n, sequence in enumerate(sequences)]


def text(all_records: list[Record]) -> bytes:
    return b"".join(line + b"\n" for record in all_records for line in record)


def _line(number: int, change: Callable[[bytes], bytes]) -> Callable[[Record], Record]:
    return lambda record: [change(line) if place == number else line for place, line in enumerate(record)]


def _with(number: int, byte: bytes) -> Callable[[Record], Record]:
    return _line(number, lambda line: line[:7] + byte + line[8:])


BAD, BASE, QUALITY, CUT = Reason.MALFORMED_RECORD, Reason.INVALID_BASE, Reason.INVALID_QUALITY, Reason.TRUNCATED_FILE

# What is wrong, the reason, and the line of the record (0 to 3; None: not the same everywhere).
FAULTS: list[tuple[str, Callable[[Record], Record], Reason, int | None]] = [
    ("title without @", _line(0, lambda line: line[1:]), BAD, 0),
    ("title with > as in FASTA", _line(0, lambda line: b">" + line[1:]), BAD, None),
    ("title without a name", _line(0, lambda line: b"@"), BAD, 0),
    ("title that begins with a blank", _line(0, lambda line: b"@ " + line[1:]), BAD, 0),
    ("title that begins with a tab", _line(0, lambda line: b"@\t" + line[1:]), BAD, 0),
    ("control character in the title", _with(0, b"\x07"), BAD, 0),
    ("zero byte in the title", _with(0, b"\x00"), BAD, 0),
    ("escape sequence in the title", _with(0, b"\x1b[31m"), BAD, 0),
    ("UTF-8 in the title", _with(0, "ö".encode()), BAD, 0),
    ("Latin-1 in the title", _with(0, b"\xf6"), BAD, 0),
    ("gap among the bases", _with(1, b"-"), BASE, 1),
    ("stop among the bases", _with(1, b"*"), BASE, 1),
    ("amino acids as bases", _with(1, b"E"), BASE, 1),
    ("question mark among the bases", _with(1, b"?"), BASE, 1),
    ("digit among the bases", _with(1, b"2"), BASE, 1),
    ("colour space", _line(1, lambda line: b"T" + b"0123" * 9 + b"012"), BASE, 1),
    ("blank among the bases", _with(1, b" "), BASE, 1),
    ("tab among the bases", _with(1, b"\t"), BASE, 1),
    ("zero byte among the bases", _with(1, b"\x00"), BASE, 1),
    ("eighth bit among the bases", _with(1, b"\xc1"), BASE, 1),
    ("no bases and no qualities", lambda record: [record[0], b"", b"+", b""], BAD, 1),
    ("no bases", _line(1, lambda line: b""), BAD, 1),
    ("no qualities", _line(3, lambda line: b""), BAD, 3),
    ("separator that is no +", _line(2, lambda line: b"-"), BAD, 2),
    ("empty separator", _line(2, lambda line: b""), BAD, 2),
    ("separator with another name", _line(2, lambda line: b"+other"), BAD, 2),
    ("one quality too few", _line(3, lambda line: line[1:]), BAD, 3),
    ("one quality too many", _line(3, lambda line: line + b"F"), BAD, 3),
    ("half of the qualities", _line(3, lambda line: line[:20]), BAD, 3),
    ("blank among the qualities", _with(3, b" "), QUALITY, 3),
    ("tab among the qualities", _with(3, b"\t"), QUALITY, 3),
    ("zero byte among the qualities", _with(3, b"\x00"), QUALITY, 3),
    ("delete character among the qualities", _with(3, b"\x7f"), QUALITY, 3),
    ("eighth bit among the qualities", _with(3, b"\x80"), QUALITY, 3),
    ("qualities as numbers", _line(3, lambda line: b"40 " * 39 + b"40"), BAD, 3),
    ("blank line before the record", lambda record: [b"", *record], BAD, 0),
    ("two blank lines before the record", lambda record: [b"", b"", *record], BAD, 0),
    ("bases over two lines", lambda record: [record[0], record[1][:20], record[1][20:], *record[2:]], BAD, 2),
    ("qualities over two lines", lambda record: [*record[:3], record[3][:20], record[3][20:]], BAD, 4),
    ("the record without its title", lambda record: record[1:], BAD, None),
    ("the record without its separator", lambda record: [*record[:2], record[3]], BAD, None),
    ("a line of a log before the record", lambda record: [b"INFO: 12 reads", *record], BAD, 0),
]
_CUTS = {"after the title": 1, "after the bases": 2, "after the separator": 3}


def rows() -> Iterator[Row]:
    """All of them."""
    for name, change, reason, offset in FAULTS:
        for place, number in PLACES.items():
            for packing in PACKINGS:
                yield _row(name, change, reason, offset, place, number, packing)
    for packing in PACKINGS:
        for where, lines in _CUTS.items():
            content = text([*records()[:-1], records()[-1][:lines]])
            yield _plain("a record is cut off", f"{where}, {packing}", content, packing, CUT, record=RECORDS)
        twice = records()
        twice[8] = [twice[3][0], *twice[8][1:]]
        yield _plain(
            "two reads of one name", packing, text(twice), packing, Reason.DUPLICATE_READ_NAME, record=9, line=33
        )
        every = [[record[0], b"A-" * 20, *record[2:]] for record in records()]
        yield _plain("the fault is in every record", packing, text(every), packing, BASE, record=1, line=2)
        for name, content, warning in _accepted():
            row = _plain(name, packing, content, packing, None)
            yield Row(row.kind, row.name, row.make, warning=warning)


def _row(
    name: str,
    change: Callable[[Record], Record],
    reason: Reason,
    offset: int | None,
    place: str,
    number: int,
    packing: str,
) -> Row:
    changed = records()
    changed[number] = change(changed[number])
    record = None if offset is None else number + 1
    line = None if offset is None else number * 4 + offset + 1
    also: tuple[Reason, ...] = (CUT,) if number == RECORDS - 1 else ()
    if number == 0 and offset in (None, 0):
        also += (Reason.WRONG_FORMAT, Reason.UNKNOWN_FORMAT)
    made = _plain(name, f"{place}, {packing}", text(changed), packing, reason, record=record, line=line)
    return Row(made.kind, made.name, made.make, made.reason, made.record, made.line, also=also)


def _plain(
    kind: str,
    name: str,
    content: bytes,
    packing: str,
    reason: Reason | None,
    *,
    record: int | None = None,
    line: int | None = None,
) -> Row:
    ending, pack = PACKINGS[packing]
    return Row(kind, name, lambda: {f"reads.fastq{ending}": pack(content)}, reason, record, line)


def _accepted() -> Iterator[tuple[str, bytes, Reason | None]]:
    good = records()
    whole = text(good)
    yield "right: as it should be", whole, None
    yield "right: no line end after the last record", whole[:-1], None
    yield "right: CR LF", whole.replace(b"\n", b"\r\n"), Reason.LINE_ENDS
    yield "right: lower case", text([_line(1, bytes.lower)(record) for record in good]), None
    yield "right: U and dots", whole.replace(b"T\n", b"U\n").replace(b"G\n", b".\n"), None
    yield "right: every IUPAC letter", text([[r[0], b"ACGTNRYKMSWBDHV" * 2 + r[1][:10], *r[2:]] for r in good]), None
    yield "right: the name repeated after +", text([[*r[:2], b"+" + r[0][1:], r[3]] for r in good]), None
    yield "right: qualities that begin with @", text([_line(3, lambda line: b"@" + line[1:])(r) for r in good]), None
    yield "right: qualities that begin with +", text([_line(3, lambda line: b"+" + line[1:])(r) for r in good]), None
    yield (
        "right: qualities of Phred+64",
        text([_line(3, lambda line: b"h" * 30 + b"B" * 10)(r) for r in good]),
        Reason.QUALITY_ENCODING,
    )
    yield "right: all N", text([_line(1, lambda line: b"N" * 40)(r) for r in good]), None
    yield "right: one base each", text([[r[0], r[1][:1], b"+", b"F"] for r in good]), None
    yield "right: HTML in a comment", text([[r[0] + b" <b>x</b>", *r[1:]] for r in good]), None
    yield "right: a formula as a name", text([[b"@=1+1:" + r[0][1:], *r[1:]] for r in good]), None
    yield "right: one read", text(good[:1]), None
