"""Primer schemes: which one is clipped, what a bad file says, and where reads begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Organism
from readvault.reads import references
from readvault.reads.align import primers, scheme_choice, scheme_evidence
from readvault.reads.check import amplicons
from readvault.reads.sample import ChosenReference, Declared, PrimerSite, Sample, Segment
from tests.unit.reads.bam_maker import Read, make_bam

LENGTH = 2000
TILES = {"east": 0, "west": 37}
"""Two schemes of five amplicons of 400 bases; the second one lies 37 bases further."""


def _bed(shift: int) -> str:
    rows = []
    for number in range(1, 5):
        start = (number - 1) * 380 + shift
        rows.append(f"old.1\t{start}\t{start + 20}\tv_{number}_LEFT\t1\t+")
        rows.append(f"old.1\t{start + 380}\t{start + 400}\tv_{number}_RIGHT\t1\t-")
    return "\n".join(rows) + "\n"


@pytest.fixture
def organism(tmp_path: Path) -> Organism:
    (tmp_path / "reference.fasta").write_text(f">genome\n{'ACGTT' * (LENGTH // 5)}\n")
    schemes = {}
    for name, shift in TILES.items():
        schemes[name] = tmp_path / f"{name}.bed"
        schemes[name].write_text(_bed(shift))
    align = {"primerSchemes": schemes, "primers": "east"}
    reference = {"fasta": tmp_path / "reference.fasta"}
    return Organism.model_validate({"name": "virus", "reference": reference, "pipeline": {"align": align}})


def _reference(organism: Organism) -> ChosenReference:
    found = references.only(organism)
    assert found is not None
    return found


def _chosen(organism: Organism, directory: Path, said: str | None, **more: Any) -> scheme_choice.ChosenScheme:
    sample = Sample("S.1", organism, (), directory, declared=Declared(primer_scheme=said), **more)
    return scheme_choice.choose(sample, _reference(organism), directory)


@pytest.mark.parametrize(
    ("said", "name"), [(None, "east"), ("west", "west"), ("WE-st ", "west"), ("none", None), ("nowhere", None)]
)
def test_a_scheme_is_chosen_by_name(organism: Organism, tmp_path: Path, said: str | None, name: str | None) -> None:
    found = _chosen(organism, tmp_path, said)
    assert found.name == name
    assert (found.bed is None) == (name is None)
    unknown = ["The primer scheme 'nowhere' is unknown, so nothing was clipped. Known: east, west."]
    assert [w.message for w in found.warnings] == (unknown if said == "nowhere" else [])


def test_the_samples_own_scheme_goes_first(organism: Organism, tmp_path: Path) -> None:
    (tmp_path / "own.bed").write_text("genome\t5\t25\tmine_1_LEFT\n")
    found = _chosen(organism, tmp_path, "west", primers=tmp_path / "own.bed")
    assert (found.name, found.sites) == ("custom", (PrimerSite("genome", 5, 25, "mine_1_LEFT", "+"),))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("genome\t10\t30", "line 2 is no BED"),
        ("genome\tten\t30\tv_1_LEFT", "line 2 is no BED"),
        ("genome\t1990\t2001\tv_1_LEFT", "line 2 is off the reference, which has 2000 bases"),
        ("genome\t30\t30\tv_1_LEFT", "line 2 is off the reference"),
    ],
)
def test_a_bad_scheme_names_its_line(organism: Organism, tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "bad.bed").write_text(f"# a comment\n{line}\n")
    with pytest.raises(ProcessingFailure, match=f"bad.bed does not fit: {fault}"):
        primers.load_primers(tmp_path / "bad.bed", _reference(organism).segments)


def test_a_scheme_of_segments_must_name_them(tmp_path: Path) -> None:
    (tmp_path / "bad.bed").write_text("C\t10\t30\tv_1_LEFT\n")
    with pytest.raises(ProcessingFailure, match="line 1 names a sequence that the reference has not"):
        primers.load_primers(tmp_path / "bad.bed", (Segment("A", "ACGT" * 20), Segment("B", "ACGT" * 20)))


def _reads(shift: int, *, clipped: bool = False) -> list[Read]:
    """Thirty pairs of each amplicon, from primer to primer; clipped as `samtools ampliconclip` does."""
    found = []
    for number in range(4):
        left, right = number * 380 + shift, number * 380 + shift + 400
        start, forward, backward = (left + 20, "20S80M", "80M20S") if clipped else (left, "100M", "100M")
        for each in range(30):
            name = f"{number}.{each}"
            found.append(Read(name, start, forward, "A" * 100, flag=0x41))
            found.append(Read(name, right - 100, backward, "A" * 100, flag=0x91))
    return found


def _random(count: int = 240) -> list[Read]:
    places = [(7919 * i) % (LENGTH - 100) for i in range(count)]
    return [Read(str(i), place, "100M", "A" * 100, flag=16 * (i % 2)) for i, place in enumerate(places)]


def _doubts(organism: Organism, directory: Path, reads: list[Read], said: str | None) -> list[str]:
    bam = make_bam(directory, _reference(organism).segments, reads).bam
    chosen = _chosen(organism, directory, said)
    return [doubt.message for doubt in scheme_choice.doubts(bam, chosen, organism, _reference(organism))]


@pytest.mark.parametrize("clipped", [False, True])
def test_reads_of_the_schemes_amplicons_raise_no_doubt(organism: Organism, tmp_path: Path, clipped: bool) -> None:
    assert _doubts(organism, tmp_path, _reads(37, clipped=clipped), "west") == []


def test_a_scheme_that_was_not_given_is_recognized(organism: Organism, tmp_path: Path) -> None:
    (doubt,) = _doubts(organism, tmp_path, _reads(37), "none")
    assert doubt == "100% of the reads begin at primers of west, but no primer scheme was clipped: was it west?"


def test_a_wrong_scheme_is_recognized(organism: Organism, tmp_path: Path) -> None:
    (doubt,) = _doubts(organism, tmp_path, _reads(37), "east")
    assert doubt.startswith("Only 0% of the reads begin at primers of east, but 100% at primers of west")


def test_amplicons_of_nobody_are_recognized(organism: Organism, tmp_path: Path) -> None:
    (doubt,) = _doubts(organism, tmp_path, _reads(71), "east")
    assert "although they begin in piles" in doubt


@pytest.mark.parametrize("said", [None, "none"])
def test_reads_that_begin_anywhere_raise_no_doubt(organism: Organism, tmp_path: Path, said: str | None) -> None:
    assert _doubts(organism, tmp_path, _random(), said) == []


def test_few_reads_raise_no_doubt(organism: Organism, tmp_path: Path) -> None:
    assert _doubts(organism, tmp_path, _reads(37)[:99], "none") == []


def test_primers_that_were_removed_before_are_no_wrong_scheme(organism: Organism, tmp_path: Path) -> None:
    inner = [replace(read, start=read.start + 20, cigar="80M", sequence="A" * 80) for read in _reads(0)]
    inner = [replace(read, start=read.start - 20) if read.flag == 0x91 else read for read in inner]
    assert _doubts(organism, tmp_path, inner, "east") == []


def test_beginnings_are_the_five_prime_ends_of_primary_alignments(tmp_path: Path) -> None:
    segments = (Segment("A", "ACGT" * 50), Segment("B", "ACGT" * 50))
    reads = [
        Read("f", 10, "3H5S20M2D10M4S", "A" * 39),
        Read("r", 50, "5S20M1I10M7S", "A" * 43, flag=16, segment=1),
        Read("f", 90, "35M", "A" * 35, flag=0x800),
    ]
    found = scheme_evidence.beginnings(make_bam(tmp_path, segments, reads).bam)
    assert found.segment.tolist() == [0, 1]
    assert found.aligned.tolist() == [10, 80]
    assert found.clipped.tolist() == [5, 7]
    assert found.other.tolist() == [42, 50]


def test_amplicons_are_paired_by_artics_names() -> None:
    names = [
        "a_1_LEFT",
        "a_1_LEFT_alt4",
        "a_1_RIGHT",
        "b_2_LEFT_1",
        "b_2_LEFT_2",
        "b_2_RIGHT_1",
        "lonely_3_LEFT",
        "odd",
    ]
    starts = [100, 110, 400, 300, 305, 700, 900, 950]
    sites = tuple(PrimerSite("g", start, start + 20, name, "+") for name, start in zip(names, starts, strict=True))
    assert amplicons._between_primers(sites) == [("a_1", "g", 130, 400), ("b_2", "g", 325, 700)]
