"""Variants of any frequency, with the evidence for each, as VCF 4.3.

Every allele that reaches the platform's minimal frequency is listed. Where the evidence does not
suffice for a call, FILTER says why; being listed with a filter is not the same as being absent.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pysam

from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.reads.call.allele_counts import ALLELES, FORWARD, REVERSE, AlleleCounts
from readvault.reads.call.calls import Variant
from readvault.reads.call.homopolymers import MIN_LENGTH, SURE_LENGTH, SURE_PART, Homopolymers
from readvault.reads.call.indel_counts import Indel

MIN_FRAGMENTS = 10
MAX_ERROR_PROBABILITY = 1e-4
MAX_STRAND_PROBABILITY = 1e-6
NEARLY_ALL = 0.9
INDEL_ERROR = {"call": 1e-3, "ignore": 2e-2}
"""The assumed share of reads with an indel error at one place; FASTQ has no quality for absent bases."""

LOW_DEPTH, STRAND_BIAS, LOW_QUALITY, HOMOPOLYMER = "LowDepth", "StrandBias", "LowQuality", "Homopolymer"
_FILTERS = {
    LOW_DEPTH: f"Fewer than {MIN_FRAGMENTS} fragments have the alternative",
    STRAND_BIAS: "The alternative is missing on one strand, or the strands disagree beyond chance",
    LOW_QUALITY: f"Sequencing errors alone make this with a probability of {MAX_ERROR_PROBABILITY:g} or more",
    HOMOPOLYMER: "An indel within a homopolymer, where this platform errs",
}
_INFO = (
    ("DP", "1", "Integer", "Depth: fragments with a base of sufficient quality or a deletion"),
    ("AF", "A", "Float", "Frequency: share of the depth with the alternative"),
    ("AFCI", "2", "Float", "95 % Wilson interval of the frequency"),
    (
        "DP4",
        "4",
        "Integer",
        "Fragments: reference forward, reference reverse, alternative forward, alternative reverse",
    ),
)
_MAX_QUALITY = 999.0


def find(counts: AlleleCounts, *, thresholds: PlatformThresholds, rules: Consensus) -> tuple[Variant, ...]:
    """All substitutions, insertions and deletions of at least the minimal frequency and two fragments."""
    finder = _Finder(counts, thresholds, rules)
    # Substitutions first: they tell of homopolymers that the sample has and the reference has not.
    found = [*finder.substitutions(), *finder.deletions(), *finder.insertions()]
    order = {segment.name: index for index, segment in enumerate(counts.segments)}
    return tuple(sorted(found, key=lambda v: (order[v.segment], v.position, v.reference, v.alternative)))


class _Finder:
    def __init__(self, counts: AlleleCounts, thresholds: PlatformThresholds, rules: Consensus) -> None:
        self._counts = counts
        self._thresholds = thresholds
        self._rules = rules
        self._sequence = "".join(segment.sequence for segment in counts.segments)
        self._depth = counts.depth
        self._strand_depth = counts.strand_depth
        self._homopolymers = Homopolymers(counts.segments)
        self._doubtful: set[Indel] = set()

    def substitutions(self) -> Iterator[Variant]:
        bases = self._counts.counts[:, :4].sum(axis=0)
        wanted = (bases >= 2) & (bases >= self._thresholds.min_frequency * self._depth - 1e-9)
        letters = np.frombuffer(self._sequence.encode(), dtype=np.uint8)
        same = np.frombuffer(ALLELES[:4].encode(), dtype=np.uint8)[:, None] == letters
        wanted &= ~same & same.any(axis=0)  # where the reference has no base, nothing differs from it
        for allele, place in np.argwhere(wanted).tolist():
            reference = ALLELES.index(self._sequence[place])
            count = int(bases[allele, place])
            error = 10 ** (-(self._counts.quality_sums[allele, place] / count) / 10)
            strands = (
                int(self._counts.counts[FORWARD, reference, place]),
                int(self._counts.counts[REVERSE, reference, place]),
                int(self._counts.counts[FORWARD, allele, place]),
                int(self._counts.counts[REVERSE, allele, place]),
            )
            doubtful = self._miscounted(place, ALLELES[allele], count)
            yield self._variant(place, place, self._sequence[place], ALLELES[allele], strands, error, (), doubtful)

    def _miscounted(self, place: int, base: str, count: int) -> int:
        """Fragments of deletions that only shorten a homopolymer which the substitution makes, where nanopores err.

        They say nothing about the base: the place is a gap since nothing else of the homopolymer differs from the
        reference.
        """
        if self._thresholds.homopolymer_indels != "ignore":
            return 0
        start, end = place, place + 1
        while start > 0 and self._sequence[start - 1] == base:
            start -= 1
        while end < len(self._sequence) and self._sequence[end] == base:
            end += 1
        if end - start < MIN_LENGTH:
            return 0
        first = bisect_left(self._counts.deletions, start, key=lambda event: event.place)
        last = bisect_right(self._counts.deletions, place, key=lambda event: event.place)
        short = max(SURE_LENGTH, SURE_PART * (end - start))
        doubtful = [
            event
            for event in self._counts.deletions[first:last]
            if place < event.place + event.length <= end and event.length < short
        ]
        if 2 * count >= int(self._depth[place]):
            self._doubtful.update(doubtful)
        return sum(event.fragments for event in doubtful)

    def deletions(self) -> Iterator[Variant]:
        for event in self._counts.deletions:
            anchor = event.place - 1
            if self._reported(event) and self._segment_of(anchor) == self._segment_of(event.place):
                reference = self._sequence[anchor : event.place + event.length]
                yield self._indel(event, anchor, reference, reference[0])

    def insertions(self) -> Iterator[Variant]:
        for event in self._counts.insertions:
            if self._reported(event):
                reference = self._sequence[event.place]
                yield self._indel(event, event.place, reference, reference + event.bases)

    def _reported(self, event: Indel) -> bool:
        count = event.forward + event.reverse
        return count >= 2 and count >= self._thresholds.min_frequency * self._depth[event.place] - 1e-9

    def _indel(self, event: Indel, anchor: int, reference: str, alternative: str) -> Variant:
        forward = max(int(self._strand_depth[FORWARD][event.place]) - event.forward, 0)
        reverse = max(int(self._strand_depth[REVERSE][event.place]) - event.reverse, 0)
        strands = (forward, reverse, event.forward, event.reverse)
        filters: tuple[str, ...] = ()
        ignored = self._thresholds.homopolymer_indels == "ignore"
        if ignored and (event in self._doubtful or self._homopolymers.doubt(event, self._strand_depth)):
            filters = (HOMOPOLYMER,)
        error = INDEL_ERROR[self._thresholds.homopolymer_indels]
        return self._variant(event.place, anchor, reference, alternative, strands, error, filters)

    def _variant(
        self,
        place: int,
        anchor: int,
        reference: str,
        alternative: str,
        strands: tuple[int, int, int, int],
        error: float,
        filters: tuple[str, ...],
        doubtful: int = 0,
    ) -> Variant:
        count = strands[2] + strands[3]
        depth = max(int(self._depth[place]) - doubtful, count)
        frequency = count / depth
        log_probability = _log_tail(depth, count, error)
        if count < MIN_FRAGMENTS:
            filters += (LOW_DEPTH,)
        if self._strands_disagree(place, strands, frequency):
            filters += (STRAND_BIAS,)
        if log_probability >= math.log(MAX_ERROR_PROBABILITY):
            filters += (LOW_QUALITY,)
        index = self._segment_of(anchor)
        return Variant(
            segment=self._counts.segments[index].name,
            position=anchor - self._counts.origins[index] + 1,
            reference=reference,
            alternative=alternative,
            depth=depth,
            strands=strands,
            frequency=frequency,
            interval=_wilson(count, depth),
            quality=max(min(-10 * log_probability / math.log(10), _MAX_QUALITY), 0.0),
            filters=filters,
        )

    def _strands_disagree(self, place: int, strands: tuple[int, int, int, int], frequency: float) -> bool:
        """A minor allele must be on both strands where both have reads; none may lean beyond chance.

        A majority on one strand only is no error of sequencing: amplicons are often read from one side. What nearly
        all fragments have can't lean, whichever mate of them shows it.
        """
        if frequency >= NEARLY_ALL:
            return False
        forward, reverse = strands[2], strands[3]
        if frequency < self._rules.min_frequency and min(forward, reverse) == 0:
            return bool(self._strand_depth[FORWARD if forward == 0 else REVERSE][place] > 0)
        # Clipped reads that support an insertion may be more than those whose bases count here.
        depths = [max(int(self._strand_depth[s][place]), strands[s] + strands[s + 2]) for s in (FORWARD, REVERSE)]
        share = depths[FORWARD] / sum(depths) if sum(depths) else 0.0
        lean = min(
            _log_tail(forward + reverse, forward, share), _log_tail(forward + reverse, reverse, 1.0 - share), 0.0
        )
        return lean < math.log(MAX_STRAND_PROBABILITY)

    def _segment_of(self, place: int) -> int:
        return int(np.searchsorted(self._counts.origins, place, side="right")) - 1


def write_vcf(path: Path, counts: AlleleCounts, variants: tuple[Variant, ...]) -> None:
    """Write variants as bgzip-compressed VCF 4.3 with its tabix index beside it."""
    lines = ["##fileformat=VCFv4.3", "##source=readvault"]
    lines += [f"##contig=<ID={s.name},length={len(s.sequence)}>" for s in counts.segments]
    lines += ['##FILTER=<ID=PASS,Description="All filters passed">']
    lines += [f'##FILTER=<ID={name},Description="{text}">' for name, text in _FILTERS.items()]
    lines += [f'##INFO=<ID={i},Number={n},Type={t},Description="{text}">' for i, n, t, text in _INFO]
    lines += ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for v in variants:
        info = f"DP={v.depth};AF={v.frequency:.4f};AFCI={v.interval[0]:.4f},{v.interval[1]:.4f}"
        info += f";DP4={','.join(map(str, v.strands))}"
        filters = ";".join(v.filters) or "PASS"
        lines.append(
            f"{v.segment}\t{v.position}\t.\t{v.reference}\t{v.alternative}\t{v.quality:.1f}\t{filters}\t{info}"
        )
    plain = path.with_suffix("")
    plain.write_text("\n".join([*lines, ""]), encoding="ascii")
    pysam.tabix_compress(str(plain), str(path), force=True)
    pysam.tabix_index(str(path), preset="vcf", force=True)
    plain.unlink()


def _wilson(count: int, depth: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, count / depth
    center = share + z * z / (2 * depth)
    margin = z * math.sqrt(share * (1 - share) / depth + z * z / (4 * depth * depth))
    scale = 1 + z * z / depth
    return max((center - margin) / scale, 0.0), min((center + margin) / scale, 1.0)


def _log_tail(trials: int, successes: int, probability: float) -> float:
    """The natural logarithm of the binomial probability of at least this many successes."""
    if successes <= trials * probability:
        return 0.0
    if probability <= 0:
        return -math.inf
    log_p, log_q = math.log(probability), math.log1p(-probability)
    first = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    total, term, number = 1.0, 1.0, successes
    while number < trials and term > total * 1e-12:
        term *= (trials - number) / (number + 1) * probability / (1 - probability)
        number += 1
        total += term
    return first + successes * log_p + (trials - successes) * log_q + math.log(total)
