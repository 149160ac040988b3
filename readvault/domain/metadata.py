"""What the metadata of an entry must be, as the organism says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from math import isfinite

from readvault.domain.organism import MetadataField, MetadataType

FILES_PREFIX = "files."
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def faults_of(
    fields: Collection[MetadataField], metadata: Mapping[str, str], categories: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Every fault of one entry as (column, what is wrong). `categories` are those in which the entry has files."""
    for field in fields:
        value = metadata.get(field.name, "")
        if not value:
            if field.required:
                yield field.name, "a value is required"
            elif reason := _required_by(field, metadata, categories):
                yield field.name, f"a value is required because '{reason}' is given"
        elif fault := fault_of_value(field, value):
            yield field.name, fault


def missing_columns(fields: Collection[MetadataField], columns: Collection[str]) -> list[str]:
    """The columns that every entry needs and that are not there."""
    return [field.name for field in fields if field.required and field.name not in columns]


def fault_of_value(field: MetadataField, value: str) -> str | None:
    """What is wrong with a value that is not empty, or None."""
    if field.options and value not in field.options:
        return f"'{value}' is not one of {', '.join(field.options)}"
    match field.type:
        case MetadataType.DATE if not _is_date(value):
            return f"'{value}' is no date; expected YYYY-MM-DD"
        case MetadataType.INT if _INTEGER.fullmatch(value) is None:
            return f"'{value}' is no whole number"
        case MetadataType.FLOAT | MetadataType.NUMBER if not _is_number(value):
            return f"'{value}' is no number"
        case MetadataType.BOOLEAN if value.lower() not in ("true", "false"):
            return f"'{value}' is neither true nor false"
    return None


def _required_by(field: MetadataField, metadata: Mapping[str, str], categories: Collection[str]) -> str | None:
    for condition in field.required_when:
        if condition.startswith(FILES_PREFIX):
            if condition.removeprefix(FILES_PREFIX) in categories:
                return condition
        elif metadata.get(condition):
            return condition
    return None


def _is_date(value: str) -> bool:
    if _DATE.fullmatch(value) is None:
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_number(value: str) -> bool:
    try:
        return isfinite(float(value)) and "_" not in value
    except ValueError:
        return False
