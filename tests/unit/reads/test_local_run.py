"""One sample's local steps: what its file categories mean for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import FileCategory, Organism, Reference, Submission
from readvault.domain.reads import FileFormat
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import InputFile, Sample
from tests.unit.reads.fastq_maker import reads, write


def _run(directory: Path, files: dict[str, str]) -> LocalRun:
    """A sample with one file (category by name) of an organism whose two categories take one FASTQ file each."""
    (directory / "work").mkdir()
    write(directory / "reference.fasta", ">main\nACGT\n")
    category = FileCategory(formats=(FileFormat.FASTQ,), max_files=1)
    organism = Organism(
        name="tiny",
        reference=Reference(fasta=directory / "reference.fasta"),
        submission=Submission(files={"amplicons": category, "rawReads": category}),
    )
    inputs = tuple(
        InputFile(write(directory / name, reads(5, seed=number)), name, which)
        for number, (name, which) in enumerate(files.items())
    )
    return LocalRun(Sample("LOC_000001Y.1", organism, inputs, directory / "work"))


def test_each_category_brings_its_own_number_of_files(tmp_path: Path) -> None:
    mates = {"s_R1.fastq": "amplicons", "s_R2.fastq": "rawReads"}
    assert _run(tmp_path, mates).run("validate")


def test_more_files_than_the_categories_take_are_refused(tmp_path: Path) -> None:
    mates = {"s_R1.fastq": "rawReads", "s_R2.fastq": "rawReads"}
    with pytest.raises(InvalidSubmission, match="at most 1"):
        _run(tmp_path, mates).run("validate")
