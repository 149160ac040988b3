"""The verdict over a screen for human reads: are all reads accounted for, and are there too many human ones?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reports import HostDepletionReport

STEP = "dehumanize"
MANY_TOO_SHORT = 0.05


@dataclass(slots=True)
class HostTally:
    """Reads and bases, counted; a pair is two reads."""

    reads_in: int = 0
    reads_removed: int = 0
    bases_removed: int = 0
    reads_too_short: int = 0
    reads_kept: int = 0


def judge(
    tally: HostTally, *, index_sha256: str | None, rules: Dehumanize, publish_unscreened: bool
) -> HostDepletionReport:
    """The report of a screen; without an `index_sha256` there was none.

    Raises InvalidSubmission when more reads or bases are human than `rules` accept or when nothing is
    left, with all that is wrong, and ProcessingFailure when a read is not accounted for.
    """
    if tally.reads_in != tally.reads_kept + tally.reads_removed + tally.reads_too_short:
        raise ProcessingFailure(STEP, "reads are not accounted for")
    screened = index_sha256 is not None
    too_human = list(_too_human(tally, rules))
    others = list(_unscreened(tally, rules, screened=screened, published=publish_unscreened))
    if tally.reads_kept == 0:
        others.append(Annotation(Reason.NO_READS_LEFT, f"No read is left of {tally.reads_in}: {_losses(tally)}."))
    if tally.reads_kept == 0 or (too_human and rules.above == "reject"):
        raise InvalidSubmission([*too_human, *others])
    return HostDepletionReport(
        screened=screened,
        index_sha256=index_sha256,
        reads_in=tally.reads_in,
        reads_kept=tally.reads_kept,
        reads_removed=tally.reads_removed,
        bases_removed=tally.bases_removed,
        reads_too_short=tally.reads_too_short,
        human_fraction=_human_fraction(tally),
        warnings=(*too_human, *others),
    )


def _human_fraction(tally: HostTally) -> float:
    return tally.reads_removed / tally.reads_in if tally.reads_in else 0.0


def _losses(tally: HostTally) -> str:
    return f"{tally.reads_removed} are human, {tally.reads_too_short} are too short to be screened for human sequence"


def _too_human(tally: HostTally, rules: Dehumanize) -> Iterator[Annotation]:
    fraction = _human_fraction(tally)
    if fraction > rules.max_human_fraction:
        yield Annotation(
            Reason.TOO_MUCH_HUMAN,
            f"{fraction:.1%} of the reads are human; at most {rules.max_human_fraction:.1%} are expected.",
        )
    if rules.max_human_bases is not None and tally.bases_removed > rules.max_human_bases:
        yield Annotation(
            Reason.TOO_MUCH_HUMAN,
            f"{tally.bases_removed} bases of the reads are human; at most {rules.max_human_bases} are expected.",
        )


def _unscreened(tally: HostTally, rules: Dehumanize, *, screened: bool, published: bool) -> Iterator[Annotation]:
    if tally.reads_too_short > MANY_TOO_SHORT * tally.reads_in:
        yield Annotation(
            Reason.UNSCREENABLE_READS,
            f"{tally.reads_too_short} of {tally.reads_in} reads are too short to be screened for human sequence"
            " and were left out, with their mates.",
        )
    if not screened and rules.off is None:
        fate = "they are given out nevertheless, as was asked" if published else "no read-level file is given out"
        yield Annotation(Reason.UNSCREENABLE_READS, f"The reads were not screened for human sequence; {fate}.")
