"""Real samples against their truth: what is called from them is what is known of them."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
import pytest

from readvault.domain.organism import DEFAULT_THRESHOLDS, Consensus, PlatformThresholds
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import AlignmentReport, ConsensusReport
from readvault.reads import references
from readvault.reads.align import alignment
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls, Variant
from readvault.reads.sample import Alignment, ReadFiles

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Found:
    alignment: AlignmentReport
    consensus: ConsensusReport
    calls: Calls
    reference: str

    @property
    def aligned(self) -> str:
        return self.calls.segments[0].aligned

    def variant(self, position: int, alternative: str) -> Variant:
        return next(v for v in self.calls.variants if v.position == position and v.alternative == alternative)


def found(
    reads: ReadFiles,
    reference: Path,
    directory: Path,
    *,
    primers: Path | None = None,
    thresholds: PlatformThresholds | None = None,
) -> Found:
    segments = references.load_segments(reference)
    aligned, report = alignment.align(
        reads, reference, preset="auto", primers=primers, sample_name="S.1", directory=directory, threads=2
    )
    calls, called = consensus.call(
        aligned,
        segments,
        thresholds=thresholds or DEFAULT_THRESHOLDS[reads.platform],
        rules=Consensus(),
        sample_name="S.1",
        directory=directory,
    )
    return Found(report, called, calls, segments[0].sequence)


def paired(folder: Path, name: str) -> ReadFiles:
    one, two = folder / f"{name}_R1.fastq.gz", folder / f"{name}_R2.fastq.gz"
    return ReadFiles(Platform.ILLUMINA, LibraryLayout.PAIRED, (one,), (two,))


def nanopore(path: Path) -> ReadFiles:
    return ReadFiles(Platform.OXFORD_NANOPORE, LibraryLayout.SINGLE, (path,))


@pytest.fixture
def dev(shared_data: Path) -> Path:
    return shared_data / "dev"


@pytest.mark.parametrize("scheme", [None, "artic_v3.scheme.bed"])
def test_a_sequenced_control_gives_its_own_sequence(dev: Path, tmp_path: Path, scheme: str | None) -> None:
    """Twist's synthetic RNA of Wuhan-Hu-1 differs from NC_045512.2 nowhere outside N."""
    primers = dev / "refs" / scheme if scheme else None
    sample = found(
        paired(dev / "sc2_twist_wuhan", "sc2_twist_wuhan"),
        dev / "refs" / "NC_045512.2.fasta",
        tmp_path,
        primers=primers,
    )
    assert sample.alignment.mapped_fraction > 0.999
    differences = [
        i
        for i, (ours, theirs) in enumerate(zip(sample.aligned, sample.reference, strict=True))
        if ours not in (theirs, "N")
    ]
    assert differences == []
    assert sample.calls.segments[0].insertions == ()
    if scheme is None:
        assert sample.consensus.breadth_of_coverage == pytest.approx(0.960, abs=0.001)  # the README's figure
        assert sample.consensus.depth_of_coverage == pytest.approx(296, rel=0.15)  # samtools' with mates twice
    else:
        assert 0.93 < sample.consensus.breadth_of_coverage < 0.960


def test_frequencies_agree_with_ivar_where_both_call(dev: Path, tmp_path: Path) -> None:
    """Substitutions of at least 5 % and 20 fragments: found at the same place with a frequency that is near."""
    sample = found(paired(dev / "sc2_twist_wuhan", "sc2_twist_wuhan"), dev / "refs" / "NC_045512.2.fasta", tmp_path)
    with (dev / "sc2_twist_wuhan" / "bwa_ivar.variants.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["ALT"] in "ACGT"]
    strong = [row for row in rows if float(row["ALT_FREQ"]) >= 0.05 and int(row["ALT_DP"]) >= 20]
    assert len(strong) >= 5
    for row in strong:
        ours = sample.variant(int(row["POS"]), row["ALT"])
        assert ours.frequency == pytest.approx(float(row["ALT_FREQ"]), abs=0.03)


def test_rsv_agrees_with_ivar(dev: Path, tmp_path: Path) -> None:
    """Outside N of either, our consensus and that of bwa and iVar are the same, indels included."""
    sample = found(paired(dev / "rsvb_illumina", "rsvb"), dev / "refs" / "RSVB_MT107528.1.fasta", tmp_path)
    assert sample.alignment.mapped_fraction == pytest.approx(0.993, abs=0.002)
    assert sample.consensus.breadth_of_coverage == pytest.approx(0.959, abs=0.012)  # mates count once here
    with (dev / "rsvb_illumina" / "bwa_ivar.variants.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if float(row["ALT_FREQ"]) > 0.6]
    for row in rows:
        place = int(row["POS"]) - 1
        if row["ALT"] in "ACGT":
            assert sample.aligned[place] in (row["ALT"], "N"), row["POS"]
        elif row["ALT"].startswith("-"):
            assert sample.aligned[place + 1] in "-N", row["POS"]
    theirs = {int(row["POS"]) - 1 for row in rows}
    ours = {i for i, (a, r) in enumerate(zip(sample.aligned, sample.reference, strict=True)) if a in "ACGT" and a != r}
    assert ours <= theirs
    assert len(ours) >= 120


@pytest.mark.parametrize("barcode", ["barcode07", "barcode09"])
def test_nanopore_reads_show_the_mutations_of_their_lineage(dev: Path, tmp_path: Path, barcode: str) -> None:
    """B.1: C241T and A23403G at 75 % or more; about half of the genome is N at 10x."""
    sample = found(
        nanopore(dev / "sc2_ont_artic" / f"{barcode}.fastq.gz"),
        dev / "refs" / "NC_045512.2.fasta",
        tmp_path,
        thresholds=DEFAULT_THRESHOLDS[Platform.OXFORD_NANOPORE].model_copy(update={"min_depth": 10}),
    )
    assert sample.alignment.mapped_fraction > 0.99
    for position, alternative in ((241, "T"), (23403, "G")):
        assert sample.variant(position, alternative).frequency >= 0.75
        assert sample.aligned[position - 1] == alternative
    assert 0.45 < sample.consensus.breadth_of_coverage < 0.65
    assert sample.consensus.substitutions <= 15
    assert sample.consensus.insertions + sample.consensus.deletions <= 6  # noise of old pores


def test_reads_of_something_else_map_nowhere_and_fail_nothing(dev: Path, tmp_path: Path) -> None:
    sample = found(nanopore(dev / "sc2_tiny" / "tiny_ont.fastq.gz"), dev / "sc2_tiny" / "MT192765.1.fasta", tmp_path)
    assert (sample.alignment.reads, sample.alignment.mapped_reads) == (100, 0)
    assert set(sample.calls.segments[0].sequence) == {"N"}


def test_a_few_reads_run_too(dev: Path, tmp_path: Path) -> None:
    sample = found(paired(dev / "sc2_tiny", "tiny"), dev / "sc2_tiny" / "MT192765.1.fasta", tmp_path)
    assert sample.alignment.reads == 200
    assert sample.alignment.mapped_reads >= 195


def test_depth_is_that_of_samtools_and_a_mixture_shows(dev: Path, tmp_path: Path) -> None:
    """Wastewater, aligned elsewhere and clipped by iVar. samtools drops the second mate of an overlap unseen; here the
    better of the two counts, so depth is the same or a little more."""
    bam = tmp_path / "alignment.bam"
    shutil.copy(dev / "sc2_wastewater_bam" / "wastewater_ivartrim.bam", bam)
    pysam.index(str(bam))
    segments = references.load_segments(dev / "refs" / "NC_045512.2.fasta")
    calls, report = consensus.call(
        Alignment(bam, bam.with_name("alignment.bam.bai"), bam, Platform.ILLUMINA),
        segments,
        thresholds=PlatformThresholds(),
        rules=Consensus(),
        sample_name="S.1",
        directory=tmp_path,
    )
    lines = pysam.depth("-a", "-s", "-q", "20", "-J", str(bam)).splitlines()
    theirs = np.array([int(line.split("\t")[2]) for line in lines])
    assert report.depth_of_coverage == pytest.approx(theirs.mean(), rel=0.005)
    assert report.breadth_of_coverage == pytest.approx((theirs >= 10).mean(), abs=0.001)
    assert (calls.segments[0].depth == theirs).mean() > 0.97
    minorities = [v for v in calls.variants if len(v.reference) == len(v.alternative) and 0.05 <= v.frequency <= 0.5]
    assert len(minorities) >= 10


def test_outputs_are_the_same_bytes_twice(dev: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found(paired(dev / "rsvb_illumina", "rsvb"), dev / "refs" / "RSVB_MT107528.1.fasta", tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert contents[0] == contents[1]
    assert contents[0].keys() == {
        "alignment.bam", "alignment.bam.bai", "allele_counts.tsv.gz", "consensus.fasta",
        "coverage.tsv.gz", "variants.vcf.gz", "variants.vcf.gz.tbi",
    }  # fmt: skip
