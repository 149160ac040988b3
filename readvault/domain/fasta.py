"""Consensus sequences as people submit them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from readvault.domain.annotations import Annotation, Field, FieldType, Reason

NUCLEOTIDES = "ACGTUNRYKMSWBDHV"
_NOT_A_NUCLEOTIDE = re.compile(f"[^{NUCLEOTIDES}{NUCLEOTIDES.lower()}]")


def parse(text: str) -> tuple[dict[str, str], list[Annotation]]:
    """The sequences of a FASTA file by ID, and everything that is wrong with it.

    The ID is the first word after `>`. Sequences hold IUPAC nucleotides, no gaps, in the case they
    came in. Records and lines in annotations count from 1.
    """
    sequences: dict[str, str] = {}
    faults: list[Annotation] = []
    for record, (line, name, parts) in enumerate(_records(text.splitlines()), start=1):
        sequence = "".join(parts)
        if name is None:
            faults.append(_fault("Sequence file: there is text before the first '>'.", "", record, line))
        elif not name:
            faults.append(
                _fault(f"Sequence file: record #{record} (line {line}) has no ID after '>'.", "", record, line)
            )
        elif name in sequences:
            text_ = f"Sequence file contains at least one duplicate submissionId: '{name}' again in line {line}."
            faults.append(_fault(text_, name, record, line))
        elif not sequence:
            faults.append(_fault(f"Sequence file: '{name}' (line {line}) has no sequence.", name, record, line))
        elif wrong := _NOT_A_NUCLEOTIDE.search(sequence):
            faults.append(
                _fault(
                    f"Sequence file: '{name}' (line {line}) has {wrong[0]!r} at position {wrong.start() + 1};"
                    f" only the nucleotides {NUCLEOTIDES} are allowed.",
                    name, record, line,
                )
            )  # fmt: skip
        if name:
            sequences.setdefault(name, sequence)
    return sequences, faults


def faults_of(sequences: Mapping[str, str]) -> list[Annotation]:
    """What is wrong with sequences that came by ID and not as a file."""
    faults: list[Annotation] = []
    for name, sequence in sequences.items():
        if name.split() != [name]:
            faults.append(_fault(f"'{name}' is no ID of a sequence: it is empty or has whitespace.", name))
        elif wrong := _NOT_A_NUCLEOTIDE.search(sequence):
            text = f"Sequence '{name}' has {wrong[0]!r} at position {wrong.start() + 1}; only the nucleotides"
            faults.append(_fault(f"{text} {NUCLEOTIDES} are allowed.", name))
    return faults


def _records(lines: Iterable[str]) -> Iterator[tuple[int, str | None, list[str]]]:
    """Line of the header, ID (None before the first header) and the sequence lines of each record."""
    start, name, parts = 1, None, list[str]()
    for number, line in enumerate(lines, start=1):
        if line.startswith(">"):
            if name is not None or parts:
                yield start, name, parts
            start, name, parts = number, next(iter(line[1:].split()), ""), []
        elif stripped := line.strip():
            parts.append(stripped)
    if name is not None or parts:
        yield start, name, parts


def _fault(message: str, name: str, record: int | None = None, line: int | None = None) -> Annotation:
    fields = (Field(FieldType.NUCLEOTIDE_SEQUENCE, name),) if name else ()
    return Annotation(Reason.INVALID_CONSENSUS, message, fields, record=record, line=line)
