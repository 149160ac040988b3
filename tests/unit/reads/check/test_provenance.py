"""What provenance says must be enough to make the same result again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from readvault.domain.organism import Organism, Pipeline, PlatformThresholds, Reference, SampleType
from readvault.domain.reads import Platform
from readvault.domain.reports import HostDepletionReport
from readvault.reads.check import provenance
from readvault.reads.sample import Declared, InputFile, Sample


def test_thresholds_that_the_organism_leaves_to_readvault_are_told_too(tmp_path: Path) -> None:
    own = Pipeline(platforms={Platform.OXFORD_NANOPORE: PlatformThresholds(min_depth=33)})
    organism = Organism(name="tiny", reference=Reference(fasta=tmp_path / "none.fasta"), pipeline=own)
    sample = Sample("LOC_000001Y.1", organism, (), tmp_path)
    parameters = provenance.describe(sample, None, ())["parameters"]
    assert parameters["platforms"]["ILLUMINA"]["minDepth"] == 10
    assert parameters["platforms"]["OXFORD_NANOPORE"]["minDepth"] == 33
    assert parameters["platforms"]["OXFORD_NANOPORE"]["homopolymerIndels"] == "ignore"


def test_the_type_of_sample_is_told_whoever_said_it(tmp_path: Path) -> None:
    organism = Organism(name="tiny", reference=Reference(fasta=tmp_path / "none.fasta"))
    sample = Sample("LOC_000001Y.1", organism, (), tmp_path)
    sewage = replace(sample, declared=Declared(sample_type=SampleType.WASTEWATER))
    told = [provenance.describe(each, None, ())["parameters"]["sampleType"] for each in (sample, sewage)]
    assert told == ["clinical", "wastewater"]


def test_the_screen_is_told_in_exact_counts(tmp_path: Path) -> None:
    reads = tmp_path / "reads.fastq"
    reads.write_text("@r\nACGT\n+\nIIII\n")
    organism = Organism(name="tiny", reference=Reference(fasta=tmp_path / "none.fasta"))
    sample = Sample("LOC_000001Y.1", organism, (InputFile(reads, "a"), InputFile(reads, "b")), tmp_path)
    found = HostDepletionReport(
        screened=True,
        index_sha256="x",
        reads_in=10**9,
        reads_kept=10**9 - 3,
        reads_removed=1,
        bases_removed=150,
        reads_too_short=2,
        human_fraction=1e-9,
    )
    assert provenance.screen(sample, found) == {
        "files": 2,
        "formats": ["FASTQ"],
        "reads": 10**9,
        "kept": 10**9 - 3,
        "human": 1,
        "tooShort": 2,
    }
    assert provenance.screen(sample, replace(found, screened=False)) is None
    assert provenance.screen(sample, None) is None
