"""The nearest of several references is chosen by reads or by sequences, and mixtures are noticed."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from readvault.config import load_organism
from readvault.domain.annotations import Reason
from readvault.domain.organism import Organism
from readvault.domain.reads import LibraryLayout, Platform
from readvault.local_job import LocalJob
from readvault.pipeline import run
from readvault.reads import references
from readvault.reads.align import reference_choice
from readvault.reads.align.reference_choice import Choice
from readvault.reads.sample import Declared, InputFile, ReadFiles, Sample

SHIPPED = Path(__file__).parents[2] / "deployments" / "organisms"


def _genome(seed: int, length: int = 1500) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=length))


def _changed(genome: str, seed: int, share: float = 0.12) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice("ACGT".replace(base, "")) if rng.random() < share else base for base in genome)


def _fastq(path: Path, *sources: tuple[str, int]) -> ReadFiles:
    """So many reads of 120 bases of each genome, in turns."""
    rng = random.Random(1)
    reads = [
        f"@{genome[:4]}{n}\n{genome[start : start + 120]}\n+\n{'F' * 120}\n"
        for genome, count in sources
        for n in range(count)
        for start in [rng.randrange(len(genome) - 120)]
    ]
    rng.shuffle(reads)
    path.write_text("".join(reads))
    return ReadFiles(Platform.ILLUMINA, LibraryLayout.SINGLE, (path,))


def _chosen(organism: Organism, reads: ReadFiles, directory: Path, *, threads: int = 1) -> Choice:
    return reference_choice.by_reads(
        organism, reads, templates=10**6, preset="sr", directory=directory, threads=threads
    )


def _organism(directory: Path, **candidates: dict[str, str]) -> Organism:
    """Each candidate's records by name."""
    listed = []
    for name, records in candidates.items():
        fasta = directory / f"{name}.fasta"
        fasta.write_text("".join(f">{segment}\n{bases}\n" for segment, bases in records.items()))
        genes = directory / f"{name}.gff3"
        genes.write_text(
            "##gff-version 3\n" + "".join(f"{s}\tx\tCDS\t1\t9\t.\t+\t0\tgene={name}{s}\n" for s in records)
        )
        listed.append({"name": name, "fasta": fasta, "genes": genes})
    return Organism.model_validate({"name": "virus", "references": listed})


@pytest.fixture(autouse=True)
def every_read_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests say that there are a million templates and have few."""
    monkeypatch.setattr(reference_choice, "TEMPLATES", 10**6)


@pytest.fixture
def subtypes() -> Organism:
    return load_organism(SHIPPED / "subtypes-example.yaml")


def _sequences(organism: Organism) -> list[str]:
    return [references.load_segments(candidate.fasta)[0].sequence for candidate in organism.candidates]


@pytest.mark.parametrize("subtype", [0, 1])
def test_the_subtype_of_the_reads_is_chosen(subtypes: Organism, tmp_path: Path, subtype: int) -> None:
    genome = _changed(_sequences(subtypes)[subtype], seed=2, share=0.02)
    found = _chosen(subtypes, _fastq(tmp_path / "r.fastq", (genome, 300)), tmp_path, threads=subtype + 1)
    (segment,) = found.segments
    assert (segment.segment, segment.name, segment.share) == ("main", ("subtype-A", "subtype-B")[subtype], 1.0)
    assert found.warnings == ()
    assert found.reference.names == {segment.contig: segment.name}
    assert references.load_segments(found.reference.fasta) == found.reference.segments
    assert references.spoken(found.reference) == segment.name


@pytest.mark.parametrize(("minor", "warned"), [(150, True), (40, True), (20, False), (0, False)])
def test_a_mixture_warns(subtypes: Organism, tmp_path: Path, minor: int, warned: bool) -> None:
    a, b = _sequences(subtypes)
    found = _chosen(subtypes, _fastq(tmp_path / "r.fastq", (a, minor), (b, 300 - minor)), tmp_path)
    assert [warning.reason for warning in found.warnings] == [Reason.MIXED_REFERENCES] * warned
    if minor < 150:
        assert found.segments[0].name == "subtype-B"
    if minor == 40:
        assert "13% of the reads that clearly prefer one reference prefer subtype-A" in found.warnings[0].message


def test_segments_choose_each_for_itself(tmp_path: Path) -> None:
    ha, na, ns = _genome(1), _genome(2), _genome(3)
    h1n1 = {"HA": ha, "NA": na, "NS": ns}
    h3n2 = {"HA": _changed(ha, 4), "NA": _changed(na, 5), "NS": _changed(ns, 6)}
    influenza_c = {"HE": _genome(7), "NS": _genome(8)}
    organism = _organism(tmp_path, H1N1=h1n1, H3N2=h3n2, C=influenza_c)
    reads = _fastq(tmp_path / "r.fastq", (h1n1["HA"], 100), (h3n2["NA"], 200))
    found = _chosen(organism, reads, tmp_path)
    assert found.reference.names == {"HA": "H1N1", "NA": "H3N2", "NS": "H3N2"}, "HE belongs to a virus without reads"
    assert [segment.share for segment in found.segments] == [1.0, 1.0, None]
    assert references.spoken(found.reference) == "HA:H1N1,NA:H3N2,NS:H3N2"
    lines = [line.split("\t")[0] for path in found.reference.genes for line in path.read_text().splitlines()[1:]]
    assert lines == ["HA", "NA", "NS"]


def test_reads_of_nothing_choose_the_first(tmp_path: Path) -> None:
    organism = _organism(tmp_path, A={"a": _genome(1)}, B={"b": _genome(2)})
    found = _chosen(organism, _fastq(tmp_path / "r.fastq", (_genome(3), 50)), tmp_path)
    assert (found.reference.names, found.warnings) == ({"a": "A"}, ())


def test_a_sequence_without_reads_chooses_too(subtypes: Organism, tmp_path: Path) -> None:
    sequence = _changed(_sequences(subtypes)[1], seed=3, share=0.03)
    found = reference_choice.by_sequences(subtypes, {"any": sequence, "bad": ">x\n"}, directory=tmp_path)
    assert found.reference.names == {"subtypeB": "subtype-B"}


def _processed(organism: Organism, files: list[Path], directory: Path, **more: Any) -> dict[str, Any]:
    for name in ("work", "out"):
        (directory / name).mkdir()
    inputs = tuple(InputFile(path, path.name) for path in files)
    run(LocalJob(Sample("S.1", organism, inputs, directory / "work", **more), directory / "out"))
    result: dict[str, Any] = json.loads((directory / "out" / "result.json").read_text())
    return result


@pytest.mark.slow
def test_rsv_b_is_found_to_be_rsv_b(shared_data: Path, tmp_path: Path) -> None:
    dev = shared_data / "dev"
    candidates = [("RSV-A", "RSVA_EPI_ISL_412866"), ("RSV-B", "RSVB_MT107528.1")]
    listed = [{"name": name, "fasta": dev / "refs" / f"{file}.fasta"} for name, file in candidates]
    organism = Organism.model_validate({"name": "rsv", "references": listed})
    reads = sorted((dev / "rsvb_illumina").glob("*.fastq.gz"))
    result = _processed(organism, reads, tmp_path)
    assert result["metadata"]["reference"] == "RSV-B"
    assert result["metrics"]["align"]["mapped_fraction"] == pytest.approx(0.993, abs=0.002)
    assert result["metrics"]["align"]["references"][0]["name"] == "RSV-B"
    assert set(result["provenance"]["candidateReferences"]) == {"RSV-A", "RSV-B"}
    assert {warning["reason"] for warning in result["warnings"]}.isdisjoint({"mixedReferences"})
    (tmp_path / "alone").mkdir()
    consensus = next(iter(result["sequences"].values()))
    alone = _processed(organism, [], tmp_path / "alone", submitted={"mine": consensus})
    assert alone["metadata"]["reference"] == "RSV-B"
    assert (alone["errors"], list(alone["sequences"])) == ([], ["main"])


@pytest.mark.slow
def test_the_scheme_of_a_control_is_recognized(shared_data: Path, tmp_path: Path) -> None:
    """Twist's control was amplified with ARTIC V3."""
    dev = shared_data / "dev"
    schemes = {"artic-v3": dev / "refs" / "artic_v3.scheme.bed", "artic-v4.1": dev / "refs" / "artic_v4.1.primer.bed"}
    organism = Organism.model_validate(
        {
            "name": "virus",
            "reference": {"fasta": dev / "refs" / "NC_045512.2.fasta"},
            "pipeline": {"align": {"primerSchemes": schemes}},
        }
    )
    reads = []
    for mate in (1, 2):
        reads.append(tmp_path / f"few_R{mate}.fastq")
        with gzip.open(dev / "sc2_twist_wuhan" / f"sc2_twist_wuhan_R{mate}.fastq.gz", "rt") as stream:
            reads[-1].write_text("".join(line for number, line in enumerate(stream) if number // 4 % 8 == 0))
    told = {}
    for name in (None, "ARTIC V3", "artic-v4.1"):
        (tmp_path / str(name)).mkdir()
        result = _processed(organism, reads, tmp_path / str(name), declared=Declared(primer_scheme=name))
        told[name] = [w["message"] for w in result["warnings"] if w["reason"] == Reason.PRIMER_SCHEME]
        digest = result["provenance"]["primersSha256"]
        assert (digest is None) == (name is None)
        assert "refs" not in json.dumps(result["provenance"]), "a path of this machine"
        tiles = result["metrics"]["check"]["amplicons"]
        assert len(tiles) == {None: 0, "ARTIC V3": 98, "artic-v4.1": 99}[name]
    assert told["ARTIC V3"] == []
    assert "was it artic-v3?" in told[None][0]
    assert "93% at primers of artic-v3: a wrong scheme?" in told["artic-v4.1"][0]


@pytest.mark.slow
def test_wastewater_gives_no_sequence_and_its_mixture_is_no_fault(shared_data: Path, tmp_path: Path) -> None:
    dev = shared_data / "dev"
    shipped = load_organism(SHIPPED / "sars-cov-2-wastewater.yaml")
    align = shipped.pipeline.align.model_copy(update={"primer_schemes": {"v4.1": dev / "refs/artic_v4.1.primer.bed"}})
    pipeline = shipped.pipeline.model_copy(update={"align": align})
    organism = shipped.model_copy(update={"pipeline": pipeline})
    bam = dev / "sc2_wastewater_bam" / "wastewater_ivartrim.bam"
    result = _processed(organism, [bam], tmp_path, declared=Declared(primer_scheme="v4.1"))
    assert (result["errors"], result["sequences"], result["consensusSource"]) == ([], {}, None)
    assert {file["category"] for file in result["files"]} == {"variants", "alleleCounts", "coverage", "report"}
    assert {"mixedSites", "ambiguousBases", "lowBreadth"}.isdisjoint(w["reason"] for w in result["warnings"])
    tiles = result["metrics"]["check"]["amplicons"]
    assert len(tiles) == 99
    assert 0 < result["metadata"]["droppedAmplicons"] < 50
