"""The check: rules over what the steps found, and the metadata that becomes searchable.

A rule has a metric, a limit that warns, a limit that is an error, and a message. The shipped rules
are in `qc_rules`; an organism may bring its own list instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.organism import QcRule, SampleType
from readvault.domain.reports import (
    AlignmentReport,
    Amplicon,
    CheckReport,
    ConsensusReport,
    HostDepletionReport,
    QcVerdict,
    ValidationReport,
)
from readvault.reads import references
from readvault.reads.call.calls import Calls, GeneCall
from readvault.reads.check import amplicons, qc_rules, submitted_consensus
from readvault.reads.check.on_reference import OnReference
from readvault.reads.check.qc_verdicts import judge
from readvault.reads.check.submitted_consensus import Agreement
from readvault.reads.sample import ChosenReference, PrimerSite, Sample

LISTED = 20
A_LABEL = "It may be released: everybody sees this label."
READS = Field(FieldType.FILE, "rawReads")
SEQUENCE = Field(FieldType.NUCLEOTIDE_SEQUENCE, "main")

METRICS: dict[str, tuple[Reason, Field]] = {
    "mappedReads": (Reason.FEW_MAPPED_READS, READS),
    "mappedFraction": (Reason.FEW_MAPPED_READS, READS),
    "breadthOfCoverage": (Reason.LOW_BREADTH, READS),
    "medianDepth": (Reason.LOW_DEPTH, READS),
    "meanDepth": (Reason.LOW_DEPTH, READS),
    "ambiguousBases": (Reason.AMBIGUOUS_BASES, READS),
    "unknownBases": (Reason.AMBIGUOUS_BASES, READS),
    "mixedSites": (Reason.MIXED_SITES, READS),
    "humanFraction": (Reason.TOO_MUCH_HUMAN, READS),
    "unscreenableFraction": (Reason.UNSCREENABLE_READS, READS),
    "consensusDisagreements": (Reason.CONSENSUS_DISAGREES, SEQUENCE),
    "consensusDisagreementFraction": (Reason.CONSENSUS_DISAGREES, SEQUENCE),
    "breadthAt10x": (Reason.LOW_BREADTH, READS),
    "droppedAmpliconFraction": (Reason.DROPPED_AMPLICONS, READS),
    "unknownFrameshifts": (Reason.UNKNOWN_FRAMESHIFTS, SEQUENCE),
    "platformMismatch": (Reason.PLATFORM_MISMATCH, READS),
}
"""The reason and place of the annotations about each metric."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the steps found of one sample; None for what has not been done.

    `submitted` is the submitted consensus on the reference.
    """

    validation: ValidationReport | None = None
    depletion: HostDepletionReport | None = None
    alignment: AlignmentReport | None = None
    consensus: ConsensusReport | None = None
    calls: Calls | None = None
    sites: tuple[PrimerSite, ...] = ()
    submitted: OnReference = field(default_factory=OnReference)

    @property
    def genes(self) -> tuple[GeneCall, ...]:
        """The proteins of the sequence that the reads say and of the submitted one."""
        return (*(self.calls.genes if self.calls is not None else ()), *self.submitted.genes)

    @property
    def warnings(self) -> list[Annotation]:
        """What the steps have warned about already."""
        reports = (self.validation, self.depletion, self.alignment, self.consensus)
        return [warning for report in reports if report is not None for warning in report.warnings]


def check(sample: Sample, reference: ChosenReference, found: Findings) -> CheckReport:
    """Judge what the steps found, by the organism's rules.

    An entry without reads has its submitted sequences looked at only. With both, the submitted
    consensus is compared with the reads, except those of wastewater. Raises ProcessingFailure when a
    tool fails.
    """
    submitted = sample.submitted
    errors, warnings = submitted_consensus.faults(submitted, reference.segments) if submitted else ([], [])
    errors += found.submitted.errors
    warnings += found.submitted.warnings
    agreement = None
    if submitted and not errors and found.calls is not None and sample.sample_type is not SampleType.WASTEWATER:
        agreement = submitted_consensus.compare(submitted, found.calls, reference.fasta)
        errors += submitted_consensus.nothing_in_common(agreement, found.calls)
    tiles = _amplicons(sample, found)
    earlier = found.warnings
    warnings += [*_uncovered_segments(found.consensus), *_unlike_declared(sample, found.validation)]
    metrics = _metrics(sample, found, agreement, tiles)
    if found.validation is not None:
        metrics["platformMismatch"] = sum(w.reason is Reason.PLATFORM_MISMATCH for w in (*earlier, *warnings))
    verdicts = tuple(judge(rule, metrics[rule.metric]) for rule in _rules(sample, found) if rule.metric in metrics)
    details = _details(sample, found, agreement, tiles)
    broken = _annotations(verdicts, "error", details)
    blocks = sample.organism.pipeline.qc.on_error == "block"
    errors += broken if blocks else []
    labels = [] if blocks else [replace(each, message=f"{each.message} {A_LABEL}") for each in broken]
    told = {each.reason for each in (*errors, *labels)} & {Reason.CONSENSUS_DISAGREES}
    told |= {warning.reason for warning in earlier}
    told |= {warning.reason for warning in warnings} & {Reason.PLATFORM_MISMATCH}
    warnings += [*labels, *(each for each in _annotations(verdicts, "warn", details) if each.reason not in told)]
    metadata = {
        **_searchable(sample, reference, found, tiles),
        **_quality([*errors, *labels], [*earlier, *warnings], verdicts),
    }
    return CheckReport(
        verdicts,
        metadata,
        amplicons=tiles,
        agreement=agreement.counts if agreement else None,
        errors=tuple(errors),
        warnings=tuple(warnings),
    )


def _rules(sample: Sample, found: Findings) -> tuple[QcRule, ...]:
    platform = found.validation.platform if found.validation else None
    rules = sample.organism.pipeline.qc.rules
    if rules != "default":
        return tuple(rule for rule in rules if rule.applies(platform, sample.sample_type))
    return qc_rules.shipped(sample, platform, with_primers=bool(found.sites))


def _amplicons(sample: Sample, found: Findings) -> tuple[Amplicon, ...]:
    if found.calls is None or found.validation is None or not found.sites:
        return ()
    min_depth = qc_rules.WASTEWATER_DEPTH
    if sample.sample_type is not SampleType.WASTEWATER:
        min_depth = sample.organism.pipeline.thresholds(found.validation.platform).min_depth
    return amplicons.measure(found.sites, found.calls, min_depth=min_depth)


def _unlike_declared(sample: Sample, validation: ValidationReport | None) -> list[Annotation]:
    """The platform is compared where it is detected, in validation; here the layout."""
    said = sample.declared.layout
    if said is None or validation is None or said is validation.layout:
        return []
    message = f"The metadata say {said}, but the reads are {validation.layout}."
    return [Annotation(Reason.PLATFORM_MISMATCH, message, (Field(FieldType.METADATA, "libraryLayout"),))]


def _searchable(
    sample: Sample, reference: ChosenReference, found: Findings, tiles: tuple[Amplicon, ...]
) -> dict[str, Any]:
    """The figures that become metadata of the entry."""
    validation, depletion, alignment, consensus = found.validation, found.depletion, found.alignment, found.consensus
    called = found.calls.segments if found.calls and sample.sample_type is not SampleType.WASTEWATER else ()
    source = "reads" if any(call.sequence.strip("N") for call in called) else None
    figures: dict[str, Any] = {
        "totalReads": validation.reads if validation else None,
        "mappedReads": alignment.mapped_reads if alignment else None,
        "humanFraction": round(depletion.human_fraction, 6) if depletion and depletion.screened else None,
        "depthOfCoverage": round(consensus.depth_of_coverage, 2) if consensus else None,
        "breadthOfCoverage": round(consensus.breadth_of_coverage, 4) if consensus else None,
        "platform": str(validation.platform) if validation else None,
        "primerScheme": (alignment.primer_scheme if alignment else None) or sample.declared.primer_scheme,
        "reference": references.spoken(reference) if alignment or reference.names else None,
        "consensusSource": "submitted" if sample.submitted else source,
    }
    if tiles:
        figures["droppedAmplicons"] = sum(tile.dropped for tile in tiles)
    return figures


def _uncovered_segments(consensus: ConsensusReport | None) -> list[Annotation]:
    """A whole segment may be missing while the breadth of all of them together looks well."""
    if consensus is None or len(consensus.segments) == 1:
        return []
    return [
        Annotation(
            Reason.LOW_BREADTH,
            f"No position of segment {segment.segment} is covered deeply enough.",
            (Field(FieldType.NUCLEOTIDE_SEQUENCE, segment.segment),),
        )
        for segment in consensus.segments
        if segment.breadth == 0
    ]


def _metrics(
    sample: Sample, found: Findings, agreement: Agreement | None, tiles: tuple[Amplicon, ...]
) -> dict[str, float]:
    """The metrics that are known for this entry."""
    metrics: dict[str, float] = {}
    if (alignment := found.alignment) is not None:
        metrics |= {"mappedReads": alignment.mapped_reads, "mappedFraction": alignment.mapped_fraction}
    if (consensus := found.consensus) is not None:
        metrics |= {
            "breadthOfCoverage": consensus.breadth_of_coverage,
            "meanDepth": consensus.depth_of_coverage,
            "ambiguousBases": consensus.ambiguous_bases,
            "unknownBases": consensus.unknown_bases,
            "mixedSites": consensus.mixed_sites,
        }
    if found.calls is not None:
        depth = np.concatenate([call.depth for call in found.calls.segments])
        metrics |= {"medianDepth": float(np.median(depth)), "breadthAt10x": float((depth >= 10).mean())}
    if found.genes:
        metrics["unknownFrameshifts"] = len(_unknown_frameshifts(sample, found.genes))
    if tiles:
        metrics["droppedAmpliconFraction"] = amplicons.dropped_fraction(tiles)
    if (depletion := found.depletion) is not None:
        if depletion.screened:
            metrics["humanFraction"] = depletion.human_fraction
        metrics["unscreenableFraction"] = depletion.reads_too_short / max(depletion.reads_in, 1)
    if agreement is not None and agreement.compared:
        metrics["consensusDisagreements"] = agreement.disagreements
        metrics["consensusDisagreementFraction"] = agreement.fraction
    return metrics


def _unknown_frameshifts(sample: Sample, genes: tuple[GeneCall, ...]) -> list[str]:
    """Frameshifts and stops by their names (`ORF8:Q27*`), without those that the organism knows, by gene or by name."""
    known = set(sample.organism.pipeline.known_frameshifts)
    names = [name for gene in genes if gene.name not in known for name in (*gene.frameshifts, *gene.stops)]
    return [name for name in dict.fromkeys(names) if name not in known]


def _annotations(verdicts: tuple[QcVerdict, ...], kind: str, details: dict[Reason, str]) -> list[Annotation]:
    """What submitters read of the broken rules. Two rules about a submitted consensus would say the same twice."""
    found = []
    for verdict in verdicts:
        if verdict.verdict == kind:
            reason, field = METRICS[verdict.metric]
            message = f"{verdict.message}{details.get(reason, '')} (rule {verdict.metric} {verdict.limit})"
            found.append(Annotation(reason, message, (field,)))
    twice = [annotation for annotation in found if annotation.reason is Reason.CONSENSUS_DISAGREES][1:]
    return [annotation for annotation in found if annotation not in twice]


def _details(
    sample: Sample, found: Findings, agreement: Agreement | None, tiles: tuple[Amplicon, ...]
) -> dict[Reason, str]:
    """What follows the message of a rule: the first few of what it counted."""
    details = {}
    if agreement is not None and agreement.first:
        details[Reason.CONSENSUS_DISAGREES] = f" First: {'; '.join(agreement.first)}."
    if dropped := [tile.name for tile in tiles if tile.dropped]:
        details[Reason.DROPPED_AMPLICONS] = f" They are: {_listed(dropped)}."
    if shifted := _unknown_frameshifts(sample, found.genes):
        details[Reason.UNKNOWN_FRAMESHIFTS] = f" They are: {_listed(shifted)}."
    return details


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _quality(errors: list[Annotation], warnings: list[Annotation], verdicts: tuple[QcVerdict, ...]) -> dict[str, Any]:
    determination = "FAIL" if errors else "WARN" if warnings else "PASS"
    reasons = dict.fromkeys(str(annotation.reason) for annotation in (*errors, *warnings))
    details = [{"metric": v.metric, "value": v.value, "limit": v.limit, "verdict": v.verdict} for v in verdicts]
    return {
        "qualityControlDetermination": determination,
        "qualityControlIssues": "; ".join(reasons) or None,
        "qualityControlDetails": json.dumps(details, sort_keys=True) if details else None,
    }
