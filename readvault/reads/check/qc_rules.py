"""The shipped rules of quality, for each kind of sample."""

from __future__ import annotations

from readvault.domain.organism import Metric, QcRule, SampleType
from readvault.domain.reads import Platform
from readvault.reads.sample import Sample

WASTEWATER_DEPTH = 10
"""The depth at which the breadth of wastewater is judged, whatever the platform."""

AMPLICON = "AMPLICON"
_Row = tuple[Metric, str | None, str | None, str]


def shipped(sample: Sample, platform: Platform | None, *, with_primers: bool) -> tuple[QcRule, ...]:
    """The shipped rules for a sample. `with_primers` says that a primer scheme was clipped."""
    is_wastewater = sample.sample_type is SampleType.WASTEWATER
    rows = [
        *_reads(sample, with_primers),
        *(_wastewater() if is_wastewater else _one_infection(sample)),
        _depth(platform),
    ]
    if not (is_wastewater or sample.organism.pipeline.mixtures_expected):
        text = "At {value} positions a second base has 20 to 50 % of the reads: a mixture?"
        rows.append(("mixedSites", "> 10", None, text))
    return tuple(
        QcRule(metric=m, warn=warn, error=error, message=text) for m, warn, error, text in (*rows, *_always(sample))
    )


def _reads(sample: Sample, with_primers: bool) -> tuple[_Row, ...]:
    is_amplicon = with_primers or (sample.declared.library_strategy or "").strip().upper() == AMPLICON
    share = "< 10 %" if is_amplicon else "< 0.1 %"
    return (
        ("mappedReads", None, "< 100", "Only {value} reads lie on the reference: is this the right organism?"),
        ("mappedFraction", share, None, "Only {value} of the reads lie on the reference."),
    )


def _one_infection(sample: Sample) -> tuple[_Row, ...]:
    no_sequence = "== 0" if sample.organism.submission.consensus_sequences == "required" else None
    return (
        ("breadthOfCoverage", "< 0.9", no_sequence, "Only {value} of the reference is covered deeply enough."),
        ("ambiguousBases", "> 10", None, "The consensus from the reads has {value} ambiguous bases."),
        ("unknownFrameshifts", "> 0", None, "{value} shifted frames or stops in genes are not known of this organism."),
    )


def _wastewater() -> tuple[_Row, ...]:
    text = f"Only {{value}} of the reference is covered {WASTEWATER_DEPTH} times."
    return (("breadthAt10x", "< 0.6", None, text),)


def _depth(platform: Platform | None) -> _Row:
    median = "< 40" if platform is Platform.OXFORD_NANOPORE else "< 20"
    return ("medianDepth", median, None, "The median depth is only {value}.")


def _always(sample: Sample) -> tuple[_Row, ...]:
    human = "> " + f"{sample.organism.pipeline.dehumanize.max_human_fraction:.9f}".rstrip("0").rstrip(".")
    not_theirs = "These are not the reads of this sequence: they disagree"
    return (
        ("droppedAmpliconFraction", "> 10 %", None, "{value} of the amplicons have too few reads."),
        ("humanFraction", human, None, "{value} of the reads are human."),
        ("unscreenableFraction", "> 5 %", None, "{value} of the reads are too short to be screened for human reads."),
        ("platformMismatch", "> 0", None, "The reads are not of the platform or layout that the metadata say."),
        ("consensusDisagreements", ">= 1", None, "The submitted consensus disagrees with the reads at {value} places."),
        ("consensusDisagreements", None, ">= 10", f"{not_theirs} at {{value}} places."),
        ("consensusDisagreementFraction", None, "> 0.1 %", f"{not_theirs} at {{value}} of the compared positions."),
    )
