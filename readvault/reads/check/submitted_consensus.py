"""A consensus that was submitted: is it well formed, and do the reads say the same?"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dnaio
import numpy as np
import pysam
from numpy.typing import NDArray

from readvault.domain.annotations import Annotation, Field, FieldType, Reason, first_listed
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.reports import ConsensusAgreement
from readvault.reads import tools
from readvault.reads.call.calls import Calls, SegmentCall
from readvault.reads.sample import Segment

IUPAC = "ACGTURYSWKMBDHVN"
MIN_DEPTH = 20
"""From this depth on the reads have a say in whether a submitted consensus is theirs."""

INDEL_TOLERANCE = 20
"""Two aligners may place the same indel of a repeat some bases apart."""

MANY_UNKNOWN = 0.5
_STEP = "check"
_NOT_ALIGNED = ord(" ")
_Gap = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a submitted consensus compares with the reads, where they are deep enough.

    `compared` are reference positions, `disagreements` are differing bases and whole indels, `no_evidence` are bases of
    the sequence about which the reads say nothing; `first` names the first few, 1-based on the reference.
    """

    compared: int
    disagreements: int
    first: tuple[str, ...]
    no_evidence: int = 0

    @property
    def counts(self) -> ConsensusAgreement:
        """The figures without the places."""
        return ConsensusAgreement(max(self.compared - self.disagreements, 0), self.disagreements, self.no_evidence)

    @property
    def fraction(self) -> float:
        """Disagreements per compared position."""
        return self.disagreements / self.compared if self.compared else 0.0


def read(fasta: Path, label: str) -> dict[str, str]:
    """The sequences of a submitted FASTA (plain or gzip) by their names, in upper case, U read as T.

    Raises InvalidSubmission when the file is no FASTA, holds nothing, or names a sequence twice or
    not at all.
    """
    found: dict[str, str] = {}
    wrong: list[Annotation] = []
    try:
        with dnaio.open(str(fasta), fileformat="fasta") as records:
            for number, record in enumerate(records, start=1):
                name = (record.name.split(maxsplit=1) or [""])[0]
                if not name or name in found:
                    message = f"The name {name} is given twice." if name else "The sequence has no name."
                    wrong.append(Annotation(Reason.INVALID_CONSENSUS, message, file=label, record=number))
                found[name] = record.sequence.upper().replace("U", "T")
    except (dnaio.FileFormatError, UnicodeError, EOFError, zlib.error, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise
        message = "The consensus is no FASTA: text with a line '>name' before each sequence."
        raise InvalidSubmission([Annotation(Reason.INVALID_CONSENSUS, message, file=label)]) from fault
    if not found:
        wrong.append(Annotation(Reason.INVALID_CONSENSUS, "The file holds no sequence.", file=label))
    if wrong:
        raise InvalidSubmission(first_listed(wrong))
    return found


def faults(submitted: dict[str, str], segments: tuple[Segment, ...]) -> tuple[list[Annotation], list[Annotation]]:
    """Errors and warnings about the sequences themselves: alphabet, length, number, unknown bases."""
    errors, warnings = [], []
    lengths = {segment.name: len(segment.sequence) for segment in segments}
    if len(submitted) > len(segments):
        message = f"{len(submitted)} sequences were submitted, but the reference has {len(segments)} segments."
        errors.append(Annotation(Reason.INVALID_CONSENSUS, message))
    for number, (name, sequence) in enumerate(submitted.items(), start=1):
        where = (Field(FieldType.NUCLEOTIDE_SEQUENCE, "main" if len(segments) == 1 else name),)
        upper = sequence.upper()
        strange = next((place for place, base in enumerate(upper, start=1) if base not in IUPAC), None)
        if not upper:
            errors.append(Annotation(Reason.INVALID_CONSENSUS, "The sequence is empty.", where, record=number))
        elif strange is not None:
            message = f"Character {upper[strange - 1]!r} at position {strange} is no IUPAC code of a base."
            errors.append(Annotation(Reason.INVALID_CONSENSUS, message, where, record=number))
        elif (unknown := upper.count("N") / len(upper)) == 1:
            errors.append(Annotation(Reason.INVALID_CONSENSUS, "The sequence holds only N.", where, record=number))
        elif unknown > MANY_UNKNOWN:
            message = f"{unknown:.0%} of the sequence is N."
            warnings.append(Annotation(Reason.AMBIGUOUS_BASES, message, where, record=number))
        elif 2 * len(upper) < (expected := lengths.get(name, min(lengths.values()))):
            message = f"The sequence has {len(upper)} bases, less than half of the reference's {expected}."
            warnings.append(Annotation(Reason.LOW_BREADTH, message, where, record=number))
    return errors, warnings


def compare(submitted: dict[str, str], calls: Calls, reference: Path) -> Agreement:
    """Compare submitted sequences with what was called from the reads.

    Both are looked at on the reference (minimap2, preset asm20). A position counts where the reads are
    at least 20 deep and both name one base. Sequences that don't align are compared with nothing.
    Raises ProcessingFailure when minimap2 fails.
    """
    columns, insertions = _align(submitted, calls, reference)
    compared, silent, found = 0, 0, []
    for call in calls.segments:
        theirs = columns[call.segment]
        ours = np.frombuffer(call.aligned.encode(), dtype=np.uint8)
        deep = call.depth >= MIN_DEPTH
        both = deep & np.isin(theirs, list(b"ACGT")) & np.isin(ours, list(b"ACGT"))
        compared += int(both.sum())
        silent += int((np.isin(theirs, list(b"ACGT")) & ~both).sum())
        for place in np.flatnonzero(both & (theirs != ours)).tolist():
            found.append((call.segment, place, f"{chr(theirs[place])}, the reads say {chr(ours[place])}"))
        found += [(call.segment, *gap) for gap in _indel_disagreements(call, theirs, insertions[call.segment], deep)]
    first = tuple(f"{segment}:{place + 1} {text}" for segment, place, text in found[:5])
    return Agreement(compared, len(found), first, silent)


def nothing_in_common(agreement: Agreement, calls: Calls) -> list[Annotation]:
    """An error where nothing could be compared although the reads are deep: the sequence lies elsewhere, or nowhere."""
    deep = any((call.depth >= MIN_DEPTH).any() for call in calls.segments)
    if agreement.compared or not deep:
        return []
    message = "These are not the reads of this sequence: it resembles no part of the reference on which the reads lie."
    return [Annotation(Reason.CONSENSUS_DISAGREES, message, (Field(FieldType.NUCLEOTIDE_SEQUENCE, "main"),))]


def _align(
    submitted: dict[str, str], calls: Calls, reference: Path
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, list[_Gap]]]:
    """The submitted bases in reference coordinates, and the insertions as (place before, length)."""
    columns = {c.segment: np.full(len(c.aligned), _NOT_ALIGNED, dtype=np.uint8) for c in calls.segments}
    insertions: dict[str, list[_Gap]] = {c.segment: [] for c in calls.segments}
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "submitted.fasta"
        fasta.write_text("".join(f">{i}\n{s.upper().replace('U', 'T')}\n" for i, s in enumerate(submitted.values())))
        arguments = ["-a", "-x", "asm20", "-t", "1", "--secondary=no", str(reference), str(fasta)]
        try:
            with tools.minimap2(_STEP, arguments) as sam, pysam.AlignmentFile(sam, "r") as alignments:
                for record in alignments:
                    if not record.is_unmapped:
                        _place(record, columns[record.reference_name], insertions[record.reference_name])
        except (OSError, ValueError) as fault:
            raise ProcessingFailure(_STEP, "the submitted consensus can't be aligned") from fault
    return columns, insertions


def _place(record: pysam.AlignedSegment, column: NDArray[np.uint8], insertions: list[_Gap]) -> None:
    bases = np.frombuffer(record.query_sequence.encode(), dtype=np.uint8)
    query, place = 0, record.reference_start
    for code, length in record.cigartuples:
        if code in (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF):
            column[place : place + length] = bases[query : query + length]
        elif code == pysam.CDEL:
            column[place : place + length] = ord("-")
        elif code == pysam.CINS:
            insertions.append((place - 1, length))
        if code in (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF, pysam.CDEL, pysam.CREF_SKIP):
            place += length
        if code in (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF, pysam.CINS, pysam.CSOFT_CLIP):
            query += length


def _indel_disagreements(
    call: SegmentCall, theirs: NDArray[np.uint8], inserted: list[_Gap], deep: NDArray[np.bool_]
) -> Iterator[tuple[int, str]]:
    ours = np.frombuffer(call.aligned.encode(), dtype=np.uint8)
    called = [(int(place) - 1, len(bases)) for place, bases in (i.split(":") for i in call.insertions)]
    kinds = (("deletion", _gaps(theirs), _gaps(ours)), ("insertion", inserted, called))
    for kind, in_theirs, in_ours in kinds:
        for place, length in _missing(in_theirs, in_ours):
            if _known(deep, ours, place, length):
                yield place, f"{kind} of {length}, the reads have none"
        for place, length in _missing(in_ours, in_theirs):
            if _known(deep, theirs, place, length):
                yield place, f"no {kind}, the reads have one of {length}"


def _gaps(aligned: NDArray[np.uint8]) -> list[_Gap]:
    edges = np.flatnonzero(np.diff((aligned == ord("-")).astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return [(start, end - start) for start, end in edges.tolist()]


def _missing(these: list[_Gap], those: list[_Gap]) -> list[_Gap]:
    return [
        (place, length)
        for place, length in these
        if not any(length == other and abs(place - at) <= INDEL_TOLERANCE for at, other in those)
    ]


def _known(deep: NDArray[np.bool_], aligned: NDArray[np.uint8], place: int, length: int) -> bool:
    """Whether the reads are deep enough around an indel, and the other sequence names bases there."""
    around = slice(max(place - 1, 0), place + length + 1)
    return bool(deep[around].all() and np.isin(aligned[around], list(b"ACGT-")).all())
