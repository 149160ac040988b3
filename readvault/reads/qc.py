"""The check: rules over what the steps found, and the metadata that becomes searchable.

A rule has a metric, a limit that warns, a limit that is an error, and a message. The shipped rules
are in `default_rules`; an organism may bring its own list instead.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.organism import Metric, Organism, QcRule
from readvault.domain.reads import Platform
from readvault.domain.reports import (
    AlignmentReport,
    CheckReport,
    ConsensusReport,
    HostDepletionReport,
    QcVerdict,
    Report,
    ValidationReport,
)
from readvault.reads import submitted_consensus
from readvault.reads.calls import Calls
from readvault.reads.sample import ChosenReference
from readvault.reads.submitted_consensus import Agreement

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

_LIMIT = re.compile(r"\s*([<>=]+)\s*([0-9.]+)\s*(%?)\s*")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def default_rules(organism: Organism, platform: Platform | None) -> tuple[QcRule, ...]:
    """The shipped rules for a platform."""
    median = "< 40" if platform is Platform.OXFORD_NANOPORE else "< 20"
    human = "> " + f"{organism.pipeline.dehumanize.max_human_fraction:.9f}".rstrip("0").rstrip(".")
    no_sequence = "== 0" if organism.submission.consensus_sequences == "required" else None
    rows: tuple[tuple[Metric, str | None, str | None, str], ...] = (
        ("mappedReads", None, "< 100", "Only {value} reads lie on the reference: is this the right organism?"),
        ("mappedFraction", "< 10 %", None, "Only {value} of the reads lie on the reference."),
        ("breadthOfCoverage", "< 0.9", no_sequence, "Only {value} of the reference is covered deeply enough."),
        ("medianDepth", median, None, "The median depth is only {value}."),
        ("ambiguousBases", "> 10", None, "The consensus from the reads has {value} ambiguous bases."),
        ("mixedSites", "> 10", None, "At {value} positions a second base has 20 to 50 % of the reads: a mixture?"),
        ("humanFraction", human, None, "{value} of the reads are human."),
        ("unscreenableFraction", "> 5 %", None, "{value} of the reads are too short to be screened for human reads."),
        (
            "consensusDisagreements",
            ">= 1",
            ">= 10",
            "The submitted consensus disagrees with the reads at {value} places.",
        ),
        (
            "consensusDisagreementFraction",
            None,
            "> 0.1 %",
            "These are not the reads of this sequence: they disagree at {value} of the compared positions.",
        ),
    )
    return tuple(QcRule(metric=m, warn=warn, error=error, message=text) for m, warn, error, text in rows)


def check(
    *,
    organism: Organism,
    reference: ChosenReference,
    validation: ValidationReport | None,
    depletion: HostDepletionReport | None,
    alignment: AlignmentReport | None,
    consensus: ConsensusReport | None,
    calls: Calls | None,
    submitted: dict[str, str] | None,
) -> CheckReport:
    """Judge what the steps found, by the organism's rules.

    An entry without reads has its submitted sequences looked at only. With both, the submitted
    consensus is compared with the reads. Raises ProcessingFailure when a tool fails.
    """
    segments = reference.segments
    errors, warnings = submitted_consensus.faults(submitted, segments) if submitted else ([], [])
    agreement = None
    if submitted and not errors and calls is not None:
        agreement = submitted_consensus.compare(submitted, calls, reference.fasta)
    metrics = _metrics(depletion, alignment, consensus, calls, agreement)
    platform = validation.platform if validation else None
    rules = default_rules(organism, platform) if organism.pipeline.qc == "default" else organism.pipeline.qc
    verdicts = tuple(_judge(rule, metrics[rule.metric]) for rule in rules if rule.metric in metrics)
    warnings += _uncovered_segments(consensus)
    earlier = [w for r in (validation, depletion, alignment, consensus) if r is not None for w in _warnings(r)]
    for verdict in verdicts:
        reason, field = METRICS[verdict.metric]
        if verdict.verdict == "error":
            errors.append(_annotation(verdict, reason, field, agreement))
        elif verdict.verdict == "warn" and reason not in {warning.reason for warning in earlier}:
            warnings.append(_annotation(verdict, reason, field, agreement))
    metadata = {
        "totalReads": validation.reads if validation else None,
        "mappedReads": alignment.mapped_reads if alignment else None,
        "humanFraction": round(depletion.human_fraction, 6) if depletion and depletion.screened else None,
        "depthOfCoverage": round(consensus.depth_of_coverage, 2) if consensus else None,
        "breadthOfCoverage": round(consensus.breadth_of_coverage, 4) if consensus else None,
        "platform": str(platform) if platform else None,
        "primerScheme": _primer_scheme(organism, alignment),
        "reference": ",".join(segment.name for segment in segments) if alignment else None,
        "consensusSource": "submitted" if submitted else ("reads" if calls is not None else None),
        **_quality(errors, [*earlier, *warnings], verdicts),
    }
    return CheckReport(verdicts, metadata, errors=tuple(errors), warnings=tuple(warnings))


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
    depletion: HostDepletionReport | None,
    alignment: AlignmentReport | None,
    consensus: ConsensusReport | None,
    calls: Calls | None,
    agreement: Agreement | None,
) -> dict[str, float]:
    """The metrics that are known for this entry."""
    metrics: dict[str, float] = {}
    if alignment is not None:
        metrics |= {"mappedReads": alignment.mapped_reads, "mappedFraction": alignment.mapped_fraction}
    if consensus is not None:
        metrics |= {
            "breadthOfCoverage": consensus.breadth_of_coverage,
            "meanDepth": consensus.depth_of_coverage,
            "ambiguousBases": consensus.ambiguous_bases,
            "unknownBases": consensus.unknown_bases,
            "mixedSites": consensus.mixed_sites,
        }
    if calls is not None:
        metrics["medianDepth"] = float(np.median(np.concatenate([call.depth for call in calls.segments])))
    if depletion is not None:
        if depletion.screened:
            metrics["humanFraction"] = depletion.human_fraction
        metrics["unscreenableFraction"] = depletion.reads_too_short / max(depletion.reads_in, 1)
    if agreement is not None:
        metrics["consensusDisagreements"] = agreement.disagreements
        metrics["consensusDisagreementFraction"] = agreement.fraction
    return metrics


def _judge(rule: QcRule, value: float) -> QcVerdict:
    for verdict, limit in (("error", rule.error), ("warn", rule.warn)):
        if limit is not None and _exceeds(value, limit):
            message = rule.message.replace("{value}", _shown(rule.metric, value)).replace("{limit}", limit)
            return QcVerdict(rule.metric, value, limit, verdict, message)
    limits = [f"warn {rule.warn}"] * (rule.warn is not None) + [f"error {rule.error}"] * (rule.error is not None)
    return QcVerdict(rule.metric, value, ", ".join(limits), "pass", "")


def _exceeds(value: float, limit: str) -> bool:
    match = _LIMIT.fullmatch(limit)
    assert match is not None, "the organism's file was checked"
    return _COMPARISONS[match[1]](value, float(match[2]) / (100 if match[3] else 1))


def _shown(metric: str, value: float) -> str:
    if metric.endswith("Fraction") or metric == "breadthOfCoverage":
        return f"{value:.2%}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _annotation(verdict: QcVerdict, reason: Reason, field: Field, agreement: Agreement | None) -> Annotation:
    message = verdict.message
    if reason is Reason.CONSENSUS_DISAGREES and agreement is not None and agreement.first:
        message += f" First: {'; '.join(agreement.first)}."
    return Annotation(reason, f"{message} (rule {verdict.metric} {verdict.limit})", (field,))


def _warnings(report: Report) -> tuple[Annotation, ...]:
    found: tuple[Annotation, ...] = getattr(report, "warnings", ())
    return found


def _primer_scheme(organism: Organism, alignment: AlignmentReport | None) -> str | None:
    """The name of the organism's scheme when primers were clipped; a scheme of the submitter's own is `custom`."""
    if alignment is None or alignment.primers_sha256 is None:
        return None
    scheme = organism.pipeline.align.primers
    return "custom" if scheme is None else scheme.name.split(".")[0]


def _quality(errors: list[Annotation], warnings: list[Annotation], verdicts: tuple[QcVerdict, ...]) -> dict[str, Any]:
    determination = "FAIL" if errors else "WARN" if warnings else "PASS"
    reasons = dict.fromkeys(str(annotation.reason) for annotation in (*errors, *warnings))
    details = [{"metric": v.metric, "value": v.value, "limit": v.limit, "verdict": v.verdict} for v in verdicts]
    return {
        "qualityControlDetermination": determination,
        "qualityControlIssues": "; ".join(reasons) or None,
        "qualityControlDetails": json.dumps(details, sort_keys=True) if details else None,
    }
