"""Genes of a reference, read from GFF3: where each coding sequence lies on its segment.

Positions here are 0-based. Source of the format: Sequence Ontology's GFF3 1.26.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads import references
from readvault.reads.sample import Segment

_STEP = "reference"
_COLUMNS = 9


@dataclass(frozen=True, slots=True)
class Gene:
    """One coding sequence.

    `places` are the 0-based positions on the segment in the order in which the ribosome reads them, whole
    codons: descending on the minus strand, with a base twice where the ribosome slips back.
    """

    name: str
    segment: str
    reverse: bool
    places: NDArray[np.int64]

    @property
    def codons(self) -> int:
        """How many codons the gene has, the stop among them."""
        return len(self.places) // 3


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    segment: str
    start: int
    end: int
    reverse: bool
    phase: int
    attributes: dict[str, str]


def load_genes(files: Iterable[Path], segments: tuple[Segment, ...]) -> tuple[Gene, ...]:
    """Read the coding sequences of all files that lie on the segments, in the files' order.

    A gene is all CDS rows of one ID (a file without CDS rows has its gene rows taken). Its name is the attribute
    `gene`, else `Name`, else `ID`; what several share is passed over. Rows about other sequences are left out. Raises
    ProcessingFailure when a file can't be read, is no GFF3, has rows but none on these segments, or a row lies outside
    its segment: annotations are the maintainer's, never the submitter's fault.
    """
    lengths = {segment.name: len(segment.sequence) for segment in segments}
    genes: list[Gene] = []
    for file in files:
        everything = _rows(file)
        rows = [row for row in everything if row.segment in lengths]
        if everything and not rows:
            raise ProcessingFailure(_STEP, f"the GFF3 is about {everything[0].segment}, which the reference has not")
        if any(row.end > lengths[row.segment] for row in rows):
            raise ProcessingFailure(_STEP, "the GFF3 has a row that lies outside of its segment")
        wanted = "CDS" if any(row.kind == "CDS" for row in rows) else "gene"
        genes += _genes([row for row in rows if row.kind == wanted])
    if len({gene.name for gene in genes}) < len(genes):
        raise ProcessingFailure(_STEP, "the GFF3 names two genes alike")
    return tuple(genes)


def _rows(file: Path) -> list[_Row]:
    lines = references.text_of(file, "the GFF3").splitlines()
    rows = []
    for line in lines:
        if line.startswith(("##FASTA", ">")):
            break
        if line.strip() and not line.startswith("#"):
            rows.append(_row(line.rstrip("\r").split("\t")))
    return rows


def _row(columns: list[str]) -> _Row:
    try:
        segment, _, kind, start, end, _, strand, phase, attributes = columns
        pairs = (pair.split("=", 1) for pair in attributes.split(";") if pair.strip())
        row = _Row(
            kind=kind,
            segment=unquote(segment),
            start=int(start) - 1,
            end=int(end),
            reverse=strand == "-",
            phase=int(phase) if phase != "." else 0,
            attributes={unquote(key.strip()): unquote(value.strip()) for key, value in pairs},
        )
    except ValueError as fault:
        raise ProcessingFailure(_STEP, f"the GFF3 has a row that is not {_COLUMNS} proper columns") from fault
    if not 0 <= row.start < row.end or not 0 <= row.phase <= 2:
        raise ProcessingFailure(_STEP, "the GFF3 has a row with impossible coordinates")
    return row


def _genes(rows: list[_Row]) -> list[Gene]:
    parts: dict[tuple[str, str], list[_Row]] = {}
    for number, row in enumerate(rows):
        same = row.attributes.get("ID") or row.attributes.get("Parent") or row.attributes.get("Name") or str(number)
        parts.setdefault((row.segment, same), []).append(row)
    names = _names([together[0] for together in parts.values()])
    return [_gene(name, together) for name, together in zip(names, parts.values(), strict=True)]


def _names(firsts: list[_Row]) -> list[str]:
    """The most readable name of each that no other one has."""
    candidates = [
        [name for key in ("gene", "Name", "ID", "locus_tag") if (name := row.attributes.get(key))] for row in firsts
    ]
    everywhere = [name for names in candidates for name in set(names)]
    return [
        next((name for name in names if everywhere.count(name) == 1), f"CDS{number}")
        for number, names in enumerate(candidates, start=1)
    ]


def _gene(name: str, rows: list[_Row]) -> Gene:
    reverse = rows[0].reverse
    if any(row.reverse != reverse for row in rows):
        raise ProcessingFailure(_STEP, f"the GFF3 has gene {name} on both strands")
    ordered = sorted(rows, key=lambda row: (row.start, row.end), reverse=reverse)
    pieces = [
        np.arange(row.end - 1, row.start - 1, -1) if reverse else np.arange(row.start, row.end) for row in ordered
    ]
    places = np.concatenate(pieces)[ordered[0].phase :]
    places = places[: len(places) // 3 * 3]
    if not len(places):
        raise ProcessingFailure(_STEP, f"the GFF3 has gene {name} without a whole codon")
    return Gene(name, rows[0].segment, reverse, places.astype(np.int64))
