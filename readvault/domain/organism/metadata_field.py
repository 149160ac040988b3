"""One column of the metadata, and what its values must be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Literal

from pydantic import Field, model_validator

from readvault.domain import patterns
from readvault.domain.organism.parts import Strict

FILES_PREFIX = "files."
COLUMNS_WITH_A_MEANING = frozenset({"id", "submissionId", "accession", "version", "fastaIds", "files"})
"""Columns of a metadata file that are no metadata."""
MAX_SHOWN = 60
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AUTHOR = re.compile(r"[^\W\d_][^,;\d_]*,[^,;\d_]*")

Bound = int | float | date | Literal["today"] | None


class MetadataType(StrEnum):
    """The type of a metadata field."""

    STRING = "string"
    DATE = "date"
    INT = "int"
    FLOAT = "float"
    NUMBER = "number"
    BOOLEAN = "boolean"
    AUTHORS = "authors"


NUMERIC = (MetadataType.INT, MetadataType.FLOAT, MetadataType.NUMBER)


class MetadataField(Strict):
    """One column of the metadata."""

    name: str = Field(min_length=1, max_length=100)
    type: MetadataType = MetadataType.STRING
    required: bool = False
    required_when: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    allowed_range: tuple[Bound, Bound] | None = Field(None, alias="range")
    pattern: str | None = Field(None, max_length=500)
    display_name: str | None = None
    guidance: str | None = None
    example: str | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> MetadataField:
        if self.name in COLUMNS_WITH_A_MEANING or self.name.startswith(FILES_PREFIX):
            raise ValueError(f"{self.name!r} is a column with a meaning of its own")
        if self.name != self.name.strip() or any(ord(character) < 32 for character in self.name):
            raise ValueError(f"{self.name!r} can't be the name of a column")
        if self.pattern is not None:
            try:
                patterns.compiled(self.pattern)
            except ValueError as fault:
                raise ValueError(f"{self.name}: pattern: {fault}") from None
        self._range_makes_sense()
        for value in (*self.options, *([self.example] if self.example is not None else [])):
            if wrong := self.fault_of(value):
                raise ValueError(f"{self.name}: {wrong}")
        return self

    def _range_makes_sense(self) -> None:
        if self.allowed_range is None:
            return
        dates = self.type == MetadataType.DATE
        if not dates and self.type not in NUMERIC:
            raise ValueError(f"{self.name}: only dates and numbers have a range")
        for bound in self.allowed_range:
            if bound is not None and isinstance(bound, int | float) == dates:
                raise ValueError(f"{self.name}: {bound} is no {'date' if dates else 'number'}")
        least, most = (_resolved(bound) for bound in self.allowed_range)
        if least is not None and most is not None and least > most:  # type: ignore[operator]
            raise ValueError(f"{self.name}: the range goes down")

    def fault_of(self, value: str) -> str | None:
        """What is wrong with a value that is not empty, or None."""
        fault = self._fault(value)
        return fault if fault is None or self.guidance is None else f"{fault}. {self.guidance}"

    def _fault(self, value: str) -> str | None:
        shown = f"'{value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + '…'}'"
        if self.options and value not in self.options:
            return f"{shown} is not one of {', '.join(self.options)}"
        if self.pattern is not None and not patterns.compiled(self.pattern).matches(value):
            return f"{shown} does not match the pattern {self.pattern}"
        match self.type:
            case MetadataType.DATE:
                day = _date(value)
                return f"{shown} is no date; expected YYYY-MM-DD" if day is None else self._out_of_range(shown, day)
            case MetadataType.INT if _INTEGER.fullmatch(value) is None:
                return f"{shown} is no whole number"
            case MetadataType.INT | MetadataType.FLOAT | MetadataType.NUMBER:
                number = _number(value)
                return f"{shown} is no number" if number is None else self._out_of_range(shown, number)
            case MetadataType.BOOLEAN if value.lower() not in ("true", "false"):
                return f"{shown} is neither true nor false"
            case MetadataType.AUTHORS if not _are_authors(value):
                return f"{shown} are no authors; expected 'Family, Given; Family, Given' (a comma in each name)"
        return None

    def _out_of_range(self, shown: str, value: float | date) -> str | None:
        if self.allowed_range is None:
            return None
        least, most = (_resolved(bound) for bound in self.allowed_range)
        if least is not None and value < least:  # type: ignore[operator]
            return f"{shown} is below {least}; allowed is {self.range_in_words}"
        if most is not None and value > most:  # type: ignore[operator]
            return f"{shown} is above {most}; allowed is {self.range_in_words}"
        return None

    @property
    def range_in_words(self) -> str:
        """The range as people read it; empty when there is none."""
        if self.allowed_range is None:
            return ""
        least, most = self.allowed_range
        if most is None:
            return f"{least} and more"
        return f"{most} and less" if least is None else f"{least} to {most}"


def check_fields(fields: Iterable[MetadataField], categories: Iterable[str]) -> None:
    """Raise ValueError for a field that comes twice, or that waits for something that doesn't exist."""
    fields = tuple(fields)
    named = {field.name: field for field in fields}
    if len(named) < len(fields):
        raise ValueError("metadata: two fields have the same name")
    files = {FILES_PREFIX + category for category in categories}
    for field in fields:
        for condition in field.required_when:
            name, equals, value = condition.partition("=")
            if condition not in files and name not in named:
                raise ValueError(f"metadata: {field.name}: requiredWhen: there is no {condition!r}")
            if equals and (fault := named[name].fault_of(value)):
                raise ValueError(f"metadata: {field.name}: requiredWhen: {name} is never so: {fault}")


def latest_today() -> date:
    """The date where it is latest on Earth: a sample may have been taken there today."""
    return (datetime.now(UTC) + timedelta(hours=14)).date()


def _resolved(bound: Bound) -> int | float | date | None:
    return latest_today() if bound == "today" else bound


def _date(value: str) -> date | None:
    if _DATE.fullmatch(value) is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _number(value: str) -> float | None:
    if "_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _are_authors(value: str) -> bool:
    """Whether these are names as `Family, Given; Family, Given`; a `;` may end them, a given name may be unknown."""
    names = [name.strip() for name in value.split(";")]
    if len(names) > 1 and not names[-1]:
        names.pop()
    return all(_AUTHOR.fullmatch(name) for name in names)
