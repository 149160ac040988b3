"""Several files: mates that do not fit, lanes that have lost one, kinds that do not go together."""

from __future__ import annotations

from collections.abc import Iterator

from readvault.domain.annotations import Reason
from tests.data.bad_inputs.fastq import Record, records, text
from tests.data.bad_inputs.row import PACKINGS, Row

ONE, TWO = records("M1:7:FC:1:1101:10:{} 1:N:0:AC"), records("M1:7:FC:1:1101:10:{} 2:N:0:AC", seed=1)
OTHERS = records("M1:7:FC:2:2202:77:{} 1:N:0:AC", seed=2)
LANES = (("S_L001_R1_001", ONE), ("S_L001_R2_001", TWO))


def rows() -> Iterator[Row]:
    """All of them."""
    for packing in PACKINGS:
        for name, files, record in _unpaired():
            yield _row(f"mates: {name}", packing, files, Reason.UNPAIRED_MATES, record)
        broken = [[*TWO[0][:3], b"F" * 39], *TWO[1:]]
        yield _row(
            "mates: a fault in the second file", packing, {"a_R1": ONE, "a_R2": broken}, Reason.MALFORMED_RECORD, 1
        )
        twice = [*TWO[:5], TWO[4], *TWO[6:]]
        yield _row(
            "mates: a read twice in both",
            packing,
            {"a_R1": [*ONE[:5], ONE[4], *ONE[6:]], "a_R2": twice},
            Reason.DUPLICATE_READ_NAME,
            6,
        )
        for name, files, warning in _accepted():
            row = _row(f"right: {name}", packing, files, None)
            yield Row(row.kind, row.name, row.make, warning=warning)


def _row(
    kind: str, packing: str, files: dict[str, list[Record]], reason: Reason | None, record: int | None = None
) -> Row:
    ending, pack = PACKINGS[packing]
    made = {f"{name}.fastq{ending}": text(content) for name, content in files.items()}
    return Row(kind, packing, lambda: {label: pack(data) for label, data in made.items()}, reason, record)


def _unpaired() -> Iterator[tuple[str, dict[str, list[Record]], int | None]]:
    swapped = [*TWO[:6], TWO[7], TWO[6], *TWO[8:]]
    yield "one read fewer in the second", {"a_R1": ONE, "a_R2": TWO[:-1]}, 12
    yield "one read fewer in the first", {"a_R1": ONE[:-1], "a_R2": TWO}, 12
    yield "a read lost in the middle", {"a_R1": ONE, "a_R2": TWO[:4] + TWO[5:]}, 5
    yield "two reads have changed places", {"a_R1": ONE, "a_R2": swapped}, 7
    yield "the second is of another lane", {"a_R1": ONE, "a_R2": OTHERS}, 1
    yield "the first file sent twice", {"a_R1": ONE, "a_R2": ONE}, 1
    yield "backwards", {"a_R1": ONE, "a_R2": TWO[::-1]}, 1
    yield "a lane without its second file", {**dict(LANES), "S_L002_R1_001": OTHERS}, None
    yield "a lane without its first file", {**dict(LANES), "S_L002_R2_001": OTHERS}, None
    yield "a chunk without its mate", {**dict(LANES), "S_L001_R1_002": OTHERS}, None
    yield "single reads beside pairs", {**dict(LANES), "unpaired": OTHERS}, None
    interleaved = [record for both in zip(ONE, TWO, strict=True) for record in both]
    yield "interleaved, the last one alone", {"both": interleaved[:-1]}, 23
    yield "interleaved, one lost in the middle", {"both": interleaved[:9] + interleaved[10:]}, 10
    yield (
        "in one file, one after the other",
        {"both": [[b"@r%d/%d" % (n, mate), *ONE[n][1:]] for mate in (1, 2) for n in range(12)]},
        13,
    )


def _accepted() -> Iterator[tuple[str, dict[str, list[Record]], Reason | None]]:
    yield "mates by _R1 and _R2", {"a_R1": ONE, "a_R2": TWO}, None
    yield "mates by _1 and _2", {"a_1": ONE, "a_2": TWO}, None
    yield "mates by what is in them", {"left": ONE, "right": TWO}, None
    yield "mates by .1 and .2 of fastq-dump", {"E_1": records("ERR1.{}.1"), "E_2": records("ERR1.{}.2", seed=1)}, None
    yield "mates by /1 and /2", {"E_1": records("r{}/1"), "E_2": records("r{}/2", seed=1)}, None
    yield (
        "lanes",
        {**dict(LANES), "S_L002_R1_001": OTHERS, "S_L002_R2_001": records("M1:7:FC:2:2202:77:{} 2:N:0:AC", seed=5)},
        None,
    )
    yield "interleaved", {"both": [record for both in zip(ONE, TWO, strict=True) for record in both]}, None
    yield "the same bases as both mates", {"a_1": records("r{}/1"), "a_2": records("r{}/2")}, Reason.REPEATED_FILE
    chunks = {
        f"FAX_pass_barcode01_{n}": records(f"0b1e2639-bd29-4837-a33d-7f35c8e{n}" + "{:04d} runid=ab12") for n in (1, 2)
    }
    yield (
        "chunks of a nanopore run",
        {name: [[r[0], r[1], *r[2:]] for r in chunk] for name, chunk in chunks.items()},
        Reason.REPEATED_FILE,
    )
