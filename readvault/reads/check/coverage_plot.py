"""The coverage plot of one segment, as coordinates of an inline SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from readvault.domain.reports import Amplicon
from readvault.reads.call.calls import SegmentCall, Variant

WIDE, NARROW, LEFT, RIGHT = 1000, 490, 56, 12
DEPTH_TOP, DEPTH_BOTTOM = 12, 212
LACK_TOP, LACK_BOTTOM = 218, 226
VARIANTS_TOP, VARIANTS_BOTTOM = 244, 300
AXIS = 322


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One variant in the plot."""

    x: float
    y: float
    called: bool
    label: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the x axis."""

    start: float
    width: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class CoveragePlot:
    """Everything that the template draws for one segment. Depth is on a logarithmic axis."""

    segment: str
    width: int
    bins: int
    summary: str
    area: str
    line: str
    threshold: Tick
    depths: tuple[Tick, ...]
    positions: tuple[Tick, ...]
    lacking: tuple[Span, ...]
    dropouts: tuple[Span, ...]
    marks: tuple[Mark, ...]


def plot(
    call: SegmentCall,
    variants: tuple[Variant, ...],
    *,
    min_depth: int,
    amplicons: tuple[Amplicon, ...] = (),
    narrow: bool = False,
) -> CoveragePlot:
    """Lay out the depth along a segment, where it is too low, amplicons that dropped out, and variants that passed."""
    length = len(call.aligned)
    width = NARROW if narrow else WIDE
    profile = call.depth_profile((width - LEFT - RIGHT) // 2)
    highest = max(*profile, float(min_depth), 10.0)

    def x(position: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * position / length, 1)

    def y(depth: float) -> float:
        return round(
            DEPTH_BOTTOM - (DEPTH_BOTTOM - DEPTH_TOP) * math.log10(depth + 1) / math.log10(highest * 1.3 + 1), 1
        )

    def span(start: int, end: int, label: str = "") -> Span:
        return Span(x(start), max(round(x(end) - x(start), 1), 1.0), label)

    step = length / len(profile)
    points = [f"{x(index * step)},{y(depth)} {x((index + 1) * step)},{y(depth)}" for index, depth in enumerate(profile)]
    line = " ".join(points)
    decades = [10**power for power in range(0, 8) if 10**power <= highest * 1.3]
    marks = tuple(
        Mark(
            x=x(v.position - 0.5),
            y=round(VARIANTS_BOTTOM - (VARIANTS_BOTTOM - VARIANTS_TOP) * v.frequency, 1),
            called=v.frequency >= 0.5,
            label=f"{v.reference[:12]}{v.position}{v.alternative[:12]}, {v.frequency:.1%} of {v.depth}",
        )
        for v in variants
        if v.segment == call.segment and not v.filters
    )
    return CoveragePlot(
        segment=call.segment,
        width=width,
        bins=len(profile),
        summary=f"Depth along {call.segment}, {length:,} bases: mean {call.coverage.mean_depth:,.0f},"
        f" {call.coverage.breadth:.1%} covered by {min_depth} fragments or more",
        area=f"{x(0)},{DEPTH_BOTTOM} {line} {x(length)},{DEPTH_BOTTOM}",
        line=line,
        threshold=Tick(y(min_depth), f"{min_depth}×"),
        depths=tuple(Tick(y(depth), f"{depth:,}") for depth in decades),
        positions=tuple(Tick(x(at), f"{at:,}") for at in _round_positions(length, 4 if narrow else 8)),
        lacking=tuple(span(start, end) for start, end in _lacking(call, min_depth)),
        dropouts=tuple(
            span(a.start, a.end, f"{a.name}, {a.start + 1:,} to {a.end:,}: median depth {a.median_depth:,.0f}")
            for a in amplicons
            if a.dropped and a.segment == call.segment
        ),
        marks=marks,
    )


def _lacking(call: SegmentCall, min_depth: int) -> list[tuple[int, int]]:
    edges = np.diff((call.depth < min_depth).astype(np.int8), prepend=0, append=0)
    return [(int(start), int(end)) for start, end in np.flatnonzero(edges).reshape(-1, 2)]


def _round_positions(length: int, ticks: int) -> list[int]:
    rough = length / ticks
    size = 10 ** math.floor(math.log10(max(rough, 1)))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough or factor == 10)
    return list(range(0, length, int(step)))
