"""What provenance says must be enough to make the same result again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from readvault.domain.organism import Organism, Pipeline, PlatformThresholds, Reference, SampleType
from readvault.domain.reads import Platform
from readvault.reads.check import provenance
from readvault.reads.sample import Declared, Sample


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
