"""The answer as a table: mutation, period, place, count, coverage, proportion and its interval."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from readvault.query import QueryError
from readvault.query.counting import Counts
from readvault.query.groups import Group, Grouping

Z = 1.959963984540054
"""Of a normal distribution: 95 % lie within."""
MOST_DAYS = 36_525
"""A century: a single mistyped year would make a table of a hundred thousand weeks."""

COLUMNS = ("mutation", "period", "place", "count", "coverage", "proportion", "low", "high")
Format = Literal["tsv", "csv", "json"]


@dataclass(frozen=True, slots=True)
class Line:
    """One mutation in one period at one place. Without coverage nothing is known: proportion and interval are None."""

    mutation: str
    period: date
    place: str
    count: int
    coverage: int

    @property
    def proportion(self) -> float | None:
        """The share of the reads that cover its place; None without any."""
        return self.count / self.coverage if self.coverage else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval of the proportion (95 %), as if reads were drawn by chance; None without coverage."""
        return wilson(self.count, self.coverage) if self.coverage else None


def wilson(count: int, coverage: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (E. B. Wilson, J. Am. Stat. Assoc. 1927, 22, 209).

    >>> [round(bound, 4) for bound in wilson(0, 10)]
    [0.0, 0.2775]
    """
    share, square = count / coverage, Z * Z
    middle = share + square / (2 * coverage)
    reach = Z * math.sqrt(share * (1 - share) / coverage + square / (4 * coverage * coverage))
    whole = 1 + square / coverage
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def lines(counts: Counts, grouping: Grouping) -> Iterator[Line]:
    """Every mutation at every place in every period from the first to the last, also where nothing was sampled."""
    if not grouping.groups:
        return
    numbers = {group: number for number, group in enumerate(grouping.groups)}
    places = sorted({group.place for group in grouping.groups})
    periods = list(_periods(grouping))
    for mutation, count, coverage in zip(counts.mutations, counts.counts, counts.coverages, strict=True):
        for place in places:
            for period in periods:
                number = numbers.get(Group(period, place))
                if number is None:
                    yield Line(mutation.name, period, place, 0, 0)
                else:
                    yield Line(mutation.name, period, place, int(count[number]), int(coverage[number]))


def _periods(grouping: Grouping) -> Iterator[date]:
    begins = [group.period for group in grouping.groups]
    period, last = min(begins), max(begins)
    if last - period > timedelta(days=MOST_DAYS):
        raise QueryError(f"from {period} to {last} are too many periods for a table: choose with --from and --to")
    while period < last:
        yield period
        period = grouping.period.following(period)
    yield last


def text_of(listed: list[Line], form: Format) -> str:
    """The table as a text; what is not known is empty, in JSON null."""
    if form == "json":
        return json.dumps([dict(zip(COLUMNS, _values(line), strict=True)) for line in listed], indent=1) + "\n"
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in listed:
        writer.writerow("" if value is None else value for value in _values(line))
    return out.getvalue()


def _values(line: Line) -> tuple[str | int | float | None, ...]:
    low, high = line.interval or (None, None)
    shares = tuple(None if share is None else round(share, 6) for share in (line.proportion, low, high))
    return (line.mutation, line.period.isoformat(), line.place, line.count, line.coverage, *shares)
