"""A submitted consensus in the reference's coordinates, with its proteins."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from readvault.reads.check import on_reference
from readvault.reads.check.projection import Projection, project
from readvault.reads.sample import ChosenReference, Segment

_RANDOM = random.Random(3)
REFERENCE = "".join(_RANDOM.choices("ACGT", k=6000))
OTHER = "".join(_RANDOM.choices("ACGT", k=1200))
SEGMENTS = (Segment("one", REFERENCE), Segment("two", OTHER))


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "reference.fasta"
    path.write_text(f">one\n{REFERENCE}\n>two\n{OTHER}\n")
    return path


def projected(fasta: Path, *sequences: str) -> Projection:
    return project({f"s{number}": sequence for number, sequence in enumerate(sequences)}, fasta, SEGMENTS)


def test_indels_and_unknown_bases_stand_where_the_reference_has_them(fasta: Path) -> None:
    changed = f"{REFERENCE[:500]}{REFERENCE[506:1000]}GATTACA{REFERENCE[1000:2000]}{'N' * 80}{REFERENCE[2080:]}"
    found = projected(fasta, changed)
    aligned = found.aligned["one"]
    assert len(aligned) == len(REFERENCE)
    assert (aligned.count("-"), aligned.count("N")) == (6, 80)
    assert aligned[:490] == REFERENCE[:490]
    assert aligned[2080:] == REFERENCE[2080:]
    (insertion,) = found.insertions["one"]
    place, bases = insertion.split(":")
    rebuilt = aligned[: int(place)] + bases + aligned[int(place) :]
    assert rebuilt.replace("-", "") == changed


def test_ends_that_are_missing_are_unknown_and_ends_that_differ_are_kept(fasta: Path) -> None:
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    begins = "".join(other[base] for base in REFERENCE[:3])
    aligned = projected(fasta, begins + REFERENCE[3:5000]).aligned["one"]
    assert aligned == begins + REFERENCE[3:5000] + "N" * 1000


def test_a_deletion_at_which_the_aligner_cuts_is_a_deletion(fasta: Path) -> None:
    aligned = projected(fasta, REFERENCE[:1000] + REFERENCE[5000:]).aligned["one"]
    assert aligned.count("-") == 4000
    assert aligned.replace("-", "") == REFERENCE[:1000] + REFERENCE[5000:]


def test_every_sequence_goes_to_its_segment_whatever_its_name(fasta: Path) -> None:
    found = projected(fasta, OTHER, REFERENCE, OTHER[:600])
    assert found.aligned == {"one": REFERENCE, "two": OTHER}


def test_what_does_not_fit_is_left_out(fasta: Path) -> None:
    assert projected(fasta, "ACGT" * 100) == Projection({}, {}, {}, frozenset())


def test_proteins_of_a_submitted_consensus_are_told_too(fasta: Path, tmp_path: Path) -> None:
    genes = tmp_path / "genes.gff3"
    genes.write_text("one\t.\tCDS\t301\t900\t.\t+\t0\tID=a;gene=P\n")
    chosen = ChosenReference(fasta, SEGMENTS, genes=(genes,))
    found = on_reference.of_submitted({"x": REFERENCE[:400] + REFERENCE[401:]}, chosen)
    (protein,) = found.genes
    assert (protein.name, len(protein.amino_acids), len(protein.frameshifts)) == ("P", 200, 1)
