"""Is a new result as good as the one that stands? The rule by which reprocessing lets it take its place.

A result is no worse when it has no more errors, covers as much of the genome (but for a tolerance), is
judged as well by quality control, has a consensus wherever there was one, and went through a screen
for human reads if the older one did. Whatever else differs is why it was processed again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from readvault.domain.status import ProcessingResult

_QUALITY = {"PASS": 0, "WARN": 1, "FAIL": 2}
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What of a result is compared. `breadth` is 0..1; None where nothing was measured or judged."""

    result: ProcessingResult
    errors: int
    breadth: float | None
    determination: str | None
    consensus: frozenset[str]
    """Names of the segments that have a sequence."""
    screened: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure in which a new result is worse, and its value before and now. `figure` is the manifest's own name."""

    figure: str
    old: Value
    new: Value

    def as_json(self) -> dict[str, Value]:
        return {"figure": self.figure, "old": self.old, "new": self.new}


def figures(manifest: Mapping[str, Any], errors: Collection[object]) -> Figures:
    """What of a manifest (its public document, with the errors beside it) is compared.

    >>> told = {"processingResult": "NO_ISSUES", "metadata": {"breadthOfCoverage": 0.97}, "sequences": {"main": "ab"}}
    >>> figures(told, []).breadth, sorted(figures(told, []).consensus)
    (0.97, ['main'])
    """
    metadata = manifest.get("metadata") or {}
    breadth, determination = metadata.get("breadthOfCoverage"), metadata.get("qualityControlDetermination")
    return Figures(
        result=ProcessingResult(manifest["processingResult"]),
        errors=len(errors),
        breadth=float(breadth) if isinstance(breadth, int | float) else None,
        determination=determination if determination in _QUALITY else None,
        consensus=frozenset(manifest.get("sequences") or {}),
        screened=manifest.get("screened") is True,
    )


def compare(old: Figures, new: Figures, *, breadth_tolerance: float = 0.0) -> tuple[Finding, ...]:
    """In what the new result is worse than the old one; nothing for one that may take its place.

    >>> from dataclasses import replace
    >>> good = Figures(ProcessingResult.NO_ISSUES, 0, 0.97, "PASS", frozenset({"main"}), True)
    >>> compare(good, replace(good, breadth=0.966), breadth_tolerance=0.005)
    ()
    >>> compare(good, replace(good, breadth=0.9), breadth_tolerance=0.005)
    (Finding(figure='breadthOfCoverage', old=0.97, new=0.9),)
    >>> compare(good, replace(good, determination="WARN", consensus=frozenset()))
    (Finding(figure='qualityControlDetermination', old='PASS', new='WARN'), Finding(figure='consensus', old='main', new=''))

    What failed before can't fail more, unless there are more errors, and what was not measured is no loss:

    >>> failed = Figures(ProcessingResult.HAS_ERRORS, 1, None, None, frozenset(), False)
    >>> compare(failed, good), compare(failed, failed), compare(failed, replace(failed, errors=2))
    ((), (), (Finding(figure='errors', old=1, new=2),))
    """  # noqa: E501 - what it prints
    worse = [
        Finding("processingResult", old.result.value, new.result.value)
        if new.result is ProcessingResult.HAS_ERRORS and old.result is not ProcessingResult.HAS_ERRORS
        else None,
        Finding("errors", old.errors, new.errors) if new.errors > old.errors else None,
        Finding("breadthOfCoverage", old.breadth, new.breadth) if _narrower(old, new, breadth_tolerance) else None,
        Finding("qualityControlDetermination", old.determination, new.determination) if _lower(old, new) else None,
        Finding("consensus", _listed(old.consensus), _listed(new.consensus)) if old.consensus - new.consensus else None,
        Finding("screened", "yes", "no") if old.screened and not new.screened else None,
    ]
    return tuple(finding for finding in worse if finding is not None)


def _narrower(old: Figures, new: Figures, tolerance: float) -> bool:
    # A sum of two floats may lie a hair beside the figure that a person reads.
    return old.breadth is not None and (new.breadth is None or new.breadth < old.breadth - tolerance - 1e-9)


def _lower(old: Figures, new: Figures) -> bool:
    if old.determination is None:
        return False
    return new.determination is None or _QUALITY[new.determination] > _QUALITY[old.determination]


def _listed(segments: frozenset[str]) -> str:
    return ", ".join(sorted(segments))
