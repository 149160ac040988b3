"""Rules are judged by their limits, and a submitted consensus by the reads."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.organism import Metric, Organism, Qc, QcRule, SampleType
from readvault.domain.reads import PROCESSED_FIELDS, LibraryLayout, Platform
from readvault.domain.reports import (
    AlignmentReport,
    CheckReport,
    ConsensusReport,
    HostDepletionReport,
    SegmentCoverage,
    ValidationReport,
)
from readvault.reads import references
from readvault.reads.call.calls import Calls, GeneCall, SegmentCall
from readvault.reads.check import qc, qc_rules
from readvault.reads.sample import Declared, PrimerSite, Sample

GENOME = "".join(random.Random(3).choices("ACGT", k=3000))


@pytest.fixture
def organism(tmp_path: Path) -> Organism:
    (tmp_path / "reference.fasta").write_text(f">genome\n{GENOME}\n")
    return Organism.model_validate({"name": "virus", "reference": {"fasta": tmp_path / "reference.fasta"}})


def validation(platform: Platform = Platform.ILLUMINA) -> ValidationReport:
    return ValidationReport(platform, LibraryLayout.PAIRED, 1000, 150_000, 150, 150, 150.0, 36.0)


def depletion(**more: Any) -> HostDepletionReport:
    return HostDepletionReport(
        **{
            "screened": True, "index_sha256": "a" * 64, "reads_in": 1000, "reads_kept": 950, "reads_removed": 50,
            "bases_removed": 7500, "reads_too_short": 0, "human_fraction": 0.05, **more,
        }
    )  # fmt: skip


def alignment(mapped: int = 900, *, of: int = 950) -> AlignmentReport:
    return AlignmentReport(of, mapped, mapped / of, "b" * 64, "sr")


def consensus(**more: Any) -> ConsensusReport:
    return ConsensusReport(
        **{
            "segments": (), "min_depth": 10, "depth_of_coverage": 100.0, "breadth_of_coverage": 0.99,
            "ambiguous_bases": 0, "unknown_bases": 30, "substitutions": 0, "insertions": 0, "deletions": 0,
            "variants": 0, "mixed_sites": 0, **more,
        }
    )  # fmt: skip


def calls(aligned: str = GENOME, *, depth: int = 100, insertions: tuple[str, ...] = ()) -> Calls:
    depths = np.full(len(aligned), depth, dtype=np.int32)
    coverage = SegmentCoverage("genome", len(aligned), depth, depth, 1.0)
    return Calls((SegmentCall("genome", aligned.replace("-", ""), aligned, insertions, depths, coverage),), ())


def checked(
    organism: Organism, *, submitted: dict[str, str] | None = None, of: dict[str, Any] | None = None, **found: Any
) -> CheckReport:
    """Judge these findings; `of` is what else is known of the sample."""
    reference = references.only(organism)
    assert reference is not None
    sample = Sample("S.1", organism, (), Path(), submitted=submitted, **(of or {}))
    return qc.check(sample, reference, qc.Findings(**found))


def with_reads(organism: Organism, **found: Any) -> CheckReport:
    good = {
        "validation": validation(), "depletion": depletion(), "alignment": alignment(),
        "consensus": consensus(), "calls": calls(),
    }  # fmt: skip
    return checked(organism, **{**good, **found})


def test_a_good_sample_passes_and_its_figures_are_searchable(organism: Organism) -> None:
    report = with_reads(organism)
    assert (report.errors, report.warnings) == ((), ())
    metadata = report.processed_metadata
    assert set(metadata) <= set(PROCESSED_FIELDS)
    details = json.loads(metadata.pop("qualityControlDetails"))
    assert {detail["verdict"] for detail in details} == {"pass"}
    assert metadata == {
        "totalReads": 1000,
        "mappedReads": 900,
        "humanFraction": 0.05,
        "depthOfCoverage": 100.0,
        "breadthOfCoverage": 0.99,
        "platform": "ILLUMINA",
        "primerScheme": None,
        "reference": "genome",
        "consensusSource": "reads",
        "qualityControlDetermination": "PASS",
        "qualityControlIssues": None,
    }


@pytest.mark.parametrize(
    ("found", "metric", "verdict", "reason"),
    [
        ({"alignment": alignment(99)}, "mappedReads", "error", Reason.FEW_MAPPED_READS),
        ({"alignment": alignment(900, of=1_000_000)}, "mappedFraction", "warn", Reason.FEW_MAPPED_READS),
        ({"consensus": consensus(breadth_of_coverage=0.8999)}, "breadthOfCoverage", "warn", Reason.LOW_BREADTH),
        ({"calls": calls(depth=19)}, "medianDepth", "warn", Reason.LOW_DEPTH),
        ({"consensus": consensus(ambiguous_bases=11)}, "ambiguousBases", "warn", Reason.AMBIGUOUS_BASES),
        ({"consensus": consensus(mixed_sites=11)}, "mixedSites", "warn", Reason.MIXED_SITES),
        ({"depletion": depletion(human_fraction=0.51)}, "humanFraction", "warn", Reason.TOO_MUCH_HUMAN),
        ({"depletion": depletion(reads_too_short=51)}, "unscreenableFraction", "warn", Reason.UNSCREENABLE_READS),
    ],
)  # fmt: skip
def test_every_shipped_rule_strikes(
    organism: Organism, found: dict[str, Any], metric: str, verdict: str, reason: Reason
) -> None:
    report = with_reads(organism, **found)
    assert [(v.metric, v.verdict) for v in report.verdicts if v.verdict != "pass"] == [(metric, verdict)]
    listed = report.errors if verdict == "error" else report.warnings
    assert [annotation.reason for annotation in listed] == [reason]
    assert metric in listed[0].message
    assert report.processed_metadata["qualityControlDetermination"] == ("FAIL" if verdict == "error" else "WARN")
    assert report.processed_metadata["qualityControlIssues"] == str(reason)


def test_at_the_limit_a_rule_holds(organism: Organism) -> None:
    report = with_reads(organism, alignment=alignment(100), calls=calls(depth=20))
    assert {v.verdict for v in report.verdicts} == {"pass"}


def test_nanopore_needs_more_depth(organism: Organism) -> None:
    report = with_reads(organism, validation=validation(Platform.OXFORD_NANOPORE), calls=calls(depth=39))
    assert [annotation.reason for annotation in report.warnings] == [Reason.LOW_DEPTH]


def test_an_earlier_step_that_warned_is_not_repeated_but_counts(organism: Organism) -> None:
    warned = depletion(human_fraction=0.6, warnings=(Annotation(Reason.TOO_MUCH_HUMAN, "60 % are human"),))
    report = with_reads(organism, depletion=warned)
    assert report.warnings == ()
    assert report.processed_metadata["qualityControlDetermination"] == "WARN"


def test_an_organism_may_bring_its_own_rules(organism: Organism) -> None:
    rule = QcRule(metric="meanDepth", warn="< 200", error="<= 100", message="only {value} ({limit})")
    own = organism.model_copy(update={"pipeline": organism.pipeline.model_copy(update={"qc": Qc(rules=(rule,))})})
    (error,) = with_reads(own).errors
    assert error.message == "only 100 (<= 100) (rule meanDepth <= 100)"


@pytest.mark.parametrize("rule", [{"metric": "beauty", "warn": "< 1"}, {"metric": "meanDepth", "warn": "low"}])
def test_a_rule_that_can_not_be_understood_stops_the_start(rule: dict[str, str]) -> None:
    """Found at the end of each job instead, it would fail them all."""
    with pytest.raises(ValidationError):
        QcRule.model_validate({**rule, "message": "m"})


def test_every_metric_has_a_reason() -> None:
    assert set(qc.METRICS) == set(get_args(Metric))


def test_a_tiny_human_fraction_can_be_a_limit(organism: Organism) -> None:
    """As a float it would be written 1e-05, which is no limit."""
    dehumanize = organism.pipeline.dehumanize.model_copy(update={"max_human_fraction": 0.00001})
    strict = organism.model_copy(update={"pipeline": organism.pipeline.model_copy(update={"dehumanize": dehumanize})})
    sample = Sample("S.1", strict, (), Path())
    assert "> 0.00001" in {rule.warn for rule in qc_rules.shipped(sample, Platform.ILLUMINA, with_primers=False)}


def test_without_a_screen_there_is_no_human_fraction(organism: Organism) -> None:
    metadata = with_reads(organism, depletion=depletion(screened=False)).processed_metadata
    assert metadata["humanFraction"] is None


def test_an_entry_without_reads_has_its_sequence_looked_at(organism: Organism) -> None:
    report = checked(organism, submitted={"sample": GENOME.lower()})
    assert (report.errors, report.warnings, report.verdicts) == ((), (), ())
    assert report.processed_metadata["consensusSource"] == "submitted"
    assert report.processed_metadata["totalReads"] is None


@pytest.mark.parametrize(
    ("submitted", "message"),
    [
        ({"a": ""}, "empty"),
        ({"a": "NNNN"}, "only N"),
        ({"a": "ACG-T"}, "'-' at position 4"),
        ({"a": "ACGT", "b": "ACGT"}, "2 sequences"),
    ],
)
def test_a_malformed_consensus_is_an_error(organism: Organism, submitted: dict[str, str], message: str) -> None:
    (error,) = checked(organism, submitted=submitted).errors
    assert error.reason is Reason.INVALID_CONSENSUS
    assert message in error.message


def test_a_consensus_that_is_mostly_unknown_is_warned_about(organism: Organism) -> None:
    (warning,) = checked(organism, submitted={"a": "ACG" + "N" * 7}).warnings
    assert "70%" in warning.message


def test_a_submitted_consensus_that_agrees_passes(organism: Organism) -> None:
    """Unknown bases, shallow positions and lower case are no disagreement; a shared deletion is none either."""
    called = GENOME[:700] + "---" + GENOME[703:]
    submitted = ("N" * 50 + GENOME[50:700] + GENOME[703:]).lower()
    report = with_reads(organism, calls=calls(called), submitted={"a": submitted})
    assert (report.errors, report.warnings) == ((), ())
    assert {v.metric: v.value for v in report.verdicts}["consensusDisagreements"] == 0


def test_a_submitted_consensus_that_disagrees_is_warned_about_with_the_places(organism: Organism) -> None:
    other = "A" if GENOME[1000] != "A" else "C"
    submitted = GENOME[:1000] + other + GENOME[1001:2000] + GENOME[2004:]
    report = with_reads(organism, submitted={"a": submitted})
    (warning,) = report.warnings
    assert warning.reason is Reason.CONSENSUS_DISAGREES
    assert "at 2 places" in warning.message
    assert f"genome:1001 {other}, the reads say {GENOME[1000]}" in warning.message
    assert "deletion of 4" in warning.message


def test_where_the_reads_are_shallow_they_have_no_say(organism: Organism) -> None:
    submitted = GENOME[:1000] + ("A" if GENOME[1000] != "A" else "C") + GENOME[1001:]
    report = with_reads(organism, calls=calls(depth=19), submitted={"a": submitted})
    assert not [v for v in report.verdicts if v.metric.startswith("consensus")]  # a rule that saw nothing holds nowhere
    assert report.errors == ()


def test_a_consensus_of_another_sample_is_an_error(organism: Organism) -> None:
    changed = "".join({"A": "C", "C": "A", "G": "T", "T": "G"}[b] if i % 100 == 50 else b for i, b in enumerate(GENOME))
    report = with_reads(organism, submitted={"a": changed})
    assert {annotation.reason for annotation in report.errors} == {Reason.CONSENSUS_DISAGREES}
    assert report.processed_metadata["qualityControlDetermination"] == "FAIL"


def test_a_consensus_that_can_not_be_compared_with_deep_reads_is_an_error(organism: Organism) -> None:
    """Perhaps of another virus: no position is compared, so none disagrees."""
    strange = "".join(random.Random(9).choices("ACGT", k=len(GENOME)))
    (error,) = with_reads(organism, submitted={"a": strange}).errors
    assert error.reason is Reason.CONSENSUS_DISAGREES
    assert "resembles no part" in error.message
    assert with_reads(organism, calls=calls(depth=19), submitted={"a": strange}).errors == ()


def test_a_genome_of_which_no_base_is_known_is_no_consensus(organism: Organism) -> None:
    report = with_reads(organism, calls=calls("N" * len(GENOME), depth=0))
    assert report.processed_metadata["consensusSource"] is None


def test_few_reads_on_the_reference_mean_more_after_amplicons(organism: Organism) -> None:
    """9 % is little of an amplicon library and much of a shotgun one; a scheme or the strategy tells which it is."""
    few = alignment(900, of=10_000)
    assert with_reads(organism, alignment=few).warnings == ()
    strategy = {"declared": Declared(library_strategy="amplicon")}
    assert [w.reason for w in with_reads(organism, alignment=few, of=strategy).warnings] == [Reason.FEW_MAPPED_READS]
    site = PrimerSite("genome", 0, 20, "v_1_LEFT", "+")
    assert [w.reason for w in with_reads(organism, alignment=few, sites=(site,)).warnings] == [Reason.FEW_MAPPED_READS]


def test_amplicons_without_reads_are_named(organism: Organism) -> None:
    sites = tuple(
        PrimerSite("genome", start, start + 20, f"v_{number}_{side}", strand)
        for number in range(1, 6)
        for side, start, strand in (("LEFT", 500 * (number - 1), "+"), ("RIGHT", 500 * number - 20, "-"))
    )
    found = calls()
    found.segments[0].depth[500:1000] = 9
    report = with_reads(organism, calls=found, sites=sites)
    assert [(a.name, a.start, a.end, a.median_depth, a.dropped) for a in report.amplicons][:2] == [
        ("v_1", 20, 480, 100, False),
        ("v_2", 520, 980, 9, True),
    ]
    (warning,) = report.warnings
    assert warning.reason is Reason.DROPPED_AMPLICONS
    assert "20.00% of the amplicons" in warning.message
    assert "v_2." in warning.message
    assert report.processed_metadata["droppedAmplicons"] == 1


def test_a_sample_that_is_thin_everywhere_has_no_dropouts(organism: Organism) -> None:
    sites = (PrimerSite("genome", 0, 20, "v_1_LEFT", "+"), PrimerSite("genome", 480, 500, "v_1_RIGHT", "-"))
    report = with_reads(organism, calls=calls(depth=5), sites=sites)
    assert [amplicon.dropped for amplicon in report.amplicons] == [False]


def test_wastewater_is_a_mixture_by_nature(organism: Organism) -> None:
    found = {"consensus": consensus(mixed_sites=500, ambiguous_bases=500, breadth_of_coverage=0.3), "calls": calls()}
    found["calls"].segments[0].depth[:1000] = 9
    sewage = {"declared": Declared(sample_type=SampleType.WASTEWATER)}
    report = with_reads(organism, of=sewage, **found)
    assert (report.errors, report.warnings) == ((), ())
    assert report.processed_metadata["consensusSource"] is None
    found["calls"].segments[0].depth[:1500] = 9
    (warning,) = with_reads(organism, of=sewage, **found).warnings
    assert (warning.reason, "50.00%" in warning.message) == (Reason.LOW_BREADTH, True)


def test_mixtures_may_be_expected_of_an_organism(organism: Organism) -> None:
    pipeline = organism.pipeline.model_copy(update={"mixtures_expected": True})
    hiv = organism.model_copy(update={"pipeline": pipeline})
    assert with_reads(hiv, consensus=consensus(mixed_sites=500)).warnings == ()


def test_another_layout_than_the_metadata_say_warns(organism: Organism) -> None:
    report = with_reads(organism, of={"declared": Declared(layout=LibraryLayout.SINGLE)})
    (warning,) = report.warnings
    assert warning.message == "The metadata say SINGLE, but the reads are PAIRED."
    assert [v.verdict for v in report.verdicts if v.metric == "platformMismatch"] == ["warn"]


def test_frameshifts_that_the_organism_knows_are_no_fault(organism: Organism) -> None:
    gene = GeneCall("ORF8", "genome", "MK*", (), ("ORF8:E2fs",), ("ORF8:Q27*",))
    found = replace(calls(), genes=(gene,))
    (warning,) = with_reads(organism, calls=found).warnings
    assert warning.reason is Reason.UNKNOWN_FRAMESHIFTS
    assert "ORF8:E2fs, ORF8:Q27*" in warning.message
    for known in (("ORF8",), ("ORF8:E2fs", "ORF8:Q27*")):
        pipeline = organism.pipeline.model_copy(update={"known_frameshifts": known})
        assert with_reads(organism.model_copy(update={"pipeline": pipeline}), calls=found).warnings == ()


def test_a_rule_may_be_for_some_samples_only(organism: Organism) -> None:
    rules = tuple(
        QcRule.model_validate({"metric": "meanDepth", "warn": "< 200", "message": text, **only})
        for text, only in (("ont", {"platforms": ["OXFORD_NANOPORE"]}), ("sewage", {"sampleTypes": ["wastewater"]}))
    )
    own = organism.model_copy(update={"pipeline": organism.pipeline.model_copy(update={"qc": Qc(rules=rules)})})
    assert with_reads(own).verdicts == ()
    assert [v.message for v in with_reads(own, validation=validation(Platform.OXFORD_NANOPORE)).verdicts] == ["ont"]
    sewage = {"declared": Declared(sample_type=SampleType.WASTEWATER)}
    assert [v.message for v in with_reads(own, of=sewage).verdicts] == ["sewage"]


def labelled(organism: Organism) -> Organism:
    pipeline = organism.pipeline.model_copy(update={"qc": Qc(on_error="label")})
    return organism.model_copy(update={"pipeline": pipeline})


def test_where_errors_of_quality_are_labels_they_are_warnings_and_the_verdict_stays(organism: Organism) -> None:
    blocked = with_reads(organism, alignment=alignment(50))
    label = with_reads(labelled(organism), alignment=alignment(50))
    assert [error.reason for error in blocked.errors] == [Reason.FEW_MAPPED_READS]
    assert label.errors == ()
    assert label.warnings[0].reason is Reason.FEW_MAPPED_READS
    assert "may be released" in label.warnings[0].message
    for report in (blocked, label):
        assert report.processed_metadata["qualityControlDetermination"] == "FAIL"
        assert "fewMappedReads" in report.processed_metadata["qualityControlIssues"]


def test_what_a_submitter_did_wrong_is_an_error_with_labels_too(organism: Organism) -> None:
    found = checked(labelled(organism), submitted={"main": "ACGT!"})
    assert found.errors
    assert found.processed_metadata["qualityControlDetermination"] == "FAIL"


def test_labels_change_the_parameters_of_a_manifest_and_blocking_leaves_them_as_they_were() -> None:
    rules = [QcRule(metric="mappedReads", error="< 5", message="few")]
    written = rules[0].model_dump(mode="json", by_alias=True)
    assert Qc().model_dump(mode="json", by_alias=True) == "default"
    assert Qc(rules=tuple(rules)).model_dump(mode="json", by_alias=True) == [written]
    said = Qc.model_validate({"onError": "label", "rules": [written]})
    assert said.model_dump(mode="json", by_alias=True) == {"onError": "label", "rules": [written]}
    assert Qc.model_validate(said.model_dump(mode="json", by_alias=True)) == said
