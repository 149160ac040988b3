"""A finished sequence in the reference's coordinates: what a submitted consensus says per position."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads import tools
from readvault.reads.sample import Segment

_STEP = "check"
_UNSET = ord("N")
_ON_BOTH = (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF)
_OPTIONS = ("-a", "-x", "asm20", "-t", "1", "--secondary=no")
"""Sequences may differ by a fifth."""

_LONGEST_END = 20
"""The last bases of a sequence are laid without gaps where the aligner gave them up for a difference."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Sequences on the reference, by segment.

    `aligned` has one character per reference position: a base, an IUPAC code, `-` for deleted, `N` for unknown or
    not aligned. `insertions` are `position:BASES`, after that 1-based position, in Loculus's shape. `segments` says
    on which segment each sequence lies, by the sequence's name, also of a second one there; `reversed` names those
    that lie on the other strand.
    """

    aligned: dict[str, str]
    insertions: dict[str, tuple[str, ...]]
    segments: dict[str, str]
    reversed: frozenset[str]


def project(sequences: Mapping[str, str], reference: Path, segments: tuple[Segment, ...]) -> Projection:
    """Align sequences, of any names, to the reference (minimap2, preset asm20).

    Each sequence goes to the segment that it fits best, the first one there stays. Segments that none fits are left
    out. Raises ProcessingFailure when minimap2 fails.
    """
    lengths = {segment.name: len(segment.sequence) for segment in segments}
    aligned: dict[str, str] = {}
    insertions: dict[str, tuple[str, ...]] = {}
    found: dict[str, str] = {}
    turned = set()
    for label, records in zip(sequences, _aligned(list(sequences.values()), reference), strict=True):
        primary = next((record for record in records if not record.is_supplementary), None)
        if primary is None:
            continue
        name = found[label] = str(primary.reference_name)
        if primary.is_reverse:
            turned.add(label)
        if name not in aligned:
            strand = [r for r in records if r.reference_name == name and r.is_reverse == primary.is_reverse]
            aligned[name], insertions[name] = _laid(strand, lengths[name])
    return Projection(aligned, insertions, found, frozenset(turned))


def _aligned(sequences: list[str], reference: Path) -> list[list[pysam.AlignedSegment]]:
    """The alignments of each sequence; none for what doesn't align."""
    found: list[list[pysam.AlignedSegment]] = [[] for _ in sequences]
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "sequences.fasta"
        fasta.write_text("".join(f">{i}\n{s.upper().replace('U', 'T')}\n" for i, s in enumerate(sequences)))
        try:
            with (
                tools.minimap2(_STEP, [*_OPTIONS, str(reference), str(fasta)]) as sam,
                pysam.AlignmentFile(sam, "r") as alignments,
            ):
                for record in alignments:
                    if not record.is_unmapped:
                        found[int(record.query_name)].append(record)
        except (OSError, ValueError) as fault:
            raise ProcessingFailure(_STEP, "the submitted consensus can't be aligned") from fault
    return found


def _laid(records: list[pysam.AlignedSegment], length: int) -> tuple[str, tuple[str, ...]]:
    """Lay the alignments of one sequence along its segment, in the sequence's order.

    Where one ends and the next begins in the sequence without a base between them, the reference between them is
    deleted: an aligner cuts at deletions of thousands of bases.
    """
    column = np.full(length, _UNSET, dtype=np.uint8)
    insertions: list[str] = []
    query_done, reference_done = 0, -1
    ordered = sorted(records, key=lambda r: (_hidden(r) + r.query_alignment_start, r.reference_start))
    for record in ordered:
        start = _hidden(record) + record.query_alignment_start
        if reference_done >= 0 and record.reference_start < reference_done:
            continue
        if reference_done >= 0 and start <= query_done:
            column[reference_done : record.reference_start] = ord("-")
        insertions += _place(record, column, skip=max(query_done - start, 0) if reference_done >= 0 else 0)
        query_done = start + record.query_alignment_length
        reference_done = record.reference_end
    _lay_ends(ordered[0], ordered[-1], column)
    return column.tobytes().decode("ascii"), tuple(insertions)


def _lay_ends(first: pysam.AlignedSegment, last: pysam.AlignedSegment, column: NDArray[np.uint8]) -> None:
    length, start = first.query_alignment_start, first.reference_start
    if 0 < length <= min(_LONGEST_END, start):
        column[start - length : start] = np.frombuffer(first.query_sequence[:length].encode("ascii"), dtype=np.uint8)
    length, end = last.query_length - last.query_alignment_end, last.reference_end
    if 0 < length <= min(_LONGEST_END, len(column) - end):
        column[end : end + length] = np.frombuffer(last.query_sequence[-length:].encode("ascii"), dtype=np.uint8)


def _hidden(record: pysam.AlignedSegment) -> int:
    """Bases of the sequence before those that the record shows."""
    code, length = record.cigartuples[0]
    return int(length) if code == pysam.CHARD_CLIP else 0


def _place(record: pysam.AlignedSegment, column: NDArray[np.uint8], *, skip: int) -> list[str]:
    """Write a record's bases into their columns, its first `skip` ones as deleted; what it inserts."""
    sequence = record.query_sequence
    bases = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8).copy()
    first = record.query_alignment_start
    bases[first : first + skip] = ord("-")
    insertions = []
    query, place = 0, record.reference_start
    for code, length in record.cigartuples:
        if code in _ON_BOTH:
            column[place : place + length] = bases[query : query + length]
        elif code == pysam.CDEL:
            column[place : place + length] = ord("-")
        elif code == pysam.CINS:
            insertions.append(f"{place}:{sequence[query : query + length]}")
        if code in (*_ON_BOTH, pysam.CDEL, pysam.CREF_SKIP):
            place += length
        if code in (*_ON_BOTH, pysam.CINS, pysam.CSOFT_CLIP):
            query += length
    return insertions
