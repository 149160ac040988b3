"""What the metadata of an entry must be, as the organism says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from readvault.domain.organism import FILES_PREFIX, MetadataField


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
        elif fault := field.fault_of(value):
            yield field.name, fault


def missing_columns(fields: Collection[MetadataField], columns: Collection[str]) -> list[str]:
    """The columns that every entry needs and that are not there."""
    return [field.name for field in fields if field.required and field.name not in columns]


def _required_by(field: MetadataField, metadata: Mapping[str, str], categories: Collection[str]) -> str | None:
    for condition in field.required_when:
        if condition.startswith(FILES_PREFIX):
            if condition.removeprefix(FILES_PREFIX) in categories:
                return condition
            continue
        name, equals, wanted = condition.partition("=")
        value = metadata.get(name, "")
        if value and (not equals or value == wanted):
            return condition
    return None
