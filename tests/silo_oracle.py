"""Lines of SILO reads made the plain way, a dictionary per read: what the native code must equal byte for byte."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysam

from readvault.reads.call import genes as called
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.sample import Segment

UNUSED = 0x4 | 0x100 | 0x200 | 0x400 | 0x800
WIDEST_GAP = 1000
Inserted = dict[int, tuple[str, float]]


@dataclass
class Row:
    """What one or two alignments say: symbols by 0-based position, insertions by the 1-based one before them."""

    read_id: str
    segment: int
    start: int
    end: int
    symbols: dict[int, tuple[str, float]]
    insertions: Inserted = field(default_factory=dict)

    @property
    def sequence(self) -> str:
        return "".join(self.symbols.get(place, ("N", 0))[0] for place in range(self.start, self.end))


def lines(
    bam: Path,
    segments: Sequence[Segment],
    *,
    names: Sequence[str],
    genes: Sequence[Gene] = (),
    merged: bool = True,
    minimum: int,
) -> list[str]:
    """The lines of a BAM, in order."""
    found = []
    for row in rows(bam, merged=merged, minimum=minimum):
        line: dict[str, Any] = {"readId": row.read_id}
        for number, name in enumerate(names):
            insertions = [f"{place}:{bases}" for place, (bases, _) in sorted(row.insertions.items())]
            whole = {"sequence": row.sequence, "insertions": insertions, "offset": row.start}
            line[name] = whole if number == row.segment else None
        for gene in genes:
            own = segments[row.segment].name == gene.segment
            line[gene.name] = amino_acids(row, gene, segments[row.segment].sequence) if own else None
        found.append(json.dumps(line, separators=(",", ":")) + "\n")
    return found


def rows(bam: Path, *, merged: bool, minimum: int) -> Iterator[Row]:
    """What each line must say."""
    with pysam.AlignmentFile(str(bam)) as file:
        reads = [r for r in file if not r.flag & UNUSED and r.query_sequence and span(r)]
    if not merged:
        for read in reads:
            yield of_read(read, minimum, suffix=read.is_paired)
        return
    templates: dict[tuple[int, int, int], list[pysam.AlignedSegment]] = defaultdict(list)
    for read in reads:
        mated = read.is_paired and not read.mate_is_unmapped and read.next_reference_id == read.reference_id
        start = min(read.reference_start, read.next_reference_start) if mated else read.reference_start
        templates[read.reference_id, start, int(read.query_name or "")].append(read)
    for _, mates in sorted(templates.items(), key=lambda each: each[0]):
        if len(mates) == 2:
            one, other = mates
            ends = [read.reference_start + span(read) for read in mates]
            apart = max(one.reference_start, other.reference_start) - min(ends)
            if apart <= WIDEST_GAP:
                yield joined(of_read(one, minimum), of_read(other, minimum))
                continue
        for read in mates:
            yield of_read(read, minimum, suffix=read.is_paired and not read.mate_is_unmapped)


def span(read: pysam.AlignedSegment) -> int:
    """How many positions an alignment spans (pysam's own length of none is 1)."""
    return sum(length for code, length in read.cigartuples or () if code in (0, 2, 3, 7, 8))


def of_read(read: pysam.AlignedSegment, minimum: int, *, suffix: bool = False) -> Row:
    """One alignment."""
    bases, qualities = read.query_sequence or "", list(read.query_qualities or [])
    symbols: dict[int, tuple[str, float]] = {}
    insertions: dict[int, tuple[str, list[int]]] = {}
    query, place = 0, read.reference_start
    for code, length in read.cigartuples or ():
        if code in (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF):
            for i in range(length):
                known = bases[query + i] in "ACGT" and qualities[query + i] >= minimum
                symbols[place + i] = (bases[query + i], qualities[query + i]) if known else ("N", 0)
        elif code == pysam.CDEL:
            beside = qualities[max(query - 1, 0)] + qualities[min(query, len(bases) - 1)]
            for i in range(length):
                symbols[place + i] = ("-", 0) if beside >= 2 * minimum else ("N", 0)
        elif code == pysam.CINS and length:
            before = insertions.get(place, ("", []))
            here = slice(query, query + length)
            insertions[place] = (before[0] + bases[here], before[1] + qualities[here])
        query += length if code in (0, 1, 4, 7, 8) else 0
        place += length if code in (0, 2, 3, 7, 8) else 0
    good = {
        at: ("".join(base if base in "ACGT" else "N" for base in text), sum(values) / len(values))
        for at, (text, values) in insertions.items()
        if sum(values) >= minimum * len(values)
    }
    mate = ("/1" if read.is_read1 else "/2") if suffix else ""
    return Row(f"{read.query_name}{mate}", read.reference_id, read.reference_start, place, symbols, good)


def joined(one: Row, other: Row) -> Row:
    """Two mates as one fragment."""
    symbols = dict(one.symbols)
    for place, (symbol, quality) in other.symbols.items():
        mine, my_quality = symbols.get(place, ("N", 0))
        if mine == "N" or (symbol == "-" and mine != "-"):
            symbols[place] = (symbol, quality)
        elif symbol not in ("N", mine) and mine != "-":
            symbols[place] = (symbol, quality) if quality > my_quality else (mine, my_quality)
            if quality == my_quality:
                symbols[place] = ("N", 0)
    insertions = dict(one.insertions)
    for place, (bases, mean) in other.insertions.items():
        mine, my_mean = insertions.get(place, ("", -1.0))
        if mean > my_mean:
            insertions[place] = (bases, mean)
        elif mean == my_mean and bases != mine:
            del insertions[place]
    start, end = min(one.start, other.start), max(one.end, other.end)
    return Row(one.read_id, one.segment, start, end, symbols, insertions)


def amino_acids(row: Row, gene: Gene, reference: str) -> dict[str, Any] | None:
    """What a row says of a gene."""
    aligned = [row.symbols.get(place, ("N", 0))[0] for place in range(len(reference))]
    inserted = {place - 1: bases for place, (bases, _) in row.insertions.items()}
    columns = list(called._columns(gene, "".join(aligned), inserted))
    known = [c for c in range(gene.codons) if all(column[0] != "N" for column in columns[3 * c : 3 * c + 3])]
    if not known:
        return None
    expected = called.protein(gene, reference)
    said = ""
    gained: defaultdict[int, str] = defaultdict(str)
    codon, last = known[0], known[-1]
    while codon <= last:
        together = next((n for n in range(1, last - codon + 2) if in_frame(columns, codon, n)), 0)
        together = together if together and not shifted(columns, codon, together) else 0
        if together:
            bases = "".join(columns[3 * codon : 3 * (codon + together)]).replace("-", "")
            found, extra = called._fitted(translated(bases), expected[codon : codon + together])
            said += found
            for place, more in extra:
                gained[codon + place] += more
        else:
            own = columns[3 * codon : 3 * codon + 3]
            cut = any(column[0] == "-" for column in own) or any(len(column) > 1 for column in own[:2])
            said += "X" if cut else translated("".join(column[0] for column in own))
        codon += max(together, 1)
    return {"sequence": said, "insertions": [f"{at}:{more}" for at, more in gained.items()], "offset": known[0]}


def in_frame(columns: Sequence[str], codon: int, together: int) -> bool:
    """Whether so many codons from one on have as many bases as whole codons have."""
    here = columns[3 * codon : 3 * (codon + together)]
    return (sum(len(column.replace("-", "")) for column in here) - len(here)) % 3 == 0


def shifted(columns: Sequence[str], codon: int, together: int) -> bool:
    """Whether more bases than are tolerated are read out of frame in a row before that."""
    shift = run = longest = 0
    for column in columns[3 * codon : 3 * (codon + together)]:
        read = len(column.replace("-", ""))
        run = 0 if shift == 0 else run + read
        longest = max(longest, run)
        shift = (shift + read - 1) % 3
    return longest > called.OUT_OF_FRAME


def translated(bases: str) -> str:
    """The amino acids of whole codons; one with an unknown base is not known."""
    codons = [bases[at : at + 3] for at in range(0, len(bases) - 2, 3)]
    return "".join("X" if "N" in codon else called.translate(codon) for codon in codons)
