"""Without the pinned host index nothing of an organism is processed; others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.config import Settings
from readvault.domain.organism import Organism
from readvault.host_index_readiness import organism_readiness
from readvault.reads.dehumanize import host_index


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, host_index_dir=tmp_path)


REFERENCE = Path(__file__).parents[2] / "deployments" / "references" / "NC_045512.2.fasta"


def _organism(name: str, **dehumanize: str) -> Organism:
    return Organism.model_validate(
        {"name": name, "reference": {"fasta": REFERENCE}, "pipeline": {"dehumanize": dehumanize}}
    )


def test_each_organism_is_judged_by_its_own_index(settings: Settings, tmp_path: Path) -> None:
    fasta, index = tmp_path / "host.fasta", tmp_path / "host.idx"
    fasta.write_text(">host\n" + "ACGTTGCAAGGCTTAACCGT" * 10 + "\n")
    digest = host_index.build(fasta, index).sha256
    other = ("0" if digest[0] != "0" else "1") + digest[1:]
    organisms = [
        _organism("right", index="host", sha256=digest),
        _organism("flipped", index="host", sha256=other),
        _organism("absent", index="elsewhere", sha256=digest),
        _organism("unpinned"),
        _organism("off", off="reads of a cell culture, never of a person"),
    ]
    reasons = organism_readiness(settings, {organism.name: organism for organism in organisms})
    assert reasons["right"] is None
    assert reasons["off"] is None
    assert digest in str(reasons["flipped"])
    assert other in str(reasons["flipped"])
    assert "elsewhere.idx" in str(reasons["absent"])
    assert "no host index is configured" in str(reasons["unpinned"])


def test_an_index_without_a_digest_is_no_configuration() -> None:
    with pytest.raises(ValueError, match="pinned by its digest"):
        _organism("loose", index="host")


def test_an_organism_whose_files_do_not_fit_together_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "far.bed").write_text("MN908947.3\t40000\t40020\tfar_1_LEFT\n")
    (tmp_path / "broken.fasta").write_text(">a\nACGT\n>a\nACGT\n")
    base = {"pipeline": {"dehumanize": {"off": "reads of a cell culture, never of a person"}}}
    primers = {"pipeline": {**base["pipeline"], "align": {"primerSchemes": {"far": tmp_path / "far.bed"}}}}
    contents = {
        "primers": {**primers, "reference": {"fasta": REFERENCE}},
        "twice": {**base, "reference": {"fasta": tmp_path / "broken.fasta"}},
        "absent": {**base, "reference": {"fasta": tmp_path / "nowhere.fasta"}},
    }
    organisms = {name: Organism.model_validate({"name": name, **content}) for name, content in contents.items()}
    reasons = organism_readiness(settings, organisms)
    assert "far.bed does not fit: line 1 is off the reference" in str(reasons["primers"])
    assert "a segment name twice" in str(reasons["twice"])
    assert reasons["absent"] == "nowhere.fasta can't be read"
    (tmp_path / "far.bed").write_text("MN908947.3\t400\t420\tfar_1_LEFT\n# mended\n")
    assert organism_readiness(settings, organisms)["primers"] is None


def test_an_organism_of_an_external_pipeline_needs_no_index(tmp_path: Path) -> None:
    from readvault.domain.organism import Pipeline
    from readvault.host_index_readiness import EXTERNAL
    from tests.houses import organism

    instead, after = (
        organism(tmp_path, mode, pipeline=Pipeline.model_validate({"external": {"mode": mode}}))
        for mode in ("instead", "after")
    )
    found = organism_readiness(Settings(data_dir=tmp_path), {"instead": instead, "after": after})
    assert found["instead"] == EXTERNAL
    assert "no host index is configured" in str(found["after"])
