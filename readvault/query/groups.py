"""Which reads count together: those of one period and one place, as far as the filters let them by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any

from readvault.query import QueryError
from readvault.query.exported import ExportedSet, Row

DATES = ("samplingDate", "date", "sampleCollectionDate", "collectionDate")
PLACES = ("locationName", "site", "location")
OUT, UNDATED = -1, -2


class Period(StrEnum):
    """How long the periods are."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def begin(self, day: date) -> date:
        """The first day of the period that a day is in; weeks begin on Mondays."""
        if self is Period.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is Period.MONTH else day

    def following(self, begin: date) -> date:
        """The first day of the next period."""
        if self is Period.MONTH:
            return (begin.replace(day=28) + timedelta(days=4)).replace(day=1)
        return begin + timedelta(days=7 if self is Period.WEEK else 1)


@dataclass(frozen=True, slots=True)
class Group:
    """A period, by its first day, and a place; an empty place where places make no difference or none is known."""

    period: date
    place: str


@dataclass(slots=True)
class Grouping:
    """Sorts reads into groups, numbered as they come. `where` are columns and the value that they must have."""

    period: Period
    date_column: str
    place_column: str | None = None
    first: date | None = None
    last: date | None = None
    where: tuple[tuple[str, str], ...] = ()
    groups: list[Group] = field(default_factory=list)
    undated: int = 0
    """Reads without a date, which are in no group."""
    _numbers: dict[Any, int] = field(default_factory=dict)
    _known: dict[Group, int] = field(default_factory=dict)

    def numbers(self, rows: list[Row]) -> list[int]:
        """The number of each read's group; negative for a read that is in none."""
        # Reads of a sample stand together, so nearly all of them are looked up in one dictionary.
        columns = [self.date_column, *([self.place_column] if self.place_column else []), *(c for c, _ in self.where)]
        get = itemgetter(*columns)
        known = self._numbers
        found: list[int] = []
        for row in rows:
            try:
                values = get(row)
            except KeyError as fault:
                raise QueryError(f"a read has no column {fault.args[0]!r}") from None
            number = known.get(values)
            if number is None:
                number = known[values] = self._number(
                    dict(zip(columns, values if len(columns) > 1 else (values,), strict=True))
                )
            if number == UNDATED:
                self.undated += 1
            found.append(number)
        return found

    def _number(self, values: Row) -> int:
        if any(_text(values[column]) != wanted for column, wanted in self.where):
            return OUT
        day = _day(values[self.date_column])
        if day is None:
            return UNDATED
        if (self.first and day < self.first) or (self.last and day > self.last):
            return OUT
        place = _text(values[self.place_column]) if self.place_column else ""
        group = Group(self.period.begin(day), place)
        if group not in self._known:
            self._known[group] = len(self.groups)
            self.groups.append(group)
        return self._known[group]


def date_column(exported: ExportedSet, chosen: str | None) -> str:
    """The column with the dates: the chosen one, else the one that is called like it."""
    if chosen is not None:
        return _known(exported, chosen)
    dates = [name for name, kind in exported.columns.items() if kind == "date"]
    for name in (*DATES, *dates):
        if name in exported.columns:
            return name
    raise QueryError("no column of this set is called like a date: name one")


def place_column(exported: ExportedSet, chosen: str | None) -> str | None:
    """The column with the places; None where there is none, or with the chosen name `none`."""
    if chosen == "none":
        return None
    if chosen is not None:
        return _known(exported, chosen)
    return next((name for name in PLACES if name in exported.columns), None)


def _known(exported: ExportedSet, name: str) -> str:
    if name not in exported.columns:
        raise QueryError(f"this set has no column {name!r}, only {', '.join(exported.columns)}")
    return name


def _day(value: Any) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
