"""The samples that accuracy is judged on, and running one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from benchmarks import accuracy_rivals
from benchmarks.accuracy_judge import (
    Call,
    Difference,
    Judgement,
    judge_consensus,
    judge_variants,
    key,
    reference_position,
)
from readvault.domain.organism import Organism
from readvault.domain.reads import Platform
from readvault.pipeline import LOCAL
from readvault.reads.call.homopolymers import MIN_LENGTH
from readvault.reads.local_run import LocalRun
from readvault.reads.references import load_segments
from readvault.reads.sample import InputFile, Sample, Segment
from readvault.reads.simulate.simulated_amplicons import tile, write_scheme
from readvault.reads.simulate.simulation import Simulated, simulate

REFERENCES = Path(__file__).parents[1] / "deployments" / "references"
SARS_COV_2, SEGMENTED = REFERENCES / "NC_045512.2.fasta", REFERENCES / "segmented-example.fasta"
OURS = "readvault"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of sample: what `simulate` shall make of which reference.

    `primers` tiles it with amplicons of so many bases, of which those in `dropouts` are missing.
    `min_frequency` and `min_depth` say which variants count for recall and precision.
    """

    name: str
    says: str
    reference: Path
    simulation: Mapping[str, Any]
    primers: int = 0
    dropouts: tuple[int, ...] = ()
    min_frequency: float = 0.05
    min_depth: int = 500
    platform: Platform = Platform.ILLUMINA


def _variants(substitutions: int, insertions: int, deletions: int) -> dict[str, int]:
    return {"substitutions": substitutions, "insertions": insertions, "deletions": deletions, "longest_indel": 30}


MIXTURE = (0.02, 0.05, 0.1, 0.5, 1.0)
SCENARIOS = (
    Scenario(
        "clonal", "one strain, 2×150, about 100×", SARS_COV_2,
        {"pairs": 10_000, "length": 150, **_variants(80, 35, 35)}, min_frequency=0.5, min_depth=20,
    ),
    Scenario(
        "shallow", "one strain, 2×150, about 15×", SARS_COV_2,
        {"pairs": 1_500, "length": 150, **_variants(80, 35, 35)}, min_frequency=0.5, min_depth=20,
    ),
    Scenario(
        "mixture", "variants at 2, 5, 10, 50 and 100 %, 2×150, about 900×", SARS_COV_2,
        {"pairs": 95_000, "length": 150, "shares": MIXTURE, **_variants(100, 25, 25)},
    ),
    Scenario(
        "segments", "eight segments, variants at 5, 10 and 100 %, 2×150, about 900×", SEGMENTED,
        {"pairs": 45_000, "length": 150, "shares": (0.05, 0.1, 1.0), **_variants(50, 12, 12)},
    ),
    Scenario(
        "amplicons", "tiled amplicons of 400 bases with primers, two dropouts, one strain, 2×250, about 250×",
        SARS_COV_2, {"pairs": 20_000, "length": 250, **_variants(100, 15, 15)},
        primers=400, dropouts=(7, 41), min_frequency=0.5, min_depth=20,
    ),
    Scenario(
        "tiled mixture", "tiled amplicons of 300 bases with primers, substitutions at 5, 10, 50 and 100 %, 2×250, 900×",
        SARS_COV_2, {"pairs": 90_000, "length": 250, "shares": (0.05, 0.1, 0.5, 1.0), "substitutions": 120},
        primers=300,
    ),
    Scenario(
        "nanopore", "one strain, reads of 1,000 bases, about Q17, homopolymers miscounted, about 100×", SARS_COV_2,
        {"pairs": 3_000, "length": 1000, **_variants(80, 20, 20)}, min_frequency=0.5, min_depth=40,
        platform=Platform.OXFORD_NANOPORE,
    ),
    Scenario(
        "hifi", "variants at 20, 50 and 100 %, reads of 3,000 bases, about 100×", SARS_COV_2,
        {"pairs": 1_100, "length": 3000, "shares": (0.2, 0.5, 1.0), **_variants(80, 20, 20)}, min_frequency=0.1,
        min_depth=50, platform=Platform.PACBIO_SMRT,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all programs made of one sample, judged.

    `errors` are by program where its consensus is not the truth outside N; `unknown` counts its N. `deep` are those
    errors of ours that lie at 20 fragments or more. `judgements` are by program that calls variants.
    """

    scenario: Scenario
    seed: int
    mean_depth: float
    sample: Simulated
    errors: dict[str, list[Difference]]
    unknown: dict[str, int]
    deep: list[Difference]
    judgements: dict[str, Judgement]
    filtered: dict[Call, str] = field(default_factory=dict)
    """Why calls of ours that were listed were not held for sure."""


def run(scenario: Scenario, seed: int, directory: Path, *, rivals: bool, threads: int = 2) -> Outcome:
    """Simulate a sample, process it, have the rivals call the same BAM, judge all."""
    directory.mkdir(parents=True)
    segments = load_segments(scenario.reference)
    reference = directory / "reference.fasta"  # a copy, since samtools writes an index beside it
    reference.write_bytes(scenario.reference.read_bytes())
    scheme = directory / "scheme.bed" if scenario.primers else None
    amplicons = tile(segments, size=scenario.primers, dropouts=scenario.dropouts, seed=seed) if scheme else ()
    if scheme:
        write_scheme(scheme, amplicons)
    sample = simulate(
        reference,
        directory / "reads",
        seed=seed,
        platform=scenario.platform,
        amplicons=amplicons,
        **scenario.simulation,
    )
    organism = Organism.model_validate({"name": "accuracy", "reference": {"fasta": reference}})
    outputs = _process(sample, organism, scheme, scenario.platform, directory, threads)
    consensus = _consensus(outputs / "consensus.fasta", segments)
    calls, filtered = _calls(outputs / "variants.vcf.gz")
    depths = _depths(outputs / "coverage.tsv.gz", segments)
    thresholds = organism.pipeline.thresholds(scenario.platform)
    others = {}
    if rivals:
        others = accuracy_rivals.call_all(
            outputs / "alignment.bam", reference, segments, directory / "rivals",
            min_depth=thresholds.min_depth, min_quality=thresholds.min_base_quality,
        )  # fmt: skip
    sequences = {OURS: consensus, **{name: rival.consensus for name, rival in others.items()}}
    errors = {name: judge_consensus(sample, found) for name, found in sequences.items()}
    listed = {OURS: calls, **{name: rival.variants for name, rival in others.items() if rival.variants is not None}}
    ignored = _in_homopolymers(sample, segments) if thresholds.homopolymer_indels == "ignore" else []
    return Outcome(
        scenario=scenario,
        seed=seed,
        mean_depth=float(np.concatenate(list(depths.values())).mean()),
        sample=sample,
        errors=errors,
        unknown={name: sum(one.count("N") for one in found.values()) for name, found in sequences.items()},
        deep=[d for d in errors[OURS] if depths[d.segment][reference_position(sample, d.segment, d.position)] >= 20],
        judgements={
            name: judge_variants(
                sample, found, min_frequency=scenario.min_frequency, min_depth=scenario.min_depth, ignored=ignored
            )
            for name, found in listed.items()
        },
        filtered=filtered,
    )


def _process(
    made: Simulated, organism: Organism, scheme: Path | None, platform: Platform, directory: Path, threads: int
) -> Path:
    (directory / "work").mkdir()
    sample = Sample(
        name="accuracy.1",
        organism=organism,
        inputs=tuple(InputFile(path, path.name) for path in (made.r1, made.r2) if path is not None),
        directory=directory / "work",
        platform=platform,
        primers=scheme,
        threads=threads,
        publish_unscreened=True,
    )
    work = LocalRun(sample)
    for step in LOCAL:
        work.run(step)
    return directory / "work" / "outputs"


def _consensus(fasta: Path, segments: tuple[Segment, ...]) -> dict[str, str]:
    sequences = ["".join(r.splitlines()[1:]) for r in fasta.read_text(encoding="utf-8").split(">")[1:]]
    return {segment.name: sequence for segment, sequence in zip(segments, sequences, strict=True)}


def _calls(vcf: Path) -> tuple[dict[Call, float], dict[Call, str]]:
    """The variants that passed with their frequencies, and why others did not."""
    passed, filtered = {}, {}
    with pysam.VariantFile(str(vcf)) as records:
        for record in records:
            call = Call(record.chrom, record.pos, record.ref or "", (record.alts or ("",))[0])
            reasons = [name for name in record.filter if name != "PASS"]
            if reasons:
                filtered[call] = ", ".join(reasons)
            else:
                passed[call] = float(record.info["AF"][0])
    return passed, filtered


def _depths(table: Path, segments: tuple[Segment, ...]) -> dict[str, np.ndarray]:
    columns = np.loadtxt(table, delimiter="\t", skiprows=1, usecols=2, dtype=np.int64)
    borders = np.cumsum([len(segment.sequence) for segment in segments])[:-1]
    return {s.name: part for s, part in zip(segments, np.split(columns, borders), strict=True)}


def _in_homopolymers(sample: Simulated, segments: tuple[Segment, ...]) -> list[Call]:
    """Planted indels that only make a homopolymer of four or more shorter or longer: nanopores' own errors."""
    sequences = {segment.name: segment.sequence for segment in segments}
    found = []
    for variant in sample.variants:
        changed = variant.reference[1:] or variant.alternative[1:]
        around = sequences[variant.segment][variant.position : variant.position + MIN_LENGTH + len(changed)]
        if len(set(changed)) == 1 and len(around) - len(around.lstrip(changed[0])) >= MIN_LENGTH:
            found.append(key(variant))
    return found
