"""The consensus, and the step that makes it, the variants and the coverage from one count.

At each position the fragments vote. Too few of them: `N`. One allele with at least the consensus
frequency and more than any other: that one; a deleted position is left out of the sequence, never
filled. Otherwise the IUPAC code of the bases with a quarter of the votes or more, or `N` when a
deletion is among those or nothing is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.domain.reports import ConsensusReport, SegmentCoverage
from readvault.reads.call import coverage, junctions, read_ends, variants
from readvault.reads.call.allele_counts import GAP, AlleleCounts, count
from readvault.reads.call.calls import Calls, SegmentCall, Variant
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.call.genes import call_genes
from readvault.reads.call.homopolymers import Homopolymers
from readvault.reads.call.indel_counts import Indel
from readvault.reads.call.indel_events import column_votes, tidy
from readvault.reads.call.junctions import Unresolved
from readvault.reads.sample import Alignment, Segment

__all__ = ["Calls", "SegmentCall", "Variant", "call", "call_segments"]

MIXED_FROM, MIXED_TO = 0.2, 0.5
AMBIGUOUS_FROM = 0.25
_CODES = np.frombuffer(b"NACMGRSVTWYHKDBN", dtype=np.uint8)  # by the set of bases: A 1, C 2, G 4, T 8
_BASES_AND_GAP = np.frombuffer(b"ACGT-", dtype=np.uint8)
_ROUNDING = 1e-9


def call(
    alignment: Alignment,
    segments: tuple[Segment, ...],
    *,
    thresholds: PlatformThresholds,
    rules: Consensus,
    sample_name: str,
    directory: Path,
    genes: tuple[Gene, ...] = (),
    threads: int = 1,
) -> tuple[Calls, ConsensusReport]:
    """Call consensus, variants and coverage from a BAM and write them.

    Leaves in `directory`: `consensus.fasta` (a record per segment, named after the sample, and `|segment` if
    there are several), `variants.vcf.gz` with `.tbi`, `coverage.tsv.gz`, `allele_counts.tsv.gz`.
    Raises ProcessingFailure when the BAM is damaged or lies on another reference.
    """
    counts, unresolved = _counted(alignment, segments, thresholds, threads)
    called = call_segments(counts, thresholds=thresholds, rules=rules, unresolved=unresolved)
    aligned = {call.segment: call.aligned for call in called}
    calls = Calls(
        segments=called,
        variants=variants.find(counts, thresholds=thresholds, rules=rules),
        genes=call_genes(genes, segments, aligned, {call.segment: call.insertions for call in called}),
    )
    write_fasta(directory / "consensus.fasta", calls, sample_name)
    variants.write_vcf(directory / "variants.vcf.gz", counts, calls.variants)
    coverage.write_coverage(directory / "coverage.tsv.gz", counts)
    coverage.write_allele_counts(directory / "allele_counts.tsv.gz", counts)
    return calls, replace(_report(counts, calls, thresholds.min_depth), warnings=_warnings(unresolved))


def _counted(
    alignment: Alignment, segments: tuple[Segment, ...], thresholds: PlatformThresholds, threads: int
) -> tuple[AlleleCounts, tuple[Unresolved, ...]]:
    """What the reads say, with the indels that only ends and clipped ends of them show."""
    quality = thresholds.min_base_quality
    counts = tidy(count(alignment, segments, min_base_quality=quality, threads=threads))
    counts = read_ends.add_ends(
        counts,
        alignment.bam,
        min_frequency=thresholds.min_frequency,
        min_base_quality=quality,
        homopolymers=Homopolymers(segments) if thresholds.homopolymer_indels == "ignore" else None,
    )
    resolved, unresolved = junctions.resolve(
        counts, alignment.bam, min_depth=thresholds.min_depth, min_base_quality=quality
    )
    return (counts if resolved is counts else tidy(resolved)), unresolved


def _warnings(unresolved: tuple[Unresolved, ...]) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(
            Reason.UNRESOLVED_INSERTION,
            f"Most reads break off between positions {gap.first} and {gap.last} of {gap.segment}: "
            "something is inserted there whose sequence they don't tell. The consensus has N.",
        )
        for gap in unresolved
    )


def call_segments(
    counts: AlleleCounts,
    *,
    thresholds: PlatformThresholds,
    rules: Consensus,
    unresolved: tuple[Unresolved, ...] = (),
) -> tuple[SegmentCall, ...]:
    """The consensus of every segment; where an insertion could not be resolved it is `N`."""
    homopolymers = Homopolymers(counts.segments)
    ignore = thresholds.homopolymer_indels == "ignore"
    letters = _vote(counts, thresholds.min_depth, rules.min_frequency, homopolymers if ignore else None)
    for gap in unresolved:
        origin = counts.origins[[segment.name for segment in counts.segments].index(gap.segment)]
        letters[origin + gap.first - 1 : origin + gap.last] = ord("N")
    insertions, undecided = _insertions(counts, letters, thresholds.min_depth, rules, homopolymers if ignore else None)
    letters[undecided] = ord("N")
    depth = counts.depth
    called = []
    for index, segment in enumerate(counts.segments):
        span = counts.span(index)
        aligned = letters[span].tobytes().decode("ascii")
        here = {place - span.start: bases for place, bases in insertions.items() if span.start <= place < span.stop}
        called.append(
            SegmentCall(
                segment=segment.name,
                sequence=_assemble(aligned, here),
                aligned=aligned,
                insertions=tuple(f"{place + 1}:{bases}" for place, bases in sorted(here.items())),
                depth=depth[span].astype(np.int32),
                coverage=coverage.summarize(segment, depth[span], min_depth=thresholds.min_depth),
            )
        )
    return tuple(called)


def write_fasta(path: Path, calls: Calls, sample_name: str) -> None:
    """Write the consensus of every segment, 80 bases a line."""
    lines = []
    for segment in calls.segments:
        lines.append(f">{sample_name}" + (f"|{segment.segment}" if len(calls.segments) > 1 else ""))
        lines += [segment.sequence[at : at + 80] for at in range(0, len(segment.sequence), 80)]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _vote(
    counts: AlleleCounts, min_depth: int, min_frequency: float, homopolymers: Homopolymers | None
) -> NDArray[np.uint8]:
    """One letter for each position of all segments."""
    votes = counts.counts.sum(axis=0)[[0, 1, 2, 3, GAP]]
    letters = _letters(votes, min_frequency)
    depth = counts.depth
    deletions = _Deletions(counts, homopolymers)
    if homopolymers is not None:
        votes[4] = 0
        doubtful = homopolymers.inside & ~deletions.believed(letters == ord("-"))
        letters = np.where(doubtful, _letters(votes, min_frequency), letters)
    letters[deletions.of_no_fragment(letters == ord("-"), depth)] = ord("N")
    letters[depth < min_depth] = ord("N")
    return letters


def _letters(votes: NDArray[np.int64], min_frequency: float) -> NDArray[np.uint8]:
    depth = votes.sum(axis=0)
    best, most, second = _leaders(votes)
    clear = (most >= min_frequency * depth - _ROUNDING) & (most > second)
    frequent = (votes >= AMBIGUOUS_FROM * depth - _ROUNDING) & (votes > 0)
    code = _CODES[frequent[:4].T.astype(np.uint8) @ np.array([1, 2, 4, 8], dtype=np.uint8)]
    code = np.where(frequent[4], np.uint8(ord("N")), code)
    return np.where(clear, _BASES_AND_GAP[best], code).astype(np.uint8)


def _leaders(votes: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """At each position the allele with the most votes, how many these are, and those of the next allele."""
    best = votes.argmax(axis=0)
    others = votes.copy()
    np.put_along_axis(others, best[None, :], -1, axis=0)
    return best, votes.max(axis=0), others.max(axis=0)


class _Deletions:
    """The deletions that were seen, to judge the stretches in which most fragments have a gap."""

    def __init__(self, counts: AlleleCounts, homopolymers: Homopolymers | None) -> None:
        self._homopolymers = homopolymers
        if homopolymers is None:
            self._sure = np.ones(len(counts.deletions), dtype=bool)
        else:
            strand_depth = counts.strand_depth
            sure = [not homopolymers.doubt(event, strand_depth) for event in counts.deletions]
            self._sure = np.array(sure, dtype=bool)
        self._start = np.array([event.place for event in counts.deletions], dtype=np.int64)
        self._end = self._start + np.array([event.length for event in counts.deletions], dtype=np.int64)
        self._fragments = np.array([event.fragments for event in counts.deletions], dtype=np.int64)

    def believed(self, deleted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Deleted positions that are more than the platform's miscount of a homopolymer."""
        believed = deleted.copy()
        for start, end in _runs(deleted):
            if self._homopolymers is not None and self._homopolymers.span(start, end):
                believed[start:end] = bool((self._sure & (self._start == start) & (self._end == end)).any())
        return believed

    def of_no_fragment(self, deleted: NDArray[np.bool_], depth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Deleted positions that are only what longer deletions have in common: no fragment lacks just them."""
        wrong = np.zeros(len(deleted), dtype=bool)
        for start, end in _runs(deleted):
            slack = (end - start) // 8  # aligners scatter the ends of long deletions
            within = (self._start >= start - slack) & (self._end <= end + slack) & (self._end > start)
            enough = AMBIGUOUS_FROM * int(depth[start:end].max()) - _ROUNDING
            wrong[start:end] = int(self._fragments[within & (self._start < end)].sum()) < enough
        return wrong


def _runs(flags: NDArray[np.bool_]) -> list[list[int]]:
    """Start and end of every stretch of true ones."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    found: list[list[int]] = edges.reshape(-1, 2).tolist()
    return found


def _insertions(
    counts: AlleleCounts,
    letters: NDArray[np.uint8],
    min_depth: int,
    rules: Consensus,
    homopolymers: Homopolymers | None,
) -> tuple[dict[int, str], list[int]]:
    """The inserted bases after each position where most fragments have an insertion, and where it can't be told.

    The majority decides whether there is one; the most frequent length and, for each of its bases, the vote of those
    fragments say which. It can't be told in a tie, where neither side reaches the consensus frequency
    though a quarter of the fragments have an insertion, and where the lengths disagree.
    """
    depth, strand_depth = counts.depth, counts.strand_depth
    found: dict[int, dict[int, list[Indel]]] = defaultdict(lambda: defaultdict(list))
    for event in counts.insertions:
        if depth[event.place] < min_depth:
            continue
        if homopolymers is None or not homopolymers.doubt(event, strand_depth):
            found[event.place][event.length].append(event)
    called, undecided = {}, []
    for place, by_length in found.items():
        fragments = {length: sum(event.fragments for event in events) for length, events in by_length.items()}
        total = sum(fragments.values())
        deep = max(int(depth[place]), total)
        length = min(fragments, key=lambda length: (-fragments[length], length))
        share = total / deep
        frequent = fragments[length] >= AMBIGUOUS_FROM * deep - _ROUNDING
        if share > 0.5 and share >= rules.min_frequency - _ROUNDING and frequent and letters[place] != ord("N"):
            votes = column_votes(by_length[length])
            with_gaps = np.vstack([votes, np.zeros_like(votes[:1])])
            called[place] = _letters(with_gaps, rules.min_frequency).tobytes().decode("ascii")
        elif share >= AMBIGUOUS_FROM and (share >= 0.5 or 1 - share < rules.min_frequency - _ROUNDING):
            undecided.append(place)
    return called, undecided


def _assemble(aligned: str, insertions: dict[int, str]) -> str:
    parts, done = [], 0
    for place, bases in sorted(insertions.items()):
        parts += [aligned[done : place + 1], bases]
        done = place + 1
    parts.append(aligned[done:])
    return "".join(parts).replace("-", "")


def _report(counts: AlleleCounts, calls: Calls, min_depth: int) -> ConsensusReport:
    aligned = np.frombuffer("".join(call.aligned for call in calls.segments).encode(), dtype=np.uint8)
    reference = np.frombuffer("".join(s.sequence for s in counts.segments).encode(), dtype=np.uint8)
    known = np.isin(aligned, list(b"ACGT"))
    deleted = [np.frombuffer(call.aligned.encode(), dtype=np.uint8) == ord("-") for call in calls.segments]
    depth = counts.depth
    minor = _leaders(counts.counts[:, :4].sum(axis=0))[2]
    mixed = (minor >= MIXED_FROM * depth) & (minor <= MIXED_TO * depth) & (depth >= min_depth)
    segments: tuple[SegmentCoverage, ...] = tuple(call.coverage for call in calls.segments)
    return ConsensusReport(
        segments=segments,
        min_depth=min_depth,
        depth_of_coverage=round(float(depth.mean()), 4),
        breadth_of_coverage=round(float((depth >= min_depth).mean()), 6),
        ambiguous_bases=int((~known & (aligned != ord("N")) & (aligned != ord("-"))).sum()),
        unknown_bases=int((aligned == ord("N")).sum()),
        substitutions=int((known & np.isin(reference, list(b"ACGT")) & (aligned != reference)).sum()),
        insertions=sum(len(call.insertions) for call in calls.segments),
        deletions=sum(int((np.diff(gaps.astype(np.int8), prepend=0) == 1).sum()) for gaps in deleted),
        variants=len(calls.variants),
        mixed_sites=int(mixed.sum()),
    )
