"""Where on a genome the genes lie of which only the protein is known."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from readvault.organisms.loculus.genomes import Sequence

_BASES = "TCAG"
_CODONS = [first + second + third for first in _BASES for second in _BASES for third in _BASES]
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
"""Of all codons in the order T, C, A, G: the standard genetic code (NCBI's table 1)."""
_CODE = dict(zip(_CODONS, _AMINO_ACIDS, strict=True))
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
SHORTEST = 10
"""Amino acids; fewer may lie anywhere by chance."""


@dataclass(frozen=True, slots=True)
class Place:
    """A coding sequence, 1-based and closed as GFF3 has it, the stop codon included where there is one."""

    gene: str
    segment: str
    start: int
    end: int
    strand: str


def place_of(protein: Sequence, segments: list[Sequence]) -> Place | None:
    """Where the only reading frame lies that says this protein; None when there is none, or more than one.

    Genes that are spliced or read with a slip are in no frame as a whole. The first codon may be any
    start codon, which the ribosome reads as M.
    """
    wanted = protein.letters.rstrip("*")
    if len(wanted) < SHORTEST:
        return None
    found = [place for segment in segments for place in _places(protein.name, wanted, segment)]
    return found[0] if len(found) == 1 else None


def gff3(places: list[Place], segments: list[Sequence]) -> str:
    """The coding sequences as GFF3."""
    lines = ["##gff-version 3"]
    lines += [f"##sequence-region {each.name} 1 {len(each.letters)}" for each in segments]
    lines += [
        f"{_quoted(p.segment)}\treadvault\tCDS\t{p.start}\t{p.end}\t.\t{p.strand}\t0\tID=cds-{_quoted(p.gene)};gene={_quoted(p.gene)}"
        for p in places
    ]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    return quote(name, safe=" !$()*+-./:<>?@[]^_`{|}~'")


def _places(gene: str, wanted: str, segment: Sequence) -> list[Place]:
    bases = segment.letters.replace("U", "T")
    length = len(bases)
    found = []
    for strand, text in (("+", bases), ("-", bases.translate(_COMPLEMENT)[::-1])):
        for frame in range(3):
            said = "".join(_CODE.get(text[at : at + 3], "X") for at in range(frame, length - 2, 3))
            at = said.find(wanted[1:])
            while at >= 0:
                first = at - 1
                if first >= 0 and (said[first] == wanted[0] or wanted[0] == "M"):
                    last = at + len(wanted) - 1
                    stop = said[last : last + 1] == "*"
                    start, end = frame + 3 * first, frame + 3 * (last + stop)
                    if strand == "-":
                        start, end = length - end, length - start
                    found.append(Place(gene, segment.name, start + 1, end, strand))
                at = said.find(wanted[1:], at + 1)
    return found
