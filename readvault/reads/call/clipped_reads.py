"""Reads whose alignment ends where their sequence doesn't: what they say behind the end.

An insertion that is long for its reads, or a deletion of hundreds of bases, is in no CIGAR: reads
are soft-clipped on both sides of it, at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure

SHORTEST_CLIP, LONGEST_CLIP = 15, 600
"""Bases of a clipped end that are looked at."""

MAX_RECORDS = 5000
"""Records that are looked at around one place: enough for a vote at any depth."""

CLEAR = 0.75
"""The share of clipped reads that must say the same base."""

FLANK = 10
"""A read spans a junction when it is aligned for so many bases on either side."""

_SKIPPED = pysam.FUNMAP | pysam.FSECONDARY | pysam.FQCFAIL | pysam.FDUP
_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_MIN_VOTES = 3


@dataclass(frozen=True, slots=True)
class Clips:
    """Reads clipped at one place of a segment: their fragments, reverse or not, and what they agree on.

    `bases` are those that follow an alignment's end, or go before its start, as far as the reads agree. `read_length`
    is the reads' mean.
    """

    fragments: dict[str, bool]
    bases: str
    read_length: float


class ClippedReads:
    """Looks at reads around places of an indexed BAM. Raises ProcessingFailure when it can't be read."""

    def __init__(self, bam: Path, min_base_quality: int) -> None:
        self._bam = bam
        self._minimum = min_base_quality

    def after(self, segment: str, place: int) -> Clips:
        """What follows alignments that end at `place` (0-based, their last position)."""
        fragments: dict[str, bool] = {}
        found, lengths = [], []
        for record in self._records(segment, place, place + 1):
            code, length = record.cigartuples[-1]
            if code == pysam.CSOFT_CLIP and length >= SHORTEST_CLIP and record.reference_end - 1 == place:
                fragments.setdefault(str(record.query_name), bool(record.is_reverse))
                found.append(self._said(record)[-length:][:LONGEST_CLIP])
                lengths.append(record.query_length)
        return Clips(fragments, _agreed(found), sum(lengths) / max(len(lengths), 1))

    def before(self, segment: str, place: int) -> Clips:
        """What goes before alignments that start at `place` (0-based)."""
        fragments: dict[str, bool] = {}
        found, lengths = [], []
        for record in self._records(segment, place, place + 1):
            code, length = record.cigartuples[0]
            if code == pysam.CSOFT_CLIP and length >= SHORTEST_CLIP and record.reference_start == place:
                fragments.setdefault(str(record.query_name), bool(record.is_reverse))
                found.append(self._said(record)[:length][::-1][:LONGEST_CLIP])
                lengths.append(record.query_length)
        return Clips(fragments, _agreed(found)[::-1], sum(lengths) / max(len(lengths), 1))

    def spanning(self, segment: str, first: int, last: int) -> set[str]:
        """Fragments with a read aligned from before `first` to behind `last`, without a long indel."""
        found = set()
        for record in self._records(segment, first, last + 1):
            aligned = record.reference_start <= first - FLANK + 1 and record.reference_end >= last + FLANK
            indels = (length for code, length in record.cigartuples if code in (pysam.CINS, pysam.CDEL))
            if aligned and all(length < SHORTEST_CLIP for length in indels):
                found.add(str(record.query_name))
        return found

    def _records(self, segment: str, start: int, end: int) -> list[pysam.AlignedSegment]:
        records = []
        try:
            with pysam.AlignmentFile(str(self._bam), "rb") as file:
                for record in file.fetch(segment, max(start, 0), end):
                    if not record.flag & _SKIPPED and record.query_sequence:
                        records.append(record)
                    if len(records) == MAX_RECORDS:
                        break
        except (OSError, ValueError) as fault:
            raise ProcessingFailure("consensus", "the BAM can't be read") from fault
        return records

    def _said(self, record: pysam.AlignedSegment) -> NDArray[np.uint8]:
        """A read's bases; 0 where their quality is too low."""
        bases = np.frombuffer(record.query_sequence.encode("ascii"), dtype=np.uint8).copy()
        if record.query_qualities is not None:
            bases[np.frombuffer(record.query_qualities, dtype=np.uint8) < self._minimum] = 0
        return bases


def _agreed(stretches: list[NDArray[np.uint8]]) -> str:
    """The bases that most of the stretches say, from their common start as far as they clearly agree."""
    if not stretches:
        return ""
    table = np.zeros((len(stretches), max(len(stretch) for stretch in stretches)), dtype=np.uint8)
    for row, stretch in zip(table, stretches, strict=True):
        row[: len(stretch)] = stretch
    votes = np.stack([(table == base).sum(axis=0) for base in _BASES])
    total, best = votes.sum(axis=0), votes.max(axis=0)
    unclear = np.flatnonzero((best < CLEAR * total) | (total < _MIN_VOTES))
    end = int(unclear[0]) if len(unclear) else table.shape[1]
    return _BASES[votes.argmax(axis=0)[:end]].tobytes().decode("ascii")
