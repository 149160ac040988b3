"""One sample's local steps: what its file categories mean for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import Dehumanize, FileCategory, Organism, Pipeline, Reference, Submission
from readvault.domain.reads import FileFormat
from readvault.reads.dehumanize import host_index
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import InputFile, Sample
from tests.unit.reads.fastq_maker import bases, reads, record, records_of, reverse_complement, write


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


def test_only_pairs_that_lie_on_the_reference_are_published_when_the_organism_says_so(tmp_path: Path) -> None:
    """Human pairs leave first; of the others those of the virus stay, under the names that they have in the BAM."""
    host, virus, other = bases(3000, seed=1), bases(3000, seed=2), bases(3000, seed=3)
    index = host_index.build(write(tmp_path / "host.fasta", f">h\n{host}\n"), tmp_path / "host.idx").path
    starts = range(0, 2800, 40)
    sources = [(host, virus, other)[n % 3] for n, _ in enumerate(starts)]
    pairs = [
        (s[at : at + 100], reverse_complement(s[at + 60 : at + 160])) for s, at in zip(sources, starts, strict=True)
    ]
    names = [f"s_R{mate}.fastq" for mate in (1, 2)]
    for mate, name in enumerate(names):
        write(tmp_path / name, "".join(record(f"P{n}", pair[mate]) for n, pair in enumerate(pairs)))
    rules = Pipeline(dehumanize=Dehumanize(publish="mappedOnly"))
    reference = Reference(fasta=write(tmp_path / "virus.fasta", f">v\n{virus}\n"))
    organism = Organism(name="tiny", reference=reference, pipeline=rules)
    inputs = tuple(InputFile(tmp_path / name, name) for name in names)
    (tmp_path / "work").mkdir()
    run = LocalRun(Sample("LOC_000001Y.1", organism, inputs, tmp_path / "work", host_index=index))
    reports = [run.run(step) for step in ("validate", "dehumanize", "align")]
    left = [pair for source, pair in zip(sources, pairs, strict=True) if source is not host]
    viral = [(f"@{n}", pair) for n, pair in enumerate(left, 1) if pair[0] in virus]
    assert getattr(reports[-1], "published_reads", None) == 2 * len(viral) == 2 * 23
    for mate in (1, 2):
        found = records_of(tmp_path / "work" / "outputs" / f"dehumanized_R{mate}.fastq.gz")
        assert [(r[0], r[1]) for r in found] == [(name, pair[mate - 1]) for name, pair in viral]
