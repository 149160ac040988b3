"""Real samples through all local steps: the figures that their README states, and the consensus of bwa and iVar."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy_judge import differences
from readvault.domain.errors import InvalidSubmission
from readvault.domain.organism import Organism
from readvault.domain.reports import ConsensusReport, HostDepletionReport, ValidationReport
from readvault.pipeline import LOCAL
from readvault.reads.dehumanize import host_index
from readvault.reads.local_result import LocalResult
from readvault.reads.local_run import LocalRun
from readvault.reads.references import load_segments
from readvault.reads.sample import InputFile, Sample

pytestmark = pytest.mark.slow
SC2, RSV = "refs/NC_045512.2.fasta", "refs/RSVB_MT107528.1.fasta"


@pytest.fixture
def dev(shared_data: Path) -> Path:
    return shared_data / "dev"


def processed(
    dev: Path,
    directory: Path,
    names: list[str],
    reference: str = SC2,
    *,
    index: Path | None = None,
    min_depth: int = 10,
) -> LocalResult:
    directory.mkdir(exist_ok=True)
    platforms = {name: {"minDepth": min_depth} for name in ("ILLUMINA", "OXFORD_NANOPORE")}
    content = {"name": "virus", "reference": {"fasta": dev / reference}, "pipeline": {"platforms": platforms}}
    inputs = tuple(InputFile(dev / name, Path(name).name) for name in names)
    sample = Sample("S.1", Organism.model_validate(content), inputs, directory, index, publish_unscreened=index is None)
    run = LocalRun(sample)
    for step in LOCAL:
        run.run(step)
    return run.result()


def called(result: LocalResult) -> ConsensusReport:
    found = result.reports["consensus"]
    assert isinstance(found, ConsensusReport)
    return found


@pytest.mark.parametrize(
    ("names", "reference", "mapped", "mean", "median", "breadth"),
    [
        (["rsvb_illumina/rsvb_R1.fastq.gz", "rsvb_illumina/rsvb_R2.fastq.gz"], RSV, 0.993, 47, 37, 0.959),
        (["sc2_ont_artic/barcode07.fastq.gz"], SC2, 0.999, 17, 11, 0.548),
        (["sc2_ont_artic/barcode09.fastq.gz"], SC2, 0.999, 15, 10, 0.504),
        (["sc2_wastewater_bam/wastewater_ivartrim.bam"], SC2, 1.000, 43, 23, 0.660),
    ],
)
def test_coverage_is_what_the_readme_states(
    dev: Path,
    tmp_path: Path,
    names: list[str],
    reference: str,
    mapped: float,
    mean: float,
    median: float,
    breadth: float,
) -> None:
    """The README counts both mates where they overlap, bases from Q10 and no deletions. Here a fragment counts once,
    from Q20 (Illumina), and so do the deletions that nanopores make up."""
    result = processed(dev, tmp_path, names, reference)
    found = called(result)
    assert (
        result.check.processed_metadata["mappedReads"] / result.check.processed_metadata["totalReads"] >= mapped - 0.003
    )
    paired = result.check.processed_metadata["platform"] == "ILLUMINA"
    assert (0.7 if paired else 0.93) * mean <= found.depth_of_coverage <= (1.03 if paired else 1.25) * mean
    assert (
        (0.7 if paired else 0.85) * median <= found.segments[0].median_depth <= (1.05 if paired else 1.25) * median + 1
    )
    assert found.breadth_of_coverage == pytest.approx(breadth, abs=0.065)


@pytest.mark.parametrize(
    ("folder", "name", "reference"), [("sc2_twist_wuhan", "sc2_twist_wuhan", SC2), ("rsvb_illumina", "rsvb", RSV)]
)
def test_the_consensus_is_that_of_bwa_and_ivar_outside_unknown_bases(
    dev: Path, tmp_path: Path, folder: str, name: str, reference: str
) -> None:
    result = processed(dev, tmp_path, [f"{folder}/{name}_R{mate}.fastq.gz" for mate in (1, 2)], reference)
    theirs = "".join((dev / folder / "bwa_ivar.consensus.fa").read_text().splitlines()[1:]).upper()
    ours = result.sequences["main"]
    unlike = [d for d in differences("main", ours, theirs) if set(d.truth) <= set("ACGT") and d.kind != "ambiguous"]
    if folder == "sc2_twist_wuhan":  # the control is the reference: iVar's deletion of 22 bases is an artefact
        assert differences("main", load_segments(dev / reference)[0].sequence, ours) == []
        assert [(d.kind, len(d.truth)) for d in unlike] == [("deletion", 22)]
    else:
        assert unlike == []


@pytest.mark.parametrize(
    ("names", "reads"),
    [
        (["tiny_R1.fastq.gz", "tiny_R2.fastq.gz"], 200),
        (["sars-cov-2_100_1.fastq.gz", "sars-cov-2_100_2.fastq.gz"], 100),
        (["tiny_aligned.bam"], 200),
        (["tiny_ubam_se.bam"], 100),
    ],
)  # fmt: skip
def test_tiny_files_of_every_kind_are_read(dev: Path, tmp_path: Path, names: list[str], reads: int) -> None:
    result = processed(dev, tmp_path, [f"sc2_tiny/{name}" for name in names], "sc2_tiny/MT192765.1.fasta")
    found = result.reports["validate"]
    assert isinstance(found, ValidationReport)
    assert 0.9 * reads <= found.reads <= reads


def test_reads_of_something_else_are_told_as_such(dev: Path, tmp_path: Path) -> None:
    result = processed(dev, tmp_path, ["sc2_tiny/tiny_ont.fastq.gz"], "sc2_tiny/MT192765.1.fasta")
    assert result.check.processed_metadata["qualityControlDetermination"] == "FAIL"
    assert any("right organism" in error.message for error in result.errors)


def test_the_spiked_human_pairs_go_and_no_other(dev: Path, tmp_path: Path) -> None:
    host_index.build(dev / "human/human_chr22_40kb.fasta.gz", tmp_path / "host.idx")
    names = [f"sc2_spiked_human/{path.name}" for path in sorted((dev / "sc2_spiked_human").glob("*.fastq.gz"))]
    result = processed(dev, tmp_path / "work", names, index=tmp_path / "host.idx")
    found = result.reports["dehumanize"]
    assert isinstance(found, HostDepletionReport)
    assert (found.reads_in, found.reads_removed) == (2 * 5492, 2 * 499)
    human = (dev / "sc2_spiked_human" / "truth_human_read_names.txt").read_text().split()
    assert len(human) == 499
    with gzip.open(dev / names[0], "rt") as file:
        lines = file.read().splitlines()
    kept = [
        lines[at + 1] for at in range(0, len(lines), 4) if lines[at][1:].split()[0].removesuffix("/1") not in set(human)
    ]
    [public] = [path for output, path in result.outputs if output.name == "dehumanized_R1.fastq.gz"]
    with gzip.open(public, "rt") as file:
        assert file.read().splitlines()[1::4] == kept


@pytest.mark.parametrize("piece", ["human_chr22_40kb", "human_chr22_12kb_q"])
def test_human_reads_alone_leave_nothing_to_publish(dev: Path, tmp_path: Path, piece: str) -> None:
    """Each set of human reads is caught by its own piece of chromosome 22."""
    host_index.build(dev / f"human/{piece}.fasta.gz", tmp_path / "host.idx")
    own = {"human_chr22_40kb": ["human_chr22_R1.fastq.gz", "human_chr22_R2.fastq.gz"],
           "human_chr22_12kb_q": ["NA12878_chr22_12kb_interleaved.fastq.gz"]}[piece]  # fmt: skip
    try:
        result = processed(dev, tmp_path / "work", [f"human/{name}" for name in own], index=tmp_path / "host.idx")
    except InvalidSubmission:
        return
    found = result.reports["dehumanize"]
    assert isinstance(found, HostDepletionReport)
    assert found.reads_removed >= 0.97 * found.reads_in
    assert np.isclose(found.human_fraction, found.reads_removed / found.reads_in)
