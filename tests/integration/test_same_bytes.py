"""The same input and configuration give the same bytes: with 1 and 2 threads, and again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pysam
import pytest

from readvault.domain.organism import Organism
from readvault.domain.reads import Platform
from readvault.pipeline import LOCAL
from readvault.reads.dehumanize import host_index
from readvault.reads.local_run import LocalRun
from readvault.reads.references import load_segments
from readvault.reads.sample import InputFile, Sample
from readvault.reads.simulate import simulation
from readvault.reads.simulate.simulated_amplicons import tile, write_scheme

pytestmark = pytest.mark.slow
VARIANTS = {"substitutions": 10, "insertions": 2, "deletions": 2, "shares": (1.0, 0.2)}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References of one and of eight segments, a host and its index, a primer scheme."""
    folder = tmp_path_factory.mktemp("house")
    simulation.synthetic_reference(folder / "one.fasta", segments=1)
    simulation.synthetic_reference(folder / "eight.fasta", segments=8)
    simulation.synthetic_host(folder / "host.fasta", length=20_000, seed=1)
    host_index.build(folder / "host.fasta", folder / "host.idx")
    write_scheme(folder / "scheme.bed", tile(load_segments(folder / "one.fasta")))
    return folder


def outputs(
    house: Path, directory: Path, reference: str, inputs: list[Path], threads: int, primers: Path | None = None
) -> dict[str, object]:
    """Every byte that is given out, and the provenance."""
    directory.mkdir()
    organism = Organism.model_validate({"name": "virus", "reference": {"fasta": house / f"{reference}.fasta"}})
    files = tuple(InputFile(path, path.name) for path in inputs)
    sample = Sample("S.1", organism, files, directory, house / "host.idx", primers=primers, threads=threads)
    run = LocalRun(sample)
    for step in LOCAL:
        run.run(step)
    result = run.result()
    assert {path.name for _, path in result.outputs} >= {
        "alignment.bam", "alignment.bam.bai", "allele_counts.tsv.gz", "consensus.fasta", "coverage.tsv.gz",
        "metrics_mqc.json", "reads.silo.ndjson.zst", "report.html", "variants.vcf.gz", "variants.vcf.gz.tbi",
    }  # fmt: skip
    assert any(output.category == "dehumanizedReads" for output, _ in result.outputs)
    return {path.name: path.read_bytes() for _, path in result.outputs} | {"provenance": result.provenance}


def same(
    house: Path, tmp_path: Path, reference: str, inputs: list[Path], primers: Path | None = None
) -> dict[str, object]:
    """One run with 1 thread and two with 2: all that differs is a fault."""
    first, *others = (
        outputs(house, tmp_path / f"run{number}", reference, inputs, threads, primers)
        for number, threads in enumerate((1, 2, 2))
    )
    for other in others:
        assert first.keys() == other.keys()
        assert [name for name in first if first[name] != other[name]] == []
    return first


def pairs(house: Path, tmp_path: Path, reference: str, **more: object) -> list[Path]:
    made = simulation.simulate(
        house / f"{reference}.fasta", tmp_path / "reads", seed=2, host=house / "host.fasta", host_pairs=100,
        **{"pairs": 3000, "length": 120, **VARIANTS, **more},
    )  # type: ignore[arg-type]  # fmt: skip
    return [path for path in (made.r1, made.r2) if path is not None]


def test_pairs_of_amplicons(house: Path, tmp_path: Path) -> None:
    tiles = tile(load_segments(house / "one.fasta"))
    reads = pairs(house, tmp_path, "one", amplicons=tiles, length=220)
    found = same(house, tmp_path, "one", reads, house / "scheme.bed")
    provenance = found["provenance"]
    assert isinstance(provenance, dict)
    for name in ("referenceSha256", "hostIndexSha256", "primersSha256"):
        assert len(provenance[name]) == 64, name
    assert provenance["tools"].keys() >= {"readvault", "minimap2", "samtools", "htslib", "deacon"}
    assert provenance["parameters"]["consensus"] == {"minFrequency": 0.5}


def test_pairs_of_eight_segments_in_two_lanes(house: Path, tmp_path: Path) -> None:
    """The reads of one sample by lane; both lanes' reads have names of their own."""
    lanes = []
    for mate, path in enumerate(pairs(house, tmp_path, "eight", pairs=5000), start=1):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        for lane, part in enumerate((lines[:8000], lines[8000:]), start=1):
            lanes.append(tmp_path / f"virus_S1_L00{lane}_R{mate}_001.fastq.gz")
            lanes[-1].write_bytes(gzip.compress(b"".join(part), mtime=0))
    same(house, tmp_path, "eight", lanes)


def test_nanopore_reads(house: Path, tmp_path: Path) -> None:
    reads = pairs(house, tmp_path, "one", platform=Platform.OXFORD_NANOPORE, pairs=400, length=700)
    same(house, tmp_path, "one", reads)


def test_a_bam(house: Path, tmp_path: Path) -> None:
    """An aligned submission: the alignment of an earlier run."""
    first = outputs(house, tmp_path / "before", "one", pairs(house, tmp_path, "one"), 2)
    bam = tmp_path / "aligned.bam"
    content = first["alignment.bam"]
    assert isinstance(content, bytes)
    bam.write_bytes(content)
    with pysam.AlignmentFile(str(bam)) as records:
        assert records.header["HD"]["SO"] == "coordinate"
    same(house, tmp_path, "one", [bam])
