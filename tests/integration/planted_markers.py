"""Reads with human sequence and a patient's name in every place where a file can hide them.

Each hiding place has a thousand markers: pieces of a host that never lived, of 100 bases, all
different. The 31 bases in the middle of a piece are looked for, on both strands.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pysam

from readvault.reads import kmers
from tests import silo_maker
from tests.unit.reads.fastq_maker import bases, reverse_complement

EACH = 1000
PIECE, MARKER = 100, slice(30, 61)
READ, FRAGMENT = 120, 250
VIRUS = bases(6000, seed=51)
NAME = "PATIENTNAME"
"""Stands for what tells of a person or a machine; planted wherever a file takes free text."""
TAGS = (
    "SA",
    "XA",
    "MC",
    "MD",
    "OQ",
    "BQ",
    "E2",
    "U2",
    "R2",
    "Q2",
    "BC",
    "QT",
    "RX",
    "CB",
    "UB",
    "CO",
    "CT",
    "PT",
    "XX",
)

MAPPED, UNMAPPED, SECONDARY, FAILED, DUPLICATE, SUPPLEMENTARY = 0, 0x4, 0x100, 0x200, 0x400, 0x800


@dataclass
class Mate:
    """One read: `other` is a further record of it, with this sequence and these flags."""

    sequence: str
    flag: int = MAPPED
    cigar: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    other: tuple[str, int] | None = None


@dataclass
class Pair:
    """Two mates of one fragment; `place` is the 0-based start of the fragment on the virus."""

    name: str
    place: int
    mates: tuple[Mate, Mate]
    comment: str = ""
    separator: str = ""


def viral(n: int) -> Pair:
    """A pair of the virus, named as a sequencer does."""
    place = 37 * n % (len(VIRUS) - FRAGMENT)
    fragment = VIRUS[place : place + FRAGMENT]
    mates = (Mate(fragment[:READ]), Mate(reverse_complement(fragment)[:READ]))
    return Pair(f"{NAME}-7:{n}:FC-1:1:1101:1:{n}", place, mates)


def _human(mate: int, flag: int = UNMAPPED) -> Callable[[Pair, str], None]:
    def plant(pair: Pair, piece: str) -> None:
        pair.mates[mate].sequence, pair.mates[mate].flag = piece, flag

    return plant


def _both(pair: Pair, piece: str) -> None:
    for mate in (0, 1):
        _human(mate)(pair, piece if mate == 0 else reverse_complement(piece))


def _soft_clip(pair: Pair, piece: str) -> None:
    mate = pair.mates[0]
    mate.sequence, mate.cigar = mate.sequence[:60] + piece[:60] + piece[60:], "60M100S"


def _short(pair: Pair, piece: str) -> None:
    pair.mates[1].sequence, pair.mates[1].flag = piece[20:64], UNMAPPED


def _other(flag: int) -> Callable[[Pair, str], None]:
    def plant(pair: Pair, piece: str) -> None:
        pair.mates[0].other = (piece, flag)

    return plant


def _name(pair: Pair, piece: str) -> None:
    pair.name = f"{pair.name}:{piece}"


def _comment(pair: Pair, piece: str) -> None:
    pair.comment = f" 1:N:0:{piece} {NAME}"


def _separator(pair: Pair, piece: str) -> None:
    pair.comment = f" {piece}"
    pair.separator = f"{pair.name}{pair.comment}"


Places = dict[str, Callable[[Pair, str], None]]
IN_READS: Places = {
    "both mates": _both,
    "first mate": _human(0),
    "second mate": _human(1),
    "end of a chimera, soft-clipped": _soft_clip,
    "read too short to be screened": _short,
    "read name": _name,
}
IN_FASTQ: Places = {**IN_READS, "comment of a read name": _comment, "separator line": _separator}
IN_ALIGNED: Places = {
    **IN_READS,
    "unmapped mate of a mapped read": _human(1, UNMAPPED),
    "mate mapped to the virus by mistake": _human(0, MAPPED),
    "duplicate": _human(0, DUPLICATE),
    "read that failed quality checks": _human(1, FAILED),
    "supplementary alignment": _other(SUPPLEMENTARY),
    "secondary alignment": _other(SECONDARY),
}
TAG_PLACE = len(IN_ALIGNED)
HEADER_PLACE = TAG_PLACE + len(TAGS)
HOST = bases(PIECE * EACH * (HEADER_PLACE + 1), seed=52)


def piece_of(place: int, n: int) -> str:
    """The n-th planted piece of a hiding place."""
    start = (place * EACH + n) * PIECE
    return HOST[start : start + PIECE]


def planted(places: Places) -> tuple[list[Pair], dict[str, list[str]]]:
    """Pairs with a marker each, and the markers of each place."""
    pairs, markers = [], {}
    for number, (place, plant) in enumerate(places.items()):
        pieces = [piece_of(number, n) for n in range(EACH)]
        markers[place] = [piece[MARKER] for piece in pieces]
        for n, piece in enumerate(pieces):
            pairs.append(viral(number * EACH + n))
            plant(pairs[-1], piece)
    return pairs, markers


def planted_tags() -> tuple[list[Pair], dict[str, list[str]]]:
    """Pairs of the virus whose first read has a marker in every tag, and the markers of each tag."""
    pairs = [viral(TAG_PLACE * EACH + n) for n in range(EACH)]
    markers = {}
    for number, tag in enumerate(TAGS):
        pieces = [piece_of(TAG_PLACE + number, n) for n in range(EACH)]
        markers[f"tag {tag}"] = [piece[MARKER] for piece in pieces]
        for pair, piece in zip(pairs, pieces, strict=True):
            pair.mates[0].tags[tag] = f"{NAME} {piece}" if tag in ("CO", "XX") else piece
    return pairs, markers


def write_fastq(directory: Path, pairs: Iterable[Pair]) -> tuple[list[Path], list[str]]:
    """Two gzip files whose headers hold a name and a comment, with markers; and the markers of the headers."""
    pieces = [piece_of(HEADER_PLACE, n) for n in range(EACH)]
    paths = []
    for mate in (0, 1):
        text = "".join(
            f"@{pair.name}{pair.comment}\n{pair.mates[mate].sequence}\n+{pair.separator}\n"
            + "F" * len(pair.mates[mate].sequence)
            + "\n"
            for pair in pairs
        )
        paths.append(directory / f"{NAME}_{pieces[0][:60]}_R{mate + 1}.fastq.gz")
        body = gzip.compress(text.encode(), 1, mtime=0)
        label = f"{NAME}.fastq".encode() + b"\0" + "-".join(piece[MARKER] for piece in pieces[mate::2]).encode() + b"\0"
        paths[-1].write_bytes(body[:3] + b"\x18" + body[4:10] + label + body[10:])
    return paths, [piece[MARKER] for piece in pieces]


def header(reference: str) -> tuple[pysam.AlignmentHeader, list[str]]:
    """A header with a marker or a name in each of its free fields; and the markers."""
    pieces = [piece_of(HEADER_PLACE, n) for n in range(EACH)]
    one = iter(pieces)
    fields = {
        "HD": {"VN": "1.6", "SO": "unsorted"},
        "SQ": [{"SN": reference, "LN": len(VIRUS), "SP": f"{NAME} {next(one)}"}],
        "RG": [{"ID": NAME, "PL": "ILLUMINA"} | {key: f"{NAME} {next(one)}" for key in ("SM", "LB", "DS", "CN", "BC")}],
        "PG": [{"ID": NAME, "PN": NAME, "CL": f"/home/{NAME}/align {next(one)} /data/{NAME}.fq"}],
        "CO": [f"{NAME} {piece}" for piece in one],
    }
    return pysam.AlignmentHeader.from_dict(fields), [piece[MARKER] for piece in pieces]


def write_aligned(path: Path, mode: str, pairs: Iterable[Pair], reference: Path) -> tuple[Path, list[str]]:
    """A BAM, SAM or CRAM (`wb`, `w`, `wc`) with all records of the pairs; and the markers of its header."""
    top, markers = header("virus")
    options = [b"embed_ref=1"] if mode == "wc" else []
    with pysam.AlignmentFile(
        str(path), mode, header=top, reference_filename=str(reference), format_options=options
    ) as out:
        for pair in pairs:
            for number, mate in enumerate(pair.mates):
                out.write(_record(top, pair, mate, number, mate.sequence, mate.flag))
                if mate.other:
                    out.write(_record(top, pair, mate, number, *mate.other))
    return path, markers


def _record(
    top: pysam.AlignmentHeader, pair: Pair, mate: Mate, number: int, sequence: str, flag: int
) -> pysam.AlignedSegment:
    second, mapped = number == 1, not flag & UNMAPPED
    record = pysam.AlignedSegment(top)
    record.query_name = pair.name
    turned = second and mapped
    record.flag = flag | 0x1 | (0x80 if second else 0x40) | (0x10 if turned else 0)
    if pair.mates[1 - number].flag & UNMAPPED:
        record.flag |= 0x8
    start = pair.place if not second else pair.place + FRAGMENT - READ
    if mapped:
        record.reference_id, record.reference_start, record.mapping_quality = 0, start, 60
        record.cigarstring = mate.cigar or f"{len(sequence)}M"
    record.query_sequence = reverse_complement(sequence) if turned else sequence
    record.query_qualities = pysam.qualitystring_to_array("F" * len(sequence))
    record.set_tags([("RG", NAME, "Z"), *((tag, value, "Z") for tag, value in mate.tags.items())])
    return record


def found(text: str, markers: dict[str, list[str]]) -> dict[str, int]:
    """How many markers of each place, or their reverse complements, stand in a text."""
    values, known = kmers.canonical(text.encode("latin-1", "replace"), 31)
    there = np.sort(values[known])
    counts = {}
    for place, each in markers.items():
        pieces, whole = kmers.canonical("\n".join(each).encode(), 31)
        wanted = pieces[whole]
        counts[place] = int((np.searchsorted(there, wanted, "right") > np.searchsorted(there, wanted)).sum())
    return counts


def all_text(path: Path) -> str:
    """All that a file says, packed and unpacked; of aligned files the header and all fields of all records."""
    raw = path.read_bytes()
    if path.suffix in (".bam", ".cram", ".sam"):
        with pysam.AlignmentFile(str(path), check_sq=False) as file:
            records = "\n".join(record.to_string() for record in file.fetch(until_eof=True))
            return f"{file.header}\n{records}"
    unpacked = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b""
    if path.suffix == ".zst":
        unpacked = silo_maker.unpacked(path)
    return (raw + b"\n" + unpacked).decode("latin-1")
