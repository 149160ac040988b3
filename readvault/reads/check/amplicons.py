"""The amplicons of a primer scheme, and which of them have dropped out."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from readvault.domain.reports import Amplicon
from readvault.reads.call.calls import Calls
from readvault.reads.sample import PrimerSite

OWN_AT_LEAST = 20
"""From this many bases on, the part of an amplicon that no other one covers speaks for it."""

_NAME = re.compile(r"(?P<amplicon>.+?)_(?P<side>LEFT|RIGHT)(?P<variant>_alt[0-9]*|_[0-9]+)?$", re.IGNORECASE)
_Span = tuple[str, str, int, int]


def measure(sites: tuple[PrimerSite, ...], calls: Calls, *, min_depth: int) -> tuple[Amplicon, ...]:
    """The amplicons in the order of the genome, each with its median depth between its primers.

    One is dropped when its median is below `min_depth` while the sample's is not: a sample that is
    thin everywhere has no dropouts. Depth counts fragments; positions are 0-based half-open.
    """
    depths = {call.segment: call.depth for call in calls.segments}
    spans = _between_primers(sites)
    covered = {segment: np.zeros(len(depth) + 1, dtype=np.int32) for segment, depth in depths.items()}
    for _, segment, start, end in spans:
        covered[segment][start] += 1
        covered[segment][end] -= 1
    shared = {segment: np.cumsum(edges)[:-1] > 1 for segment, edges in covered.items()}
    deep = bool(depths) and float(np.median(np.concatenate(list(depths.values())))) >= min_depth
    found = []
    for name, segment, start, end in spans:
        median = _median(depths[segment][start:end], shared[segment][start:end])
        found.append(Amplicon(name, segment, start, end, median, deep and median < min_depth))
    return tuple(found)


def dropped_fraction(amplicons: tuple[Amplicon, ...]) -> float:
    """The share of amplicons that dropped out, 0..1."""
    return sum(amplicon.dropped for amplicon in amplicons) / len(amplicons) if amplicons else 0.0


def _between_primers(sites: tuple[PrimerSite, ...]) -> list[_Span]:
    """Each amplicon between its innermost primers. Names are ARTIC's; `_alt` and `_2` are further primers of a side."""
    lefts: dict[tuple[str, str], int] = {}
    rights: dict[tuple[str, str], int] = {}
    for site in sites:
        match = _NAME.match(site.name)
        if match is None:
            continue
        key = (match["amplicon"], site.segment)
        if match["side"].upper() == "LEFT":
            lefts[key] = max(lefts.get(key, 0), site.end)
        else:
            rights[key] = min(rights.get(key, site.start), site.start)
    spans = [(*key, lefts[key], rights[key]) for key in lefts.keys() & rights.keys() if lefts[key] < rights[key]]
    order = {segment: place for place, segment in enumerate(dict.fromkeys(site.segment for site in sites))}
    return sorted(spans, key=lambda span: (order[span[1]], span[2], span[3], span[0]))


def _median(depth: NDArray[np.int32], shared: NDArray[np.bool_]) -> float:
    own = depth[~shared]
    return float(np.median(own if len(own) >= OWN_AT_LEAST else depth))
