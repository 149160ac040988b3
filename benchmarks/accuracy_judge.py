"""Judge a consensus and a list of variants by the truth of a simulated sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from Bio.Align import PairwiseAligner, substitution_matrices

from readvault.reads.simulate.simulated_genome import PlantedVariant
from readvault.reads.simulate.simulation import Simulated

ANCHOR = 24
"""Bases that two sequences must share for their parts between to be compared one by one."""
EQUALLY_GOOD = 50
"""Alignments that are looked at: a gap beside N may as well stand among them."""
_MEANINGS = {
    **{base: base for base in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}


class Difference(NamedTuple):
    """A place where a consensus is not the truth: 0-based on the truth, the bases of both without what they share."""

    segment: str
    position: int
    truth: str
    called: str

    @property
    def kind(self) -> str:
        """Substitution, insertion or deletion, seen from the truth; `ambiguous` if codes allow the truth."""
        if len(self.truth) == len(self.called):
            allowed = all(a in _MEANINGS.get(b, "") for a, b in zip(self.truth, self.called, strict=True))
            return "ambiguous" if allowed else "substitution"
        return "insertion" if len(self.called) > len(self.truth) else "deletion"


def differences(segment: str, truth: str, called: str) -> list[Difference]:
    """Where `called` says something else than `truth`. `N` says nothing and is no difference, nor is how many N."""
    found: list[Difference] = []
    for a, b, c, d in _gaps(truth, called):
        found += _compare(segment, a, truth[a:b], called[c:d])
    return found


def _gaps(truth: str, called: str) -> Iterator[tuple[int, int, int, int]]:
    """What lies between stretches that both have, in order: `[a, b)` of the truth, `[c, d)` of the other."""
    places: dict[str, int] = {}
    for at in range(len(truth) - ANCHOR + 1):
        word = truth[at : at + ANCHOR]
        places[word] = -1 if word in places else at
    mine = theirs = at = 0
    while at <= len(called) - ANCHOR:
        place = places.get(called[at : at + ANCHOR], -1)
        if place < mine:
            at += 1
            continue
        if place > mine or at > theirs:
            yield mine, place, theirs, at
        mine, theirs = place, at
        while mine < len(truth) and theirs < len(called) and truth[mine] == called[theirs]:
            mine, theirs = mine + 1, theirs + 1
        at = theirs
    if mine < len(truth) or theirs < len(called):
        yield mine, len(truth), theirs, len(called)


def _compare(segment: str, start: int, truth: str, called: str) -> list[Difference]:
    """The differences between two stretches; of alignments that are equally good those of the one with the fewest."""
    if len(truth) == len(called):
        columns = [list(zip(truth, called, strict=True))]
    elif not truth or not called:
        columns = [[(base, "") for base in truth] or [("", base) for base in called]]
    else:
        columns = list(_alignments(truth, called))
    return min((list(_differing(segment, start, len(truth), each)) for each in columns), key=len)


def _differing(segment: str, start: int, length: int, columns: list[tuple[str, str]]) -> Iterator[Difference]:
    position, run, begin, beside_unknown = start, ["", ""], start, False
    before = ""
    for mine, theirs in [*columns, ("N", "N")]:
        if mine != theirs and theirs != "N":
            if not any(run):
                begin, beside_unknown = position, before == "N"
            run[0] += mine
            run[1] += theirs
        elif any(run):
            if len(run[0]) == len(run[1]) or not (beside_unknown or (theirs == "N" and position < start + length)):
                yield Difference(segment, begin, run[0], run[1])
            run = ["", ""]
        position += len(mine)
        before = theirs


def _alignments(truth: str, called: str) -> Iterator[list[tuple[str, str]]]:
    letters = "ACGTRYSWKMBDHVN"
    matrix = substitution_matrices.Array(letters, 2)
    for a in letters:
        for b in letters:
            matrix[a, b] = 0.5 if "N" in (a, b) else 2 if a == b else 1 if a in _MEANINGS[b] else -4
    aligner = PairwiseAligner(substitution_matrix=matrix, open_gap_score=-6, extend_gap_score=-0.2)
    for best in islice(aligner.align(truth, called), EQUALLY_GOOD):
        yield [(a.replace("-", ""), b.replace("-", "")) for a, b in zip(best[0], best[1], strict=True)]


class Call(NamedTuple):
    """A variant that somebody called: 1-based, as VCF writes it."""

    segment: str
    position: int
    reference: str
    alternative: str


def key(variant: PlantedVariant) -> Call:
    """A planted variant as one would call it."""
    return Call(variant.segment, variant.position, variant.reference, variant.alternative)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Variants of at least some frequency and depth, against the truth.

    `wanted` and `found` of them make the recall, `right` of `called` the precision; `missed` and `false`
    say which. `deviations` are the differences in frequency of the substitutions that were found.
    """

    wanted: int
    found: int
    called: int
    right: int
    missed: tuple[Call, ...]
    false: tuple[Call, ...]
    deviations: tuple[float, ...]

    @property
    def recall(self) -> float:
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.called if self.called else 1.0

    @property
    def worst_deviation(self) -> float:
        return max((abs(deviation) for deviation in self.deviations), default=0.0)


def judge_variants(
    sample: Simulated,
    calls: Mapping[Call, float],
    *,
    min_frequency: float,
    min_depth: int,
    ignored: Iterable[Call] = (),
) -> Judgement:
    """Judge calls (with their frequencies) by what was planted and really read.

    A call of a planted variant is right whatever its frequency; `ignored` are variants that nobody promised
    to find, and no fault if found.
    """
    unwanted = set(ignored)
    truth = {key(variant): number for number, variant in enumerate(sample.variants)}
    wanted = [
        call
        for call, number in truth.items()
        if sample.frequencies[number] >= min_frequency and sample.depths[number] >= min_depth and call not in unwanted
    ]
    strong = [call for call, frequency in calls.items() if frequency >= min_frequency]
    false = tuple(call for call in strong if call not in truth)
    deviations = tuple(
        calls[call] - sample.frequencies[truth[call]]
        for call in wanted
        if call in calls and len(call.reference) == len(call.alternative)
    )
    missed = tuple(call for call in wanted if call not in calls)
    return Judgement(
        wanted=len(wanted),
        found=len(wanted) - len(missed),
        called=len(strong),
        right=len(strong) - len(false),
        missed=missed,
        false=false,
        deviations=deviations,
    )


def undecided(sample: Simulated) -> dict[str, list[tuple[int, int]]]:
    """Where no consensus is wrong, by segment: 0-based half-open on the truth, around variants of about a half."""
    found: dict[str, list[tuple[int, int]]] = {segment: [] for segment in sample.truth}
    shifts = dict.fromkeys(sample.truth, 0)
    for variant, frequency in zip(sample.variants, sample.frequencies, strict=True):
        at = variant.position - 1 + shifts[variant.segment]
        if 0.4 < variant.share < 0.6 or 0.4 < frequency < 0.6:
            around = 0 if len(variant.reference) == len(variant.alternative) else 5
            longest = max(len(variant.reference), len(variant.alternative))
            found[variant.segment].append((at - around, at + longest + around))
        if variant.share > 0.5:
            shifts[variant.segment] += len(variant.alternative) - len(variant.reference)
    return found


def judge_consensus(sample: Simulated, called: Mapping[str, str]) -> list[Difference]:
    """Where a consensus (by segment, unaligned) is not the truth, outside N and outside what is undecided."""
    excused = undecided(sample)
    return [
        difference
        for segment, truth in sample.truth.items()
        for difference in differences(segment, truth, called.get(segment, ""))
        if not _within(difference, excused[segment])
    ]


def _within(difference: Difference, intervals: Sequence[tuple[int, int]]) -> bool:
    end = difference.position + max(len(difference.truth), 1)
    return any(start <= difference.position and end <= stop for start, stop in intervals)


def reference_position(sample: Simulated, segment: str, position: int) -> int:
    """Where on the reference (0-based) a position of the truth lies; that of an insertion is the base before it."""
    shift = 0
    for variant in sample.variants:
        if variant.segment != segment or variant.share <= 0.5:
            continue
        at = variant.position - 1 + shift
        if at + len(variant.alternative) > position:
            return min(position, at + len(variant.reference) - 1) - shift if position >= at else position - shift
        shift += len(variant.alternative) - len(variant.reference)
    return position - shift
