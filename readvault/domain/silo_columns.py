"""The metadata columns of exported reads: names, types, and what of an entry's metadata fits them.

SILO's loading ends at the first value that isn't of its column's type, and so does everybody's set
with it. So nothing is written that hasn't been looked at here: what doesn't fit becomes null, and is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from math import isfinite
from typing import Any

from readvault.domain.organism.metadata_field import MetadataField, MetadataType
from readvault.domain.organism.silo import SiloExport
from readvault.domain.processed_data import MEASURED
from readvault.domain.silo_lines import RESERVED

MAX_INT = 2**31 - 1
MAX_TEXT = 2_000
"""Characters of a text: it stands on every line of its sample, so a long one would make everybody's set too large."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class ColumnType(StrEnum):
    """A type of SILO's."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    DATE = "date"
    BOOLEAN = "boolean"


_TYPES = {
    MetadataType.STRING: ColumnType.STRING,
    MetadataType.AUTHORS: ColumnType.STRING,
    MetadataType.DATE: ColumnType.DATE,
    MetadataType.INT: ColumnType.INT,
    MetadataType.FLOAT: ColumnType.FLOAT,
    MetadataType.NUMBER: ColumnType.FLOAT,
    MetadataType.BOOLEAN: ColumnType.BOOLEAN,
}
_FACTS = {
    "accession": ColumnType.STRING,
    "version": ColumnType.INT,
    "accessionVersion": ColumnType.STRING,
    "submissionId": ColumnType.STRING,
    "groupId": ColumnType.INT,
    "groupName": ColumnType.STRING,
    "submittedDate": ColumnType.DATE,
    "releasedDate": ColumnType.DATE,
    "pipelineVersion": ColumnType.INT,
    "dataUseTerms": ColumnType.STRING,
    "dataUseTermsRestrictedUntil": ColumnType.DATE,
}
"""What is released of each entry besides its metadata."""
_NOT_BY_ITSELF = frozenset({MetadataType.AUTHORS})


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `source` is the name of what it is filled with."""

    name: str
    type: ColumnType
    source: str

    @property
    def is_indexed(self) -> bool:
        """Whether SILO keeps an index of its values, which only texts may have."""
        return self.type is ColumnType.STRING

    def as_config(self) -> dict[str, Any]:
        """As it stands in `database_config.yaml`."""
        return {"name": self.name, "type": self.type.value, **({"generateIndex": True} if self.is_indexed else {})}


def columns(chosen: SiloExport, fields: Iterable[MetadataField], *, terms: bool) -> tuple[Column, ...]:
    """The columns after `readId`, in their order.

    `fields` are the organism's metadata; `terms` says whether there are data use terms.
    Raises ValueError for a field that doesn't exist, one that is no date where one is needed, and a name
    that comes twice.
    """
    own = {field.name: field for field in fields}
    known = {**_FACTS, **{field.name: _TYPES[field.type] for field in (*MEASURED, *own.values())}}
    if not terms:
        known = {name: kind for name, kind in known.items() if not name.startswith("dataUseTerms") or name in own}

    def column(name: str, source: str) -> Column:
        if source not in known:
            raise ValueError(f"siloExport: there is no metadata field {source!r}")
        return Column(name, known[source], source)

    sample = chosen.sample_id or ("sampleId" if "sampleId" in own else "submissionId")
    found = [column("accessionVersion", "accessionVersion"), column("sampleId", sample)]
    if chosen.sampling_date is not None:
        found.append(column("samplingDate", chosen.sampling_date))
        if found[-1].type is not ColumnType.DATE:
            raise ValueError(f"siloExport: samplingDate: {chosen.sampling_date!r} is no date")
    if chosen.location_name is not None:
        found.append(column("locationName", chosen.location_name))
    taken = {each.source for each in found} | {each.name for each in found}
    found += [column(name, name) for name in _others(chosen, own, taken)]
    if terms and "dataUseTerms" not in {each.name for each in found}:
        found.append(column("dataUseTerms", "dataUseTerms"))
    _check_names([each.name for each in found])
    return tuple(found)


def _others(chosen: SiloExport, own: Mapping[str, MetadataField], used: set[str]) -> list[str]:
    if chosen.metadata is not None:
        return list(chosen.metadata)
    return [
        name
        for name, field in own.items()
        if name not in used and field.type not in _NOT_BY_ITSELF and not _has_a_meaning(name)
    ]


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"siloExport: two columns are called {name!r}")
        if _has_a_meaning(name):
            raise ValueError(f"siloExport: {name!r} has a meaning of its own in SILO")


def _has_a_meaning(name: str) -> bool:
    return name in RESERVED or name.startswith("unaligned_")


def spliced(columns: Iterable[Column], metadata: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """An entry's metadata as they stand in each of its lines, without braces, and the columns whose value doesn't fit.

    >>> spliced([Column("day", ColumnType.DATE, "day"), Column("n", ColumnType.INT, "n")], {"day": "2026-02-30"})
    (b'"day":null,"n":null', ['day'])
    """
    parts: list[str] = []
    unfit: list[str] = []
    for column in columns:
        value = metadata.get(column.source)
        if value is not None and not _fits(column.type, value):
            unfit.append(column.name)
            value = None
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        parts.append(f"{json.dumps(column.name, ensure_ascii=False)}:{text}")
    return ",".join(parts).encode("utf-8"), unfit


def _fits(kind: ColumnType, value: Any) -> bool:
    match kind:
        case ColumnType.STRING:
            return isinstance(value, str) and len(value) <= MAX_TEXT and _is_unicode(value)
        case ColumnType.DATE:
            return isinstance(value, str) and _is_day(value)
        case ColumnType.INT:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT
        case ColumnType.FLOAT:
            return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        case ColumnType.BOOLEAN:
            return isinstance(value, bool)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_day(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
