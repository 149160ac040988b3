"""What a consensus means for the proteins: amino acids, insertions, frameshifts, stops.

A gene is read along its reference codons. Between indels whose lengths add up to whole codons the
reading frame is the reference's; a stretch around such indels is translated as a whole and its
gaps are put where most amino acids stay the reference's. What is read out of frame for more than
two codons is a frameshift: nothing is said of its amino acids (`X`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product

import numpy as np

from readvault.reads.call.calls import GeneCall, Variant
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.sample import Segment

OUT_OF_FRAME = 6
"""Bases read out of frame that are still no frameshift: aligners split an indel of whole codons in two."""

_COMPLEMENT = str.maketrans("ACGTRYKMSWBDHVN-", "TGCAYRMKSWVHDBN-")
_BASES = "TCAG"
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # NCBI's translation table 1
_CODE = {"".join(codon): amino for codon, amino in zip(product(_BASES, repeat=3), _AMINO_ACIDS, strict=True)}
_MEANINGS = {
    **{base: base for base in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}


def call_genes(
    genes: Iterable[Gene],
    segments: tuple[Segment, ...],
    aligned: Mapping[str, str],
    insertions: Mapping[str, Iterable[str]],
) -> tuple[GeneCall, ...]:
    """Translate every gene of a consensus.

    `aligned` has by segment one character per reference position (`-` deleted, `N` unknown), `insertions` have
    `position:BASES`, after that 1-based position. Genes on segments that are not given are left out.
    """
    references = {segment.name: segment.sequence for segment in segments}
    return tuple(
        _call(gene, references[gene.segment], aligned[gene.segment], _by_place(insertions.get(gene.segment, ())))
        for gene in genes
        if gene.segment in aligned
    )


def change(gene: Gene, reference: str, variant: Variant) -> str | None:
    """The amino acid change that a substitution makes by itself, as `S:D614G`; None outside the gene or for an indel.

    `reference` is the sequence of the variant's segment.
    """
    if variant.segment != gene.segment or len(variant.reference) != 1 or len(variant.alternative) != 1:
        return None
    at = np.flatnonzero(gene.places == variant.position - 1)
    if not len(at):
        return None
    codon = int(at[0]) // 3
    places = gene.places[3 * codon : 3 * codon + 3].tolist()
    before = "".join(reference[place] for place in places)
    after = "".join(variant.alternative if place == variant.position - 1 else reference[place] for place in places)
    if gene.reverse:
        before, after = before.translate(_COMPLEMENT), after.translate(_COMPLEMENT)
    return f"{gene.name}:{_amino_acid(before)}{codon + 1}{_amino_acid(after)}"


def protein(gene: Gene, reference: str) -> str:
    """The amino acids of a gene in the reference; `reference` is the sequence of its segment."""
    return translate(_coding(gene, reference))


def translate(sequence: str) -> str:
    """The amino acids of whole codons: `*` a stop, `X` a codon whose bases allow several."""
    return "".join(_amino_acid(sequence[at : at + 3]) for at in range(0, len(sequence) - 2, 3))


def _call(gene: Gene, reference: str, aligned: str, inserted: Mapping[int, str]) -> GeneCall:
    expected = protein(gene, reference)
    amino_acids: list[str] = []
    insertions: list[str] = []
    frameshifts: list[str] = []
    for first, last, bases, out_of_frame in _stretches(list(_columns(gene, aligned, inserted))):
        here = expected[first:last]
        if out_of_frame > OUT_OF_FRAME or len(bases) % 3:
            frameshifts.append(f"{gene.name}:{expected[first]}{first + 1}fs")
            amino_acids.append("X" * len(here))
            continue
        found, extra = _fitted(translate(bases), here)
        amino_acids.append(found)
        insertions += [f"{first + place}:{added}" for place, added in extra]
    sequence = "".join(amino_acids)
    return GeneCall(
        name=gene.name,
        segment=gene.segment,
        amino_acids=sequence,
        insertions=tuple(insertions),
        frameshifts=tuple(frameshifts),
        stops=tuple(
            f"{gene.name}:{wanted}{number}*"
            for number, (wanted, found) in enumerate(zip(expected, sequence, strict=True), start=1)
            if found == "*" != wanted
        ),
    )


def _by_place(insertions: Iterable[str]) -> dict[int, str]:
    """Inserted bases by the 0-based place of the base before them."""
    found = (insertion.split(":") for insertion in insertions)
    return {int(position) - 1: bases for position, bases in found}


def _coding(gene: Gene, sequence: str) -> str:
    bases = "".join(sequence[place] for place in gene.places.tolist())
    return bases.translate(_COMPLEMENT) if gene.reverse else bases


def _columns(gene: Gene, aligned: str, inserted: Mapping[int, str]) -> Iterator[str]:
    """For each coding position the consensus' base or `-`, with what is inserted before the next one."""
    places = gene.places.tolist()
    step = -1 if gene.reverse else 1
    for index, place in enumerate(places):
        bases = aligned[place]
        if index + 1 < len(places) and places[index + 1] == place + step:  # else the exon ends here
            extra = inserted.get(place - 1 if gene.reverse else place, "")
            bases += extra[::-1] if gene.reverse else extra
        yield bases.translate(_COMPLEMENT) if gene.reverse else bases


def _stretches(columns: list[str]) -> Iterator[tuple[int, int, str, int]]:
    """Cut a gene into as short stretches of codons as begin and end in frame.

    Each is its first codon, the codon after its last one, its bases, and the longest run of them read out of frame.
    """
    whole = "".join(columns)
    if len(whole) == len(columns) and "-" not in whole:
        yield 0, len(columns) // 3, whole, 0
        return
    first, bases, shift, run, longest = 0, "", 0, 0, 0
    for index, column in enumerate(columns):
        read = column.replace("-", "")
        run = 0 if shift == 0 else run + len(read)
        longest = max(longest, run)
        bases += read
        shift = (shift + len(read) - 1) % 3
        if index % 3 == 2 and (shift == 0 or index == len(columns) - 1):
            yield first, index // 3 + 1, bases, longest
            first, bases, run, longest = index // 3 + 1, "", 0, 0


def _fitted(found: str, expected: str) -> tuple[str, list[tuple[int, str]]]:
    """Lay amino acids along the expected ones, with one gap or one insertion where most of them then agree.

    Insertions are (how many amino acids of the stretch stand before it, what is inserted).
    """
    missing = len(expected) - len(found)
    if missing == 0:
        return found, []
    common = min(len(found), len(expected))

    def agreeing(left: int) -> int:
        right = common - left
        tail = zip(found[len(found) - right :], expected[len(expected) - right :], strict=True) if right else ()
        return sum(a == b for a, b in (*zip(found[:left], expected[:left], strict=True), *tail))

    left = max(range(common + 1), key=lambda at: (agreeing(at), at))
    if missing > 0:
        return found[:left] + "-" * missing + found[left:], []
    return found[:left] + found[left - missing :], [(left, found[left : left - missing])]


@lru_cache(maxsize=4096)
def _amino_acid(codon: str) -> str:
    meanings = {_CODE["".join(bases)] for bases in product(*(_MEANINGS.get(base, "ACGT") for base in codon))}
    return meanings.pop() if len(meanings) == 1 else "X"
