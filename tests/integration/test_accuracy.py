"""What is called from simulated samples is what was planted: small ones here, large ones in `make accuracy`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import broken_promises
from benchmarks.accuracy_scenarios import SEGMENTED, Scenario, run
from readvault.domain.reads import Platform
from readvault.reads.simulate.simulation import synthetic_reference

pytestmark = pytest.mark.slow
FEW = {"substitutions": 14, "insertions": 6, "deletions": 6, "longest_indel": 30}
PURE = {"min_frequency": 0.5, "min_depth": 20}


@pytest.fixture(scope="module")
def one_segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "one.fasta"
    synthetic_reference(path, segments=1, seed=21)
    return path


@pytest.fixture(scope="module")
def two_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "two.fasta"
    synthetic_reference(path, segments=2, seed=22)
    return path


def judged(scenario: Scenario, directory: Path) -> None:
    outcome = run(scenario, 5, directory / "sample", rivals=False, threads=1)
    assert broken_promises([outcome]) == []
    assert outcome.judgements["readvault"].wanted >= 8


def test_one_strain_with_indels_of_up_to_thirty_bases(tmp_path: Path) -> None:
    """Eight segments, 60 fragments deep."""
    judged(Scenario("pure", "", SEGMENTED, {"pairs": 2_900, "length": 150, **FEW}, **PURE), tmp_path)


def test_a_mixture_down_to_two_percent(tmp_path: Path, two_segments: Path) -> None:
    shares = (0.02, 0.05, 0.1, 0.5, 1.0)
    judged(Scenario("mixture", "", two_segments, {"pairs": 18_000, "length": 150, "shares": shares, **FEW}), tmp_path)


def test_amplicons_whose_primers_hide_variants(tmp_path: Path, one_segment: Path) -> None:
    """Without clipping, variants under primers would be seen at half of their frequency; the dropout is N."""
    simulation = {"pairs": 9_000, "length": 250, "shares": (0.1, 0.5, 1.0), "substitutions": 14}
    scenario = Scenario("amplicons", "", one_segment, simulation, primers=300, dropouts=(3,))
    judged(scenario, tmp_path)


def test_insertions_near_the_ends_of_amplicons_are_on_one_strand_and_no_bias(tmp_path: Path, one_segment: Path) -> None:
    """There one mate shows the insertion and the other is clipped before it."""
    planted = {"substitutions": 4, "insertions": 7, "deletions": 0, "longest_indel": 30}
    simulation = {"pairs": 900, "length": 250, **planted}
    judged(Scenario("amplicons", "", one_segment, simulation, primers=400, **PURE), tmp_path)


@pytest.mark.parametrize("platform", [Platform.OXFORD_NANOPORE, Platform.PACBIO_SMRT])
def test_long_reads(tmp_path: Path, two_segments: Path, platform: Platform) -> None:
    simulation = {"pairs": 500, "length": 900, **FEW}
    judged(Scenario("long", "", two_segments, simulation, platform=platform, **PURE), tmp_path)
