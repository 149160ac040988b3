"""Entries that were sent together: swapped sequences are named, files sent twice are noticed."""

from __future__ import annotations

import random

import pytest

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import jobs, likeness, neighbours
from tests.integration.services.scenes import claimed, entry, group

AT = 1_700_000_000.0
DISAGREES = Annotation(Reason.CONSENSUS_DISAGREES, "These are not the reads of this sequence.")
_random = random.Random(11)
GENOME = "".join(_random.choices("ACGT", k=5000))


def _strain(number: int, *, differences: int = 12) -> str:
    """A sequence that differs from the genome at places of its own."""
    bases = list(GENOME)
    for place in random.Random(number).sample(range(len(bases)), differences):
        bases[place] = "ACGT"["ACGT".index(bases[place]) - 1]
    return "".join(bases)


def _sent_together(house: House, group_id: int, *sequences: str, at: float = AT) -> list[tuple[AccessionVersion, str]]:
    return [
        entry(house, group_id, submitted_at=at, submitted_sequences={"s": sequence} if sequence else {})
        for sequence in sequences
    ]


def _named(house: House, job: str, called: str, *errors: Annotation) -> str:
    found = neighbours.with_swap_named(house, claimed(house, job), {"main": called}, errors or (DISAGREES,))
    return " ".join(error.message for error in found)


def test_the_entry_whose_sequence_the_reads_fit_is_named(house: House) -> None:
    mine = group(house, "alice")
    (first, job), (second, _), _ = _sent_together(house, mine, _strain(1), _strain(2), _strain(3))
    with_gaps = _strain(2)[:1000] + "N" * 300 + _strain(2)[1300:]
    told = _named(house, job, with_gaps)
    assert told.startswith("These are not the reads of this sequence.")
    assert f"the sequence of {second} (sample-{second})" in told
    assert str(first) not in told


def test_nothing_is_named_that_fits_little_better(house: House) -> None:
    """Reads of a sample that was not sent at all differ from every entry alike."""
    mine = group(house, "alice")
    (_, job), *_ = _sent_together(house, mine, _strain(1), _strain(2), "")
    assert _named(house, job, _strain(9)) == DISAGREES.message


def test_neither_foreign_entries_nor_those_of_another_day_are_named(house: House) -> None:
    mine, foreign = group(house, "alice"), group(house, "bob")
    ((_, job),) = _sent_together(house, mine, _strain(1))
    _sent_together(house, foreign, _strain(2))
    _sent_together(house, mine, _strain(2), at=AT + 1)
    assert _named(house, job, _strain(2)) == DISAGREES.message


def test_other_errors_ask_nobody(house: House) -> None:
    mine = group(house, "alice")
    (_, job), _ = _sent_together(house, mine, _strain(1), _strain(2))
    other = Annotation(Reason.LOW_DEPTH, "thin")
    assert _named(house, job, _strain(2), other) == "thin"


def _warned(house: House, job: str) -> list[str]:
    claim = claimed(house, job)
    inputs = jobs.inputs_of(house, claim)
    hashes = {file.file_id: (file.label, file.declared_sha256 or "") for file in inputs.files}
    found = neighbours.same_files(house, claim, hashes)
    assert {warning.reason for warning in found} <= {Reason.FILE_IN_OTHER_ENTRY}
    return [f"{warning.file}: {warning.message}" for warning in found]


def test_the_same_file_in_two_entries_is_noticed_in_the_later_one(house: House) -> None:
    mine = group(house, "alice")
    first, first_job = entry(house, mine, files=(b"one", b"two"))
    _, second_job = entry(house, mine, files=(b"three", b"two"))
    assert _warned(house, first_job) == []
    assert _warned(house, second_job) == [f"reads_1.fastq: The entry {first.accession} has the same file."]


def test_the_same_file_of_another_group_or_of_an_earlier_version_is_nobodys_business(house: House) -> None:
    mine, foreign = group(house, "alice"), group(house, "bob")
    entry(house, foreign, files=(b"two",))
    first, _ = entry(house, mine, files=(b"four",))
    _, job = entry(house, mine, files=(b"two",))
    assert _warned(house, job) == []
    _, revision = entry(house, mine, files=(b"four",), accession=first.accession, version=2)
    assert _warned(house, revision) == []


@pytest.mark.parametrize(("sequence", "expected"), [(GENOME, 0.0), (GENOME.lower(), 0.0), ("ACGT", 1.0)])
def test_likeness_is_the_share_of_words(sequence: str, expected: float) -> None:
    assert likeness.missing(likeness.words([GENOME]), [sequence]) == pytest.approx(expected, abs=1e-9)


def test_one_difference_costs_as_many_words_as_cover_it() -> None:
    assert likeness.missing(likeness.words([GENOME]), [_strain(5, differences=1)]) == pytest.approx(21 / 4980)
    assert len(likeness.words(["ACGTN" * 20])) == 0
